#define _GNU_SOURCE
#include "trial.h"

#include <errno.h>
#include <inttypes.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "buffer.h"
#include "channel.h"

/* A running trial, as the agent sees it. */
typedef struct {
  const agent_trial *trial;
  agent_result *result;
  int input; /* of requests: watched for its end */
  pid_t child;
  int from_child, to_child;
  uint64_t deadline;
  agent_report *report;
  size_t report_bytes;
  void *shared[AGENT_MAX_ARGUMENTS];
} running;

/* What the agent waits for. */
typedef enum { SAID_RAN, SAID_TIMED, SAID_FAILED, DIED, TIMED_OUT, INPUT_CLOSED } event;

static uint64_t now_ns(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void *map_shared(uint64_t bytes) {
  void *data = mmap(NULL, bytes > 0 ? (size_t)bytes : 1, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? NULL : data;
}

static agent_code map_memory(running *self) {
  const agent_trial *trial = self->trial;
  self->report_bytes = sizeof *self->report + trial->timing.samples * sizeof(agent_sample);
  self->report = map_shared(self->report_bytes);
  bool complete = self->report != NULL;
  for (uint32_t i = 0; i < trial->argument_count; i++) {
    const agent_argument *argument = &trial->arguments[i];
    bool is_wanted = argument->array != NULL || trial->flags & AGENT_KEEP_OUTPUTS;
    if (argument->role != AGENT_ROLE_OUTPUT || !is_wanted) continue;
    self->shared[i] = map_shared(argument->type.bytes);
    complete = complete && self->shared[i] != NULL;
  }
  return complete ? AGENT_OK : agent_fail(AGENT_ERROR_MEMORY, "out of memory for the outputs of a trial");
}

static void unmap_memory(running *self) {
  for (uint32_t i = 0; i < self->trial->argument_count; i++) {
    uint64_t bytes = self->trial->arguments[i].type.bytes;
    if (self->shared[i] != NULL) munmap(self->shared[i], bytes > 0 ? (size_t)bytes : 1);
  }
  if (self->report != NULL) munmap(self->report, self->report_bytes);
}

static agent_code start_child(running *self) {
  int up[2], down[2];
  if (pipe2(up, O_CLOEXEC) != 0) return agent_fail(AGENT_ERROR_SYSTEM, "a pipe was refused: %s", strerror(errno));
  if (pipe2(down, O_CLOEXEC) != 0) {
    close(up[0]), close(up[1]);
    return agent_fail(AGENT_ERROR_SYSTEM, "a pipe was refused: %s", strerror(errno));
  }
  self->deadline = now_ns() + self->trial->time_ns;
  pid_t agent = getpid();
  self->child = fork();
  if (self->child == 0) {
    close(up[0]), close(down[1]);
    agent_be_candidate(self->trial, self->report, self->shared, up[1], down[0], agent);
  }
  int error = errno;
  close(up[1]), close(down[0]);
  self->from_child = up[0];
  self->to_child = down[1];
  if (self->child > 0) {
    setpgid(self->child, self->child);
    return AGENT_OK;
  }
  close(up[0]), close(down[1]);
  return agent_fail(AGENT_ERROR_SYSTEM, "a process was refused: %s", strerror(error));
}

static event read_message(int from_child) {
  char message = 0;
  ssize_t count;
  do {
    count = read(from_child, &message, 1);
  } while (count < 0 && errno == EINTR);
  if (count != 1) return DIED;
  if (message == AGENT_CHILD_RAN) return SAID_RAN;
  return message == AGENT_CHILD_TIMED ? SAID_TIMED : SAID_FAILED;
}

static event wait_for_child(running *self) {
  for (;;) {
    uint64_t now = now_ns();
    if (now >= self->deadline) return TIMED_OUT;
    struct pollfd watched[2] = {{self->from_child, POLLIN, 0}, {self->input, POLLRDHUP, 0}};
    uint64_t milliseconds = (self->deadline - now) / 1000000 + 1;
    int count = poll(watched, 2, milliseconds > INT32_MAX ? INT32_MAX : (int)milliseconds);
    if (agent_stopped) return INPUT_CLOSED;
    if (count < 0 && errno != EINTR) return DIED;
    if (count <= 0) continue;
    if (watched[0].revents != 0) return read_message(self->from_child);
    if (watched[1].revents != 0) return INPUT_CLOSED;
  }
}

/* Ends the child and what it may have started, and says how it had ended by itself. */
static int reap_child(running *self) {
  int status = 0;
  struct rusage usage;
  memset(&usage, 0, sizeof usage);
  kill(-self->child, SIGKILL);
  kill(self->child, SIGKILL);
  while (wait4(self->child, &status, 0, &usage) < 0 && errno == EINTR) continue;
  self->result->peak_bytes = (uint64_t)usage.ru_maxrss * 1024;
  close(self->from_child);
  close(self->to_child);
  return status;
}

__attribute__((format(printf, 3, 4))) static void conclude(running *self, agent_outcome outcome, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  self->result->outcome = outcome;
  vsnprintf(self->result->text, sizeof self->result->text, format, arguments);
  va_end(arguments);
}

static void conclude_death(running *self, int status) {
  if (!WIFSIGNALED(status)) {
    conclude(self, AGENT_TRIAL_CRASHED, "the candidate's process ended with exit code %d", WEXITSTATUS(status));
    return;
  }
  int number = WTERMSIG(status);
  self->result->signal = number;
  const char *hint = number == SIGKILL ? "; the system kills processes where it has no memory left" : "";
  conclude(self, AGENT_TRIAL_CRASHED, "the candidate was ended by signal %d (%s)%s", number, strsignal(number), hint);
}

/* The child's words: text that may not be terminated, and a number that may be none of the outcomes. */
static void conclude_failure(running *self) {
  uint32_t outcome = self->report->outcome;
  bool is_failure = outcome == AGENT_TRIAL_MEMORY || outcome == AGENT_TRIAL_UNLOADABLE;
  conclude(self, is_failure ? (agent_outcome)outcome : AGENT_TRIAL_FAILED, "%.*s", (int)sizeof self->report->text - 1,
           self->report->text);
}

/* False where an output is not its reference. */
static bool compare_outputs(running *self, const char *when) {
  for (uint32_t i = 0; i < self->trial->argument_count; i++) {
    const agent_argument *argument = &self->trial->arguments[i];
    if (argument->role != AGENT_ROLE_OUTPUT || argument->array == NULL) continue;
    agent_array actual = argument->type;
    actual.data = self->shared[i];
    agent_comparison found = agent_compare(&actual, argument->array, self->trial->tolerance);
    self->result->comparisons[i] = found;
    self->result->was_compared[i] = true;
    if (found.agrees) continue;
    conclude(self, AGENT_TRIAL_WRONG,
             "argument %" PRIu32 " is wrong %s: largest error %g where the reference has a range of %g, %" PRIu64
             " elements that are finite on one side alone; the worst is element %" PRIu64,
             i, when, found.max_error, found.range, found.mismatched, found.worst);
    return false;
  }
  return true;
}

static agent_code keep_outputs(running *self) {
  if (!(self->trial->flags & AGENT_KEEP_OUTPUTS)) return AGENT_OK;
  for (uint32_t i = 0; i < self->trial->argument_count; i++) {
    if (self->shared[i] == NULL) continue;
    agent_array *output = &self->result->outputs[i];
    *output = self->trial->arguments[i].type;
    output->data = lepton_aligned_allocate(output->bytes);
    if (output->data == NULL) return agent_fail(AGENT_ERROR_MEMORY, "out of memory for the outputs of a trial");
    if (output->bytes > 0) memcpy(output->data, self->shared[i], (size_t)output->bytes);
  }
  return AGENT_OK;
}

static agent_code copy_samples(running *self) {
  agent_samples *shared = &self->report->samples;
  uint32_t count = shared->count < self->trial->timing.samples ? shared->count : self->trial->timing.samples;
  size_t bytes = sizeof *shared + count * sizeof *shared->samples;
  self->result->samples = malloc(bytes);
  if (self->result->samples == NULL) return agent_fail(AGENT_ERROR_MEMORY, "out of memory for the samples of a trial");
  memcpy(self->result->samples, shared, bytes);
  self->result->samples->count = count;
  return AGENT_OK;
}

/* What follows from an event other than the one that the agent waited for. */
static void conclude_event(running *self, event last, int status) {
  if (last == TIMED_OUT) {
    conclude(self, AGENT_TRIAL_TIMEOUT, "the candidate was killed at its limit of %" PRIu64 " ms",
             self->trial->time_ns / 1000000);
  } else if (last == SAID_FAILED) {
    conclude_failure(self);
  } else {
    conclude_death(self, status);
  }
}

/* Drives the child through both halves of the trial. *expected tells whether the last event was the one wanted. */
static event drive(running *self, bool *expected) {
  event last = wait_for_child(self);
  *expected = last == SAID_RAN;
  if (!*expected || !compare_outputs(self, "after the first run") || self->trial->timing.samples == 0) return last;
  const char go_on = AGENT_CHILD_GO_ON;
  ssize_t written = write(self->to_child, &go_on, 1);
  last = written == 1 ? wait_for_child(self) : DIED;
  *expected = last == SAID_TIMED;
  if (*expected) compare_outputs(self, "after the timed runs, though it was right at first");
  return last;
}

agent_code agent_run_trial(const agent_trial *trial, int input, agent_result *result, agent_trial_end *end) {
  running self = {.trial = trial, .result = result, .input = input};
  *end = AGENT_TRIAL_ENDED;
  memset(result, 0, sizeof *result);
  agent_code code = map_memory(&self);
  if (code == AGENT_OK) code = start_child(&self);
  if (code != AGENT_OK) {
    unmap_memory(&self);
    return code;
  }
  bool expected;
  event last = drive(&self, &expected);
  /* A child that died by itself is a zombie: killing it changes nothing about how it ended. */
  int status = reap_child(&self);
  if (last == INPUT_CLOSED) {
    *end = AGENT_TRIAL_INPUT_CLOSED;
  } else if (!expected) {
    conclude_event(&self, last, status);
  } else {
    code = keep_outputs(&self);
    if (code == AGENT_OK && last == SAID_TIMED && result->outcome == AGENT_TRIAL_OK) code = copy_samples(&self);
  }
  unmap_memory(&self);
  return code;
}

void agent_release_result(agent_result *result) {
  for (int i = 0; i < AGENT_MAX_ARGUMENTS; i++) free(result->outputs[i].data);
  free(result->samples);
}
