/* One kernel that does what its input asks for: everything that kernels do with the runtime, right and wrong. The
 * output's eight numbers say what was seen. */
#include <stdatomic.h>
#include <string.h>

#include "kernel_support.h"
#include "manifest.inc"

enum behaviour {
  ONE_TASK_PER_THREAD = 0,
  FIVE_TASKS = 1,
  NESTED_LOOPS = 2,
  BARRIERS = 3,
  FAIL_BEFORE_BARRIER = 4,
  WORKSPACES = 5,
  HUGE_WORKSPACE = 6,
  FREE_FOREIGN_WORKSPACE = 7,
  LEAK_AND_FAIL = 8,
  FAIL_IN_PARTS = 9,
  FAIL_SILENTLY = 10,
  FAIL_IN_LAST_TASK = 11,
  MORE_TASKS_THAN_BARRIER_ALLOWS = 12,
  MANY_WORKSPACES = 13
};

enum { RESULTS = 8, WORKSPACE_BYTES = 4096, MAX_TASKS = 1024, ROUNDS = 50, MANY = 100 };

/* Lies in the arena: every session has its own. */
typedef struct {
  _Atomic int64_t counters[RESULTS];
  _Atomic int64_t seen_by_task[MAX_TASKS];
} record;

static int count_task(int task, task_group *group, void *data) {
  record *seen = data;
  atomic_fetch_add(&seen->counters[0], 1);
  atomic_fetch_add(&seen->counters[1], task);
  atomic_store(&seen->counters[2], group->num_task);
  return 0;
}

static int nest(int task, task_group *group, void *data) {
  (void)task, (void)group;
  record *seen = data;
  atomic_fetch_add(&seen->counters[3], 1);
  return TVMBackendParallelLaunch(count_task, data, 3) | TVMBackendParallelLaunch(count_task, data, 0);
}

/* In every round each task must see what the next task wrote in it before the barrier. */
static int exchange(int task, task_group *group, void *data) {
  record *seen = data;
  for (int64_t round = 1; round <= ROUNDS; round++) {
    atomic_store(&seen->seen_by_task[task], round);
    if (TVMBackendParallelBarrier(task, group) != 0) return -1;
    if (atomic_load(&seen->seen_by_task[(task + 1) % group->num_task]) != round) atomic_fetch_add(&seen->counters[1], 1);
    if (TVMBackendParallelBarrier(task, group) != 0) return -1;
  }
  atomic_fetch_add(&seen->counters[0], 1);
  return 0;
}

static int fail_before_barrier(int task, task_group *group, void *data) {
  (void)data;
  if (task > 0) return TVMBackendParallelBarrier(task, group);
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", "the first task gave up");
  return -1;
}

static int fail_in_last(int task, task_group *group, void *data) {
  (void)data;
  if (task + 1 < group->num_task) return 0;
  TVMFFIErrorSetRaisedFromCStr("ValueError", "the last task gave up");
  return -1;
}

static int wait_at_barrier(int task, task_group *group, void *data) {
  (void)data;
  return TVMBackendParallelBarrier(task, group);
}

static uint8_t *allocate(uint64_t bytes) { return TVMBackendAllocWorkspace(1, 0, bytes, 2, 32); }

/* Counts blocks that are misaligned or overlap, in counters[1], over stack and heap and any order of release. */
static int use_workspaces(int task, task_group *group, void *data) {
  (void)group;
  record *seen = data;
  for (int round = 0; round < ROUNDS; round++) {
    static const uint64_t sizes[] = {100, 1000, 0, 3 * WORKSPACE_BYTES, 64};
    uint8_t *blocks[5];
    for (int i = 0; i < 5; i++) {
      if ((blocks[i] = allocate(sizes[i])) == NULL) return -1;
      if ((uintptr_t)blocks[i] % LEPTON_ALIGNMENT != 0) atomic_fetch_add(&seen->counters[1], 1);
      memset(blocks[i], task * 5 + i, sizes[i]);
    }
    for (int i = 0; i < 5; i++) {
      for (uint64_t k = 0; k < sizes[i]; k++) {
        if (blocks[i][k] != (uint8_t)(task * 5 + i)) atomic_fetch_add(&seen->counters[1], 1);
      }
    }
    int first = round % 5;
    for (int i = 0; i < 5; i++) {
      if (TVMBackendFreeWorkspace(1, 0, blocks[(first + i) % 5]) != 0) return -1;
    }
  }
  atomic_fetch_add(&seen->counters[0], 1);
  return 0;
}

static int32_t use_many_workspaces(record *seen) {
  uint8_t *blocks[MANY];
  for (int i = 0; i < MANY; i++) {
    if ((blocks[i] = allocate(8)) == NULL) return -1;
    memset(blocks[i], i, 8);
  }
  for (int i = 0; i < MANY; i++) {
    if (blocks[i][0] != i || blocks[i][7] != i) return -1;
    if (TVMBackendFreeWorkspace(1, 0, blocks[i]) != 0) return -1;
  }
  atomic_store(&seen->counters[0], MANY);
  return 0;
}

static int32_t leak_and_fail(void) {
  if (allocate(64) == NULL || allocate(2 * WORKSPACE_BYTES) == NULL) return -1;
  TVMFFIErrorSetRaisedFromCStr("RuntimeError", "left two blocks behind");
  return -1;
}

static int32_t fail_in_parts(void) {
  const char *parts[] = {"expected ", NULL, "4 rows, ", "given 5"};
  TVMFFIErrorSetRaisedFromCStrParts("ValueError", parts, 4);
  return -1;
}

static int32_t free_foreign(void) {
  static uint8_t foreign[64];
  return TVMBackendFreeWorkspace(1, 0, foreign);
}

static int32_t behave(enum behaviour behaviour, record *seen) {
  switch (behaviour) {
    case ONE_TASK_PER_THREAD: return TVMBackendParallelLaunch(count_task, seen, 0);
    case FIVE_TASKS: return TVMBackendParallelLaunch(count_task, seen, 5);
    case NESTED_LOOPS: return TVMBackendParallelLaunch(nest, seen, 0);
    case BARRIERS: return TVMBackendParallelLaunch(exchange, seen, 0);
    case FAIL_BEFORE_BARRIER: return TVMBackendParallelLaunch(fail_before_barrier, seen, 0);
    case WORKSPACES: return TVMBackendParallelLaunch(use_workspaces, seen, 0);
    case HUGE_WORKSPACE: return allocate(UINT64_MAX - 100) == NULL ? -1 : 0;
    case FREE_FOREIGN_WORKSPACE: return free_foreign();
    case LEAK_AND_FAIL: return leak_and_fail();
    case FAIL_IN_PARTS: return fail_in_parts();
    case FAIL_SILENTLY: return 7;
    case FAIL_IN_LAST_TASK: return TVMBackendParallelLaunch(fail_in_last, seen, 0);
    case MORE_TASKS_THAN_BARRIER_ALLOWS: return TVMBackendParallelLaunch(wait_at_barrier, seen, MAX_TASKS + 1);
    case MANY_WORKSPACES: return use_many_workspaces(seen);
  }
  return 0;
}

static int32_t kernel(void *self, TVMFFIAny *args, int32_t num_args, TVMFFIAny *result) {
  (void)self, (void)num_args, (void)result;
  record *seen = tensor_data(&args[2]);
  memset(seen, 0, sizeof *seen);
  int32_t code = behave((enum behaviour) * (int32_t *)tensor_data(&args[0]), seen);
  int64_t *out = tensor_data(&args[1]);
  for (int i = 0; i < RESULTS; i++) out[i] = atomic_load(&seen->counters[i]);
  return code;
}

static const lepton_dim input_dims[] = {{1, -1}}, output_dims[] = {{RESULTS, -1}};
static const char *const input_text[] = {"1"}, *const output_text[] = {"8"};
static const lepton_tensor_description inputs[] = {{"behaviour", LEPTON_INT32, 1, input_dims, input_text}};
static const lepton_tensor_description outputs[] = {{"seen", LEPTON_INT64, 1, output_dims, output_text}};
static const lepton_kernel_description kernels[] = {{"behave", "node_a+node_b"}};
static const char *const features[] = {NULL};

static int64_t arena_bytes(const int64_t *symbols) {
  (void)symbols;
  return sizeof(record);
}

static void output_shapes(const int64_t *symbols, int64_t *dims) {
  (void)symbols;
  dims[0] = RESULTS;
}

static int32_t run(lepton_session *session, const lepton_frame *frame) {
  int64_t one[] = {1}, eight[] = {RESULTS}, record_shape[] = {sizeof(record)};
  DLTensor behaviour = dense_tensor(frame->inputs[0], 1, one, 0, 32);
  DLTensor seen = dense_tensor(frame->outputs[0], 1, eight, 0, 64);
  DLTensor arena = dense_tensor(frame->arena, 1, record_shape, 1, 8);
  TVMFFIAny args[] = {tensor_argument(&behaviour), tensor_argument(&seen), tensor_argument(&arena)};
  return lepton_call_kernel(session, 0, kernel, args, 3);
}

const lepton_model lepton_generated_model = {
    .runtime_abi = LEPTON_RUNTIME_ABI,
    .model_name = "behaviours",
    .cpu_features = features,
    .input_count = 1,
    .output_count = 1,
    .kernel_count = 1,
    .inputs = inputs,
    .outputs = outputs,
    .kernels = kernels,
    .thread_workspace_bytes = WORKSPACE_BYTES,
    .is_static = 1,
    .arena_bytes = arena_bytes,
    .output_shapes = output_shapes,
    .run = run,
    .manifest = manifest,
    .manifest_bytes = sizeof manifest,
};
