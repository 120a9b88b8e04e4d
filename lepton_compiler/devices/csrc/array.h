/* Arrays: element type, shape and memory, and their elements as double. */
#ifndef AGENT_ARRAY_H
#define AGENT_ARRAY_H

#include "dtype.h"
#include "payload.h"

typedef struct {
  int32_t dtype; /* lepton_dtype */
  int32_t rank;
  int64_t dims[LEPTON_MAX_RANK];
  uint64_t count, bytes;
  void *data;
} agent_array;

/* Reads dtype (u8), rank (u8) and dimensions (u64 each) and computes count and bytes; data becomes NULL. `limit` is
 * how many bytes the array may have. */
agent_code agent_read_array_type(agent_reader *reader, uint64_t limit, agent_array *array);

void agent_write_array_type(agent_writer *writer, const agent_array *array);

/* Element `index` as double: exact but for 64-bit integers. */
double agent_element(const agent_array *array, uint64_t index);

/* Stores `value`, which a float type rounds to nearest, ties to even, by way of float32 where it has 16 bits. */
void agent_set_float_element(const agent_array *array, uint64_t index, double value);

bool agent_is_float(int32_t dtype);

#endif
