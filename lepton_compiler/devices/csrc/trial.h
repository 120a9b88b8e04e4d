/* One trial: a kernel library run in a forked child, compared with references, then timed. */
#ifndef AGENT_TRIAL_H
#define AGENT_TRIAL_H

#include <sys/types.h>

#include "compare.h"
#include "timing.h"

typedef struct {
  agent_role role;
  agent_array type;            /* of outputs and workspaces; its data is NULL */
  const agent_array *array;    /* of inputs; of outputs the reference, or NULL */
  int64_t scalar;
} agent_argument;

/* What AGENT_RUN asks for. */
typedef struct {
  const char *library; /* path */
  uint32_t threads, flags;
  uint64_t thread_workspace_bytes, memory_bytes, time_ns;
  double tolerance; /* absolute error over the reference's range */
  agent_timing timing;
  uint32_t argument_count;
  agent_argument arguments[AGENT_MAX_ARGUMENTS];
} agent_trial;

/* What the child leaves in memory that it shares with the agent. The child runs foreign code: nothing in here is
 * trusted. */
typedef struct {
  uint32_t outcome;
  char text[512];
  agent_samples samples;
} agent_report;

/* What the child and the agent say to each other, one byte each. */
enum { AGENT_CHILD_RAN = 'r', AGENT_CHILD_TIMED = 't', AGENT_CHILD_FAILED = 'f', AGENT_CHILD_GO_ON = 'g' };

typedef struct {
  agent_outcome outcome;
  int32_t signal;
  char text[512];
  uint64_t peak_bytes; /* resident at the most, the agent's own share included */
  bool was_compared[AGENT_MAX_ARGUMENTS];
  agent_comparison comparisons[AGENT_MAX_ARGUMENTS]; /* of outputs that have a reference */
  agent_samples *samples; /* the caller's to free */
  agent_array outputs[AGENT_MAX_ARGUMENTS]; /* with data where they are kept and the trial was not lost: the caller's */
} agent_result;

typedef enum { AGENT_TRIAL_ENDED, AGENT_TRIAL_INPUT_CLOSED } agent_trial_end;

/* Runs a trial. Errors are the agent's own; what the candidate does wrong is in the result. Where the requests' input is
 * closed meanwhile, the child is killed and *end says so. */
agent_code agent_run_trial(const agent_trial *trial, int input, agent_result *result, agent_trial_end *end);

void agent_release_result(agent_result *result);

/* candidate.c: the child's part. `shared` holds for each argument where an output is copied to; `agent` is the process
 * that it must not outlive. */
_Noreturn void agent_be_candidate(const agent_trial *trial, agent_report *report, void *const *shared, int to_agent,
                                  int from_agent, pid_t agent);

#endif
