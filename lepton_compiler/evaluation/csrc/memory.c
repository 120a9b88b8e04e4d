/* Memory traffic: reading one array, and STREAM's triad (McCalpin, 1995) over three.
 *
 * Bytes are counted as kernels of a model are: what is read and what is written, without the lines that a cache fetches
 * before it writes into them. */
#include "probe.h"

typedef float vector __attribute__((vector_size(64), aligned(64)));

enum { LANES = sizeof(vector) / sizeof(float) };

#define TARGET(features) __attribute__((target(features)))

#define STREAMS(level, attribute)                                                                       \
  attribute static void read_##level(float *out, const float *x, const float *y, size_t count) {        \
    const vector *source = (const vector *)x;                                                           \
    vector even = {0}, odd = {0};                                                                       \
    (void)y;                                                                                            \
    for (size_t i = 0; i < count / LANES; i += 2) {                                                     \
      even += source[i];                                                                                \
      odd += source[i + 1];                                                                             \
    }                                                                                                   \
    *(vector *)out = even + odd;                                                                        \
  }                                                                                                     \
  attribute static void triad_##level(float *out, const float *x, const float *y, size_t count) {       \
    for (size_t i = 0; i < count / LANES; i++) {                                                        \
      ((vector *)out)[i] = ((const vector *)x)[i] + 3.0f * ((const vector *)y)[i];                      \
    }                                                                                                   \
  }

#define ENTRIES(level, suffix, features) \
  {"read" suffix, features, 1, read_##level}, {"triad" suffix, features, 3, triad_##level}

STREAMS(baseline, )
#if defined(__x86_64__)
STREAMS(avx2, TARGET("avx2,fma"))
STREAMS(avx512, TARGET("avx512f"))
#endif

const lepton_probe_memory lepton_probe_memory_kernels[] = {
    ENTRIES(baseline, "", ""),
#if defined(__x86_64__)
    ENTRIES(avx2, ", 256 bit", "avx2 fma"),
    ENTRIES(avx512, ", 512 bit", "avx512f"),
#endif
    {NULL, NULL, 0, NULL},
};
