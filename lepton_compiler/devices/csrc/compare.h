/* How far an array is from its reference. */
#ifndef AGENT_COMPARE_H
#define AGENT_COMPARE_H

#include "array.h"

typedef struct {
  double max_error;    /* largest absolute error of elements that are finite in both */
  double range;        /* largest minus smallest finite element of the reference */
  uint64_t mismatched; /* elements that are NaN, or infinite with a sign, on one side alone */
  uint64_t worst;      /* index of the first mismatch, else of the largest error */
  bool agrees;
} agent_comparison;

/* Compares two arrays of one type and shape. They agree where nothing is mismatched and the largest error is at most
 * `tolerance` times the range. Where the range is 0, the largest magnitude takes its place, and 1 where that is 0 too. */
agent_comparison agent_compare(const agent_array *actual, const agent_array *reference, double tolerance);

#endif
