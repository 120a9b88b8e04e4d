/* Arithmetic of a processor of another family, in whatever the compiler makes of vectors of 128 bits. */
#include "probe.h"

#if !defined(__x86_64__) && !defined(__aarch64__)

typedef float vector __attribute__((vector_size(16)));

enum { CHAINS = 8 };

static inline vector repeated(float value) { return (vector){value, value, value, value}; }

#define MULTIPLY_ADD(sum, a, b) ((sum) + (a) * (b))
static void fp32_vector(int64_t iterations) {
  LEPTON_PROBE_CHAINS(CHAINS, vector, repeated(0.5f), repeated(1e-9f), repeated(0.5f), MULTIPLY_ADD);
}

const lepton_probe_arithmetic lepton_probe_arithmetic_kernels[] = {
    {"float32", "vector multiply, add", "", 2 * CHAINS * 4, fp32_vector},
    {NULL, NULL, NULL, 0, NULL},
};

#endif
