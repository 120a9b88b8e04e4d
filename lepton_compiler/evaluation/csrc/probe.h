/* The machine probe: microkernels that do nothing but arithmetic or nothing but memory traffic, and their rates.
 *
 * Each kernel is compiled for instructions of its own, whatever the rest of the library is compiled for. Which of them
 * this processor has is not asked here: a caller compares `features` with /proc/cpuinfo. */
#ifndef LEPTON_PROBE_H
#define LEPTON_PROBE_H

#include <stddef.h>
#include <stdint.h>

#define LEPTON_PROBE_EXPORT __attribute__((visibility("default")))

/* Makes the compiler believe that a vector register changes here, at no instruction. */
#if defined(__x86_64__)
#define LEPTON_PROBE_OPAQUE(vector) __asm__ volatile("" : "+v"(vector))
#else
#define LEPTON_PROBE_OPAQUE(vector) __asm__ volatile("" : "+w"(vector))
#endif

/* `chains` independent sums, so that none waits for its own last addition. `a` is opaque in every step: nothing that is
 * computed from it may move out of the loop. */
#define LEPTON_PROBE_CHAINS(chains, vector, initial, input_a, input_b, step)  \
  do {                                                                        \
    vector sum[chains];                                                       \
    __typeof__(input_a) a = input_a;                                          \
    __typeof__(input_b) b = input_b;                                          \
    LEPTON_PROBE_OPAQUE(b);                                                   \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < (chains); i++) {   \
      sum[i] = initial;                                                       \
      LEPTON_PROBE_OPAQUE(sum[i]);                                            \
    }                                                                         \
    for (; iterations > 0; iterations--) {                                    \
      _Pragma("clang loop unroll(full)") for (int i = 0; i < (chains); i++) { \
        LEPTON_PROBE_OPAQUE(a);                                               \
        sum[i] = step(sum[i], a, b);                                          \
      }                                                                       \
    }                                                                         \
    _Pragma("clang loop unroll(full)") for (int i = 0; i < (chains); i++) {   \
      LEPTON_PROBE_OPAQUE(sum[i]);                                            \
    }                                                                         \
  } while (0)

typedef struct {
  const char *type;        /* element type of the factors, as NumPy names it */
  const char *instruction; /* what the kernel consists of */
  const char *features;    /* what the processor must have, as /proc/cpuinfo names it, separated by spaces */
  double operations;       /* of one iteration; a multiply-add is two */
  void (*run)(int64_t iterations);
} lepton_probe_arithmetic;

typedef struct {
  const char *name;
  const char *features;
  double streams; /* arrays that are read or written, each counted once */
  void (*run)(float *out, const float *x, const float *y, size_t count);
} lepton_probe_memory;

/* Tables that end with an entry of null pointers. */
extern const lepton_probe_arithmetic lepton_probe_arithmetic_kernels[];
extern const lepton_probe_memory lepton_probe_memory_kernels[];

/* Kernel `index` of a table, NULL behind the last one. */
LEPTON_PROBE_EXPORT const lepton_probe_arithmetic *lepton_probe_arithmetic_at(int index);
LEPTON_PROBE_EXPORT const lepton_probe_memory *lepton_probe_memory_at(int index);

/* Operations a second of the calling thread, over about that many seconds: of time that passes or, with `own_time`, of
 * the processor time that the thread gets. */
LEPTON_PROBE_EXPORT double lepton_probe_operation_rate(int index, double seconds, int own_time);

/* Bytes a second that the calling thread reads and writes, timed alike; the arrays hold `count` floats, a multiple of 32, each. */
LEPTON_PROBE_EXPORT double lepton_probe_byte_rate(int index, float *out, const float *x, const float *y, size_t count,
                                                  double seconds, int own_time);

#endif
