#include "payload.h"

#include <stdlib.h>
#include <string.h>

const uint8_t *agent_read_bytes(agent_reader *reader, uint64_t bytes) {
  if (reader->failed || bytes > reader->left) {
    reader->failed = true;
    return NULL;
  }
  const uint8_t *data = reader->data;
  reader->data += bytes;
  reader->left -= bytes;
  return data;
}

static void read_value(agent_reader *reader, void *value, size_t bytes) {
  const uint8_t *data = agent_read_bytes(reader, bytes);
  if (data == NULL) {
    memset(value, 0, bytes);
  } else {
    memcpy(value, data, bytes);
  }
}

uint8_t agent_read_u8(agent_reader *reader) {
  uint8_t value;
  read_value(reader, &value, sizeof value);
  return value;
}

uint32_t agent_read_u32(agent_reader *reader) {
  uint32_t value;
  read_value(reader, &value, sizeof value);
  return value;
}

uint64_t agent_read_u64(agent_reader *reader) {
  uint64_t value;
  read_value(reader, &value, sizeof value);
  return value;
}

double agent_read_f64(agent_reader *reader) {
  double value;
  read_value(reader, &value, sizeof value);
  return value;
}

agent_code agent_read_end(const agent_reader *reader) {
  if (reader->failed) return agent_fail(AGENT_ERROR_MALFORMED, "the payload is too short for this request");
  if (reader->left > 0) return agent_fail(AGENT_ERROR_MALFORMED, "the payload is longer than this request");
  return AGENT_OK;
}

static bool make_room(agent_writer *writer, uint64_t bytes) {
  if (writer->failed || bytes > SIZE_MAX / 2 - writer->used) {
    writer->failed = true;
    return false;
  }
  uint64_t needed = writer->used + bytes;
  if (needed <= writer->capacity) return true;
  uint64_t capacity = needed < 256 ? 256 : needed + needed / 2;
  uint8_t *data = realloc(writer->data, (size_t)capacity);
  if (data == NULL) {
    writer->failed = true;
    return false;
  }
  writer->data = data;
  writer->capacity = capacity;
  return true;
}

void agent_write_bytes(agent_writer *writer, const void *data, uint64_t bytes) {
  if (bytes == 0 || !make_room(writer, bytes)) return;
  memcpy(writer->data + writer->used, data, (size_t)bytes);
  writer->used += bytes;
}

void agent_write_u8(agent_writer *writer, uint8_t value) { agent_write_bytes(writer, &value, sizeof value); }

void agent_write_u32(agent_writer *writer, uint32_t value) { agent_write_bytes(writer, &value, sizeof value); }

void agent_write_u64(agent_writer *writer, uint64_t value) { agent_write_bytes(writer, &value, sizeof value); }

void agent_write_f64(agent_writer *writer, double value) { agent_write_bytes(writer, &value, sizeof value); }

void agent_write_text(agent_writer *writer, const char *text) {
  uint32_t bytes = (uint32_t)strlen(text);
  agent_write_u32(writer, bytes);
  agent_write_bytes(writer, text, bytes);
}
