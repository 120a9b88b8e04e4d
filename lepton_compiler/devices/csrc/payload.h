/* Payloads: values read with every length checked, and written into memory that grows. Little-endian. */
#ifndef AGENT_PAYLOAD_H
#define AGENT_PAYLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "agent_error.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the agent's payloads are copied as they are: the machine must be little-endian"
#endif

/* What is left to read. After a read beyond the end `failed` is set, and everything reads as zero. */
typedef struct {
  const uint8_t *data;
  uint64_t left;
  bool failed;
} agent_reader;

uint8_t agent_read_u8(agent_reader *reader);
uint32_t agent_read_u32(agent_reader *reader);
uint64_t agent_read_u64(agent_reader *reader);
double agent_read_f64(agent_reader *reader);

/* `bytes` bytes in place, NULL where there are fewer. */
const uint8_t *agent_read_bytes(agent_reader *reader, uint64_t bytes);

/* The error of a payload that was too short, or was not read to its end. */
agent_code agent_read_end(const agent_reader *reader);

typedef struct {
  uint8_t *data;
  uint64_t used, capacity;
  bool failed; /* out of memory */
} agent_writer;

void agent_write_u8(agent_writer *writer, uint8_t value);
void agent_write_u32(agent_writer *writer, uint32_t value);
void agent_write_u64(agent_writer *writer, uint64_t value);
void agent_write_f64(agent_writer *writer, double value);
void agent_write_bytes(agent_writer *writer, const void *data, uint64_t bytes);

/* The length as u32, then the bytes. */
void agent_write_text(agent_writer *writer, const char *text);

#endif
