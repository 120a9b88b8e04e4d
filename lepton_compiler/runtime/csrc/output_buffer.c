#include "output_buffer.h"

#include <inttypes.h>

#include "error.h"

/* Capacity of the next block, given that of the newest. */
static uint64_t next_capacity(uint64_t newest, uint64_t bytes) {
  uint64_t least = newest == 0 ? LEPTON_ALIGNMENT : newest > UINT64_MAX / 2 ? UINT64_MAX : 2 * newest;
  return bytes > least ? bytes : least;
}

lepton_status lepton_output_buffer_reserve(lepton_output_buffer *buffer, uint64_t bytes, void **data) {
  const lepton_buffer *newest = buffer->count > 0 ? &buffer->blocks[buffer->count - 1] : NULL;
  if (newest == NULL || newest->bytes < bytes) {
    uint64_t capacity = next_capacity(newest == NULL ? 0 : newest->bytes, bytes);
    void *block = buffer->count < LEPTON_MAX_BLOCKS ? lepton_aligned_allocate(capacity) : NULL;
    if (block == NULL) {
      return lepton_fail(LEPTON_ERROR_MEMORY, "out of memory: the buffer of an output needs %" PRIu64 " bytes", capacity);
    }
    buffer->blocks[buffer->count++] = (lepton_buffer){block, capacity};
  }
  *data = buffer->blocks[buffer->count - 1].data;
  return LEPTON_OK;
}

bool lepton_output_buffer_owns(const lepton_output_buffer *buffer, const void *data) {
  for (int32_t i = 0; i < buffer->count; i++) {
    if (buffer->blocks[i].data == data) return true;
  }
  return false;
}

uint64_t lepton_output_buffer_bytes(const lepton_output_buffer *buffer) {
  uint64_t bytes = 0;
  for (int32_t i = 0; i < buffer->count; i++) bytes += buffer->blocks[i].bytes;
  return bytes;
}

void lepton_output_buffer_release(lepton_output_buffer *buffer) {
  for (int32_t i = 0; i < buffer->count; i++) lepton_buffer_release(&buffer->blocks[i]);
  buffer->count = 0;
}
