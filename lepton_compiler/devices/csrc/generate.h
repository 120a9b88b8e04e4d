/* Arrays made from a seed: the same numbers on every machine, and in Python (devices/seeded_arrays.py). */
#ifndef AGENT_GENERATE_H
#define AGENT_GENERATE_H

#include "array.h"

/* The range of values: of floats [low, high), of integers low to high. */
typedef struct {
  uint64_t seed;
  double low, high;            /* of float types */
  int64_t low_int, high_int;   /* of integer types, as their 64 bits */
} agent_recipe;

/* Fills an array that has its memory. */
void agent_generate(const agent_recipe *recipe, const agent_array *array);

#endif
