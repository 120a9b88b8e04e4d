#include "compare.h"

#include <float.h>
#include <math.h>

/* The absolute difference of 64-bit integers, of which double keeps no more than 53 bits. */
static double integer_difference(const agent_array *a, const agent_array *b, uint64_t index) {
  uint64_t x = ((const uint64_t *)a->data)[index], y = ((const uint64_t *)b->data)[index];
  bool below = a->dtype == LEPTON_INT64 ? (int64_t)x < (int64_t)y : x < y;
  return (double)(below ? y - x : x - y);
}

static double difference(const agent_array *a, const agent_array *b, uint64_t index, double x, double y) {
  bool is_wide = a->dtype == LEPTON_INT64 || a->dtype == LEPTON_UINT64;
  return is_wide ? integer_difference(a, b, index) : fabs(x - y);
}

/* Equal NaN and equal infinities match; any other pair that is not finite does not. */
static bool is_matched(double actual, double reference) {
  if (isnan(actual) || isnan(reference)) return isnan(actual) && isnan(reference);
  return actual == reference;
}

static double scale_of(double low, double high) {
  if (high > low) return fmin(high - low, DBL_MAX);
  double magnitude = fabs(low);
  return magnitude > 0 && isfinite(magnitude) ? magnitude : 1;
}

agent_comparison agent_compare(const agent_array *actual, const agent_array *reference, double tolerance) {
  agent_comparison result = {0};
  double low = INFINITY, high = -INFINITY;
  for (uint64_t i = 0; i < reference->count; i++) {
    double x = agent_element(actual, i), y = agent_element(reference, i);
    if (isfinite(y)) {
      low = y < low ? y : low;
      high = y > high ? y : high;
    }
    if (!isfinite(x) || !isfinite(y)) {
      if (!is_matched(x, y) && result.mismatched++ == 0) result.worst = i;
      continue;
    }
    double error = difference(actual, reference, i, x, y);
    if (error > result.max_error) {
      result.max_error = error;
      if (result.mismatched == 0) result.worst = i;
    }
  }
  result.range = high > low ? fmin(high - low, DBL_MAX) : 0;
  result.agrees = result.mismatched == 0 && result.max_error <= tolerance * scale_of(low, high);
  return result;
}
