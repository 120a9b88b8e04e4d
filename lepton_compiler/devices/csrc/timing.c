#define _GNU_SOURCE
#include "timing.h"

#include <stdbool.h>
#include <time.h>

#define CACHE_LINE_BYTES 64
#define CONTROL_STEPS 100000

static uint64_t clock_ns(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

typedef struct {
  uint64_t wall, cpu;
} moment;

static moment now(void) { return (moment){clock_ns(CLOCK_MONOTONIC), clock_ns(CLOCK_THREAD_CPUTIME_ID)}; }

/* The control: a chain of dependent multiplications, which takes the same number of cycles always, and no memory. Its
 * time shows the clock frequency, and whether another process had a turn. */
static void run_control(void) {
  static volatile uint64_t sink;
  uint64_t state = sink | 1;
  for (int i = 0; i < CONTROL_STEPS; i++) {
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407u;
    __asm__ volatile("" : "+r"(state)); /* the steps are taken one by one */
  }
  sink = state;
}

static void flush_caches(uint8_t *memory, uint64_t bytes) {
  for (uint64_t i = 0; i < bytes; i += CACHE_LINE_BYTES) ((volatile uint8_t *)memory)[i]++;
}

static lepton_status take_sample(const agent_timing *timing, uint8_t *flush, agent_timed call, void *user, uint32_t calls,
                                 agent_sample *sample) {
  moment control = now();
  run_control();
  moment control_end = now();
  /* After the control: its samples are warm always. */
  if (timing->flush_bytes > 0) flush_caches(flush, timing->flush_bytes);
  moment start = now();
  lepton_status status = call(user, calls);
  moment end = now();
  *sample = (agent_sample){end.wall - start.wall, end.cpu - start.cpu, control_end.wall - control.wall,
                           control_end.cpu - control.cpu};
  return status;
}

/* How many calls fill min_repeat_ns: tried with more and more of them, for the first ones are slower than the rest. */
static lepton_status find_calls(const agent_timing *timing, agent_timed call, void *user, uint64_t begun,
                                uint32_t *calls) {
  for (*calls = 1;;) {
    uint64_t start = clock_ns(CLOCK_MONOTONIC);
    lepton_status status = call(user, *calls);
    uint64_t end = clock_ns(CLOCK_MONOTONIC), took = end - start + 1;
    bool is_enough = took >= timing->min_repeat_ns || end - begun > timing->budget_ns;
    if (status != LEPTON_OK || is_enough || *calls == AGENT_MAX_CALLS_PER_SAMPLE) return status;
    double wanted = (double)*calls * ((double)timing->min_repeat_ns / (double)took) * 1.1 + 1;
    double most = (double)*calls * 10;
    wanted = wanted < most ? wanted : most;
    *calls = wanted < AGENT_MAX_CALLS_PER_SAMPLE ? (uint32_t)wanted : AGENT_MAX_CALLS_PER_SAMPLE;
  }
}

lepton_status agent_time(const agent_timing *timing, uint8_t *flush, agent_timed call, void *user, agent_samples *samples) {
  samples->count = 0;
  samples->calls_per_sample = 1;
  uint64_t begun = clock_ns(CLOCK_MONOTONIC);
  if (timing->flush_bytes == 0) {
    lepton_status status = find_calls(timing, call, user, begun, &samples->calls_per_sample);
    if (status != LEPTON_OK) return status;
  }
  while (samples->count < timing->samples) {
    if (samples->count > 0 && clock_ns(CLOCK_MONOTONIC) - begun > timing->budget_ns) break;
    lepton_status status =
        take_sample(timing, flush, call, user, samples->calls_per_sample, &samples->samples[samples->count]);
    if (status != LEPTON_OK) return status;
    samples->count++;
  }
  return LEPTON_OK;
}
