/* Timing of a function: samples of wall and processor time, each beside one of a control that never changes. */
#ifndef AGENT_TIMING_H
#define AGENT_TIMING_H

#include "protocol.h"
#include "lepton.h"

typedef struct {
  uint32_t samples;       /* at the most; 0 for none */
  uint64_t min_repeat_ns; /* calls are repeated within a sample until it is this long */
  uint64_t budget_ns;     /* no sample begins later than this; there is always one */
  uint64_t flush_bytes;   /* read and written before every call, which is then a sample of its own; 0 leaves caches warm */
} agent_timing;

/* Nanoseconds of one sample. The processor's time is that of the calling thread. */
typedef struct {
  uint64_t wall, cpu, control_wall, control_cpu;
} agent_sample;

typedef struct {
  uint32_t calls_per_sample, count;
  agent_sample samples[];
} agent_samples;

/* Calls what is timed `calls` times. */
typedef lepton_status (*agent_timed)(void *user, uint32_t calls);

/* `flush` has flush_bytes bytes. Writes as many samples as were taken. */
lepton_status agent_time(const agent_timing *timing, uint8_t *flush, agent_timed call, void *user, agent_samples *samples);

#endif
