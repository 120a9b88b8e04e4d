/* The child of a trial: loads the library, runs its kernel on buffers of its own, and times it when the agent says so. */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "session.h"
#include "trial.h"

/* The session's model is this kernel; the session comes first, so that its address is the candidate's. */
typedef struct {
  lepton_session session;
  lepton_model model;
  lepton_kernel_function kernel;
  const agent_trial *trial;
  agent_report *report;
  int to_agent, from_agent;
  uint32_t calls;
  uint8_t *flush;
  DLTensor tensors[AGENT_MAX_ARGUMENTS];
  TVMFFIAny arguments[AGENT_MAX_ARGUMENTS];
} candidate;

static _Noreturn void finish(candidate *self, char message) {
  ssize_t written = write(self->to_agent, &message, 1);
  _exit(written == 1 ? 0 : 1);
}

static _Noreturn void fail(candidate *self, agent_outcome outcome, const char *text) {
  self->report->outcome = outcome;
  snprintf(self->report->text, sizeof self->report->text, "%s", text == NULL ? "no reason was given" : text);
  finish(self, AGENT_CHILD_FAILED);
}

static void check(candidate *self, lepton_status status) {
  if (status == LEPTON_OK) return;
  fail(self, status == LEPTON_ERROR_MEMORY ? AGENT_TRIAL_MEMORY : AGENT_TRIAL_FAILED, lepton_last_error());
}

static int32_t run_kernel(lepton_session *session, const lepton_frame *frame) {
  (void)frame;
  candidate *self = (candidate *)session;
  int32_t code = 0;
  for (uint32_t i = 0; i < self->calls && code == 0; i++) {
    code = lepton_call_kernel(session, 0, self->kernel, self->arguments, (int32_t)self->trial->argument_count);
  }
  return code;
}

static lepton_status call_kernel(void *user, uint32_t calls) {
  candidate *self = user;
  self->calls = calls;
  return lepton_execute(&self->session);
}

/* Ends with the agent, prints nothing, leaves no core file, and is what the system kills first when memory ends. */
static void leave_the_agent(pid_t agent) {
  static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != agent) _exit(1); /* it died before it could be watched */
  for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) signal(ends[i], SIG_DFL);
  setpgid(0, 0);
  int nothing = open("/dev/null", O_RDWR);
  for (int stream = 0; nothing >= 0 && stream <= 2; stream++) dup2(nothing, stream);
  const struct rlimit no_core = {0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  int badness = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
  if (badness < 0) return;
  /* Where it is refused, the system chooses by size, which is the candidate as well. */
  ssize_t written = write(badness, "1000", 4);
  (void)written;
  close(badness);
}

static uint64_t mapped_bytes(void) {
  unsigned long long pages = 0;
  FILE *file = fopen("/proc/self/statm", "re");
  if (file == NULL) return 0;
  int count = fscanf(file, "%llu", &pages);
  fclose(file);
  return count == 1 ? pages * (uint64_t)sysconf(_SC_PAGESIZE) : 0;
}

static uint64_t stack_bytes(void) {
  struct rlimit stack;
  bool is_limited = getrlimit(RLIMIT_STACK, &stack) == 0 && stack.rlim_cur != RLIM_INFINITY;
  return (is_limited ? stack.rlim_cur : 8u << 20) + (1u << 16);
}

/* From here on the process may map `memory_bytes` more than it has, and the stacks of its threads. */
static void limit_memory(candidate *self) {
#ifdef M_ARENA_MAX
  /* Otherwise each thread reserves a heap of its own, of 64 MiB. */
  mallopt(M_ARENA_MAX, 1);
#endif
  uint64_t bytes = mapped_bytes() + self->trial->memory_bytes + self->trial->threads * stack_bytes();
  struct rlimit limit = {(rlim_t)bytes, (rlim_t)bytes};
  if (setrlimit(RLIMIT_AS, &limit) != 0) fail(self, AGENT_TRIAL_FAILED, "the system refused the limit on memory");
}

static void load(candidate *self) {
  void *library = dlopen(self->trial->library, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fail(self, AGENT_TRIAL_UNLOADABLE, dlerror());
  void *symbol = dlsym(library, AGENT_KERNEL_SYMBOL);
  if (symbol == NULL) fail(self, AGENT_TRIAL_UNLOADABLE, "the library has no function " AGENT_KERNEL_SYMBOL);
  memcpy(&self->kernel, &symbol, sizeof symbol);
}

/* DLPack's codes of element types. */
static DLDataType dlpack_type(int32_t dtype) {
  enum { INT = 0, UINT = 1, FLOAT = 2, BFLOAT = 4, BOOL = 6 };
  uint8_t bits = (uint8_t)(lepton_dtype_size(dtype) * 8), code;
  switch (dtype) {
    case LEPTON_FLOAT32:
    case LEPTON_FLOAT64:
    case LEPTON_FLOAT16: code = FLOAT; break;
    case LEPTON_BFLOAT16: code = BFLOAT; break;
    case LEPTON_INT8:
    case LEPTON_INT16:
    case LEPTON_INT32:
    case LEPTON_INT64: code = INT; break;
    case LEPTON_BOOL: code = BOOL; break;
    default: code = UINT; break;
  }
  return (DLDataType){code, bits, 1};
}

/* Outputs and workspaces start as all ones, NaN in float types: what a kernel forgets to write shows. */
static void *allocate_filled(candidate *self, uint64_t bytes) {
  void *data = lepton_aligned_allocate(bytes);
  if (data == NULL) fail(self, AGENT_TRIAL_MEMORY, "out of memory: the kernel's outputs and workspaces exceed the limit");
  return memset(data, 0xff, (size_t)bytes);
}

static void bind_argument(candidate *self, uint32_t index) {
  const agent_argument *given = &self->trial->arguments[index];
  if (given->role == AGENT_ROLE_SCALAR) {
    self->arguments[index] = (TVMFFIAny){.type_index = LEPTON_ARGUMENT_INT, .v_int64 = given->scalar};
    return;
  }
  bool is_input = given->role == AGENT_ROLE_INPUT;
  const agent_array *type = is_input ? given->array : &given->type;
  self->tensors[index] = (DLTensor){
      .data = is_input ? given->array->data : allocate_filled(self, type->bytes),
      .device = {1, 0},
      .ndim = type->rank,
      .dtype = dlpack_type(type->dtype),
      .shape = (int64_t *)type->dims,
  };
  self->arguments[index] = (TVMFFIAny){.type_index = LEPTON_ARGUMENT_TENSOR, .v_ptr = &self->tensors[index]};
}

static void open_session(candidate *self) {
  static const lepton_kernel_description description = {"lepton_kernel", "trial"};
  self->model.kernels = &description;
  self->model.thread_workspace_bytes = self->trial->thread_workspace_bytes;
  self->model.run = run_kernel;
  self->session.model = &self->model;
  atomic_store(&self->session.threads, (int)self->trial->threads);
  check(self, lepton_prepare_threads(&self->session));
}

static void show_outputs(candidate *self, void *const *shared) {
  for (uint32_t i = 0; i < self->trial->argument_count; i++) {
    uint64_t bytes = self->trial->arguments[i].type.bytes;
    if (shared[i] != NULL && bytes > 0) memcpy(shared[i], self->tensors[i].data, (size_t)bytes);
  }
}

static void wait_for_the_agent(candidate *self) {
  char message = AGENT_CHILD_RAN;
  if (write(self->to_agent, &message, 1) != 1) _exit(1);
  ssize_t count;
  do {
    count = read(self->from_agent, &message, 1);
  } while (count < 0 && errno == EINTR);
  if (count != 1 || message != AGENT_CHILD_GO_ON) _exit(0);
}

_Noreturn void agent_be_candidate(const agent_trial *trial, agent_report *report, void *const *shared, int to_agent,
                                  int from_agent, pid_t agent) {
  leave_the_agent(agent);
  candidate *self = lepton_aligned_allocate(sizeof *self);
  if (self == NULL) _exit(1);
  memset(self, 0, sizeof *self);
  self->trial = trial;
  self->report = report;
  self->to_agent = to_agent;
  self->from_agent = from_agent;
  if (trial->timing.flush_bytes > 0) {
    self->flush = lepton_aligned_allocate(trial->timing.flush_bytes);
    if (self->flush == NULL) fail(self, AGENT_TRIAL_MEMORY, "out of memory: there is none to flush the caches with");
  }
  limit_memory(self);
  load(self);
  for (uint32_t i = 0; i < trial->argument_count; i++) bind_argument(self, i);
  open_session(self);
  check(self, call_kernel(self, 1));
  show_outputs(self, shared);
  wait_for_the_agent(self);
  check(self, agent_time(&trial->timing, self->flush, call_kernel, self, &report->samples));
  show_outputs(self, shared);
  finish(self, AGENT_CHILD_TIMED);
}
