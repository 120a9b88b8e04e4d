#include "channel.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define CHUNK_BYTES (1u << 16)

volatile sig_atomic_t agent_stopped;

/* Reads up to `bytes` bytes: fewer only at the end of the input, -1 on an error. */
static ssize_t read_fully(int input, uint8_t *data, size_t bytes) {
  size_t done = 0;
  while (done < bytes) {
    ssize_t count = read(input, data + done, bytes - done);
    if (count < 0 && errno == EINTR && !agent_stopped) continue;
    if (count < 0) return -1;
    if (count == 0) break;
    done += (size_t)count;
  }
  return (ssize_t)done;
}

static bool write_fully(int output, const uint8_t *data, uint64_t bytes) {
  while (bytes > 0) {
    ssize_t count = write(output, data, bytes > CHUNK_BYTES ? CHUNK_BYTES : (size_t)bytes);
    if (count < 0 && errno == EINTR && !agent_stopped) continue;
    if (count <= 0) return false;
    data += count;
    bytes -= (uint64_t)count;
  }
  return true;
}

static agent_frame_result read_header(int input, agent_header *header) {
  uint8_t bytes[AGENT_HEADER_BYTES];
  ssize_t count = read_fully(input, bytes, sizeof bytes);
  if (count < 0) return AGENT_READ_FAILED;
  if (count == 0) return AGENT_END;
  if (count < (ssize_t)sizeof bytes) return AGENT_TORN;
  uint32_t magic;
  memcpy(&magic, bytes, 4);
  memcpy(&header->version, bytes + 4, 2);
  memcpy(&header->type, bytes + 6, 2);
  memcpy(&header->id, bytes + 8, 8);
  memcpy(&header->bytes, bytes + 16, 8);
  return magic == AGENT_MAGIC ? AGENT_FRAME : AGENT_NO_FRAME;
}

agent_frame_result agent_read_frame(int input, uint64_t limit, agent_header *header, agent_writer *payload) {
  payload->used = 0;
  payload->failed = false;
  agent_frame_result result = read_header(input, header);
  if (result != AGENT_FRAME) return result;
  if (header->bytes > limit) return AGENT_TOO_LONG;
  for (uint64_t left = header->bytes; left > 0;) {
    uint8_t chunk[CHUNK_BYTES];
    size_t wanted = left > sizeof chunk ? sizeof chunk : (size_t)left;
    ssize_t count = read_fully(input, chunk, wanted);
    if (count < 0) return AGENT_READ_FAILED;
    agent_write_bytes(payload, chunk, (uint64_t)count);
    if (count < (ssize_t)wanted) return AGENT_TORN;
    left -= wanted;
  }
  return payload->failed ? AGENT_NO_MEMORY : AGENT_FRAME;
}

bool agent_write_frame(int output, uint16_t type, uint64_t id, const void *payload, uint64_t bytes) {
  uint8_t header[AGENT_HEADER_BYTES];
  uint32_t magic = AGENT_MAGIC;
  uint16_t version = AGENT_PROTOCOL_VERSION;
  memcpy(header, &magic, 4);
  memcpy(header + 4, &version, 2);
  memcpy(header + 6, &type, 2);
  memcpy(header + 8, &id, 8);
  memcpy(header + 16, &bytes, 8);
  return write_fully(output, header, sizeof header) && write_fully(output, payload, bytes);
}
