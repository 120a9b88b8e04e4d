/* Times the kernels of the machine probe. */
#define _POSIX_C_SOURCE 200809L
#include "probe.h"

#include <time.h>

static double now(int own_time) {
  struct timespec time;
  clock_gettime(own_time ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

const lepton_probe_arithmetic *lepton_probe_arithmetic_at(int index) {
  for (int i = 0; i <= index; i++) {
    if (lepton_probe_arithmetic_kernels[i].type == NULL) return NULL;
  }
  return &lepton_probe_arithmetic_kernels[index];
}

const lepton_probe_memory *lepton_probe_memory_at(int index) {
  for (int i = 0; i <= index; i++) {
    if (lepton_probe_memory_kernels[i].name == NULL) return NULL;
  }
  return &lepton_probe_memory_kernels[index];
}

double lepton_probe_operation_rate(int index, double seconds, int own_time) {
  const lepton_probe_arithmetic *kernel = &lepton_probe_arithmetic_kernels[index];
  /* Short enough that the end is not missed by much, long enough that the clock costs nothing. */
  const int64_t block = 20000;
  int64_t iterations = 0;
  double elapsed, started = now(own_time);
  do {
    kernel->run(block);
    iterations += block;
    elapsed = now(own_time) - started;
  } while (elapsed < seconds);
  return kernel->operations * (double)iterations / elapsed;
}

double lepton_probe_byte_rate(int index, float *out, const float *x, const float *y, size_t count, double seconds,
                              int own_time) {
  const lepton_probe_memory *kernel = &lepton_probe_memory_kernels[index];
  /* Arrays that fit into a cache are over sooner than the clock can be read. */
  const size_t block_floats = (size_t)1 << 20;
  const int64_t repeats = count < block_floats ? (int64_t)(block_floats / count) : 1;
  int64_t passes = 0;
  double elapsed, started = now(own_time);
  do {
    for (int64_t i = 0; i < repeats; i++) kernel->run(out, x, y, count);
    passes += repeats;
    elapsed = now(own_time) - started;
  } while (elapsed < seconds);
  return kernel->streams * (double)(count * sizeof(float)) * (double)passes / elapsed;
}
