/* The session's memory of one output: it grows, and blocks that it has outgrown are kept until the session ends. */
#ifndef LEPTON_OUTPUT_BUFFER_H
#define LEPTON_OUTPUT_BUFFER_H

#include <stdbool.h>
#include <stdint.h>

#include "buffer.h"

/* A block is at least twice as large as the one before it, so that there are no more of them in 64 bits. */
#define LEPTON_MAX_BLOCKS 64

/* Programs hold addresses of earlier blocks: after a run that failed, or in a second lepton_tensor for the same output.
 * They may pass them again, so such an address must never be freed, nor be taken for memory of the program. All
 * outgrown blocks together are no larger than the newest one. */
typedef struct {
  lepton_buffer blocks[LEPTON_MAX_BLOCKS];
  int32_t count; /* the last one is what kernels write to */
} lepton_output_buffer;

/* Makes room for `bytes` and gives the address. On failure nothing has changed, and the error is set. */
lepton_status lepton_output_buffer_reserve(lepton_output_buffer *buffer, uint64_t bytes, void **data);

/* Whether a block starts at `data`. */
bool lepton_output_buffer_owns(const lepton_output_buffer *buffer, const void *data);

/* Bytes of all blocks. */
uint64_t lepton_output_buffer_bytes(const lepton_output_buffer *buffer);

void lepton_output_buffer_release(lepton_output_buffer *buffer);

#endif
