#include "buffer.h"

#include <inttypes.h>
#include <stdlib.h>

#include "error.h"

void *lepton_aligned_allocate(uint64_t bytes) {
  if (bytes > SIZE_MAX - LEPTON_ALIGNMENT) return NULL;
  size_t rounded = ((size_t)bytes + LEPTON_ALIGNMENT - 1) / LEPTON_ALIGNMENT * LEPTON_ALIGNMENT;
  return aligned_alloc(LEPTON_ALIGNMENT, rounded ? rounded : LEPTON_ALIGNMENT);
}

lepton_status lepton_buffer_reserve(lepton_buffer *buffer, uint64_t bytes, const char *what) {
  if (buffer->data != NULL && buffer->bytes >= bytes) return LEPTON_OK;
  lepton_buffer_release(buffer);
  buffer->data = lepton_aligned_allocate(bytes);
  if (buffer->data == NULL) {
    return lepton_fail(LEPTON_ERROR_MEMORY, "out of memory: %s needs %" PRIu64 " bytes", what, bytes);
  }
  buffer->bytes = bytes;
  return LEPTON_OK;
}

void lepton_buffer_release(lepton_buffer *buffer) {
  free(buffer->data);
  buffer->data = NULL;
  buffer->bytes = 0;
}
