/* The functions that TVM's generated code calls. Signatures: tvm/runtime/c_backend_api.h, tvm/ffi/c_api.h. They stay
 * inside of the library: kernels and this file are linked together. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "session.h"

int TVMBackendParallelLaunch(lepton_task task, void *data, int num_task);
int TVMBackendParallelBarrier(int task_id, lepton_task_group *group);
void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits);
int TVMBackendFreeWorkspace(int device_type, int device_id, void *data);
void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);
void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);

/* Kernels run inside of lepton_run alone, on threads that have a current entry. */
static void raise_error(lepton_status status, const char *text) {
  lepton_session_raise(lepton_current_thread->session, status, text);
}

static int run_serially(lepton_task task, void *data, int num_task) {
  lepton_task_group group = {NULL, num_task > 0 ? num_task : 1};
  for (int i = 0; i < group.num_task; i++) {
    if (task(i, &group, data) != 0) return -1;
  }
  return 0;
}

int TVMBackendParallelLaunch(lepton_task task, void *data, int num_task) {
  lepton_thread *self = lepton_current_thread;
  lepton_pool *pool = self->session->pool;
  if (pool == NULL || self->in_task || num_task == 1) return run_serially(task, data, num_task);
  return lepton_pool_launch(pool, task, data, num_task);
}

int TVMBackendParallelBarrier(int task_id, lepton_task_group *group) {
  (void)task_id;
  if (group->num_task == 1) return 0;
  if (group->sync_handle != NULL && lepton_pool_barrier(group->sync_handle) == 0) return 0;
  raise_error(LEPTON_ERROR_KERNEL, "a parallel loop failed at a barrier: another task failed, or there are more tasks "
                                   "than threads");
  return -1;
}

void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits) {
  (void)device_type, (void)device_id, (void)dtype_code, (void)dtype_bits;
  void *data = lepton_workspace_allocate(&lepton_current_thread->workspace, bytes);
  if (data == NULL) {
    char text[96];
    snprintf(text, sizeof text, "out of memory: a kernel's workspace needs %" PRIu64 " bytes", bytes);
    raise_error(LEPTON_ERROR_MEMORY, text);
  }
  return data;
}

int TVMBackendFreeWorkspace(int device_type, int device_id, void *data) {
  (void)device_type, (void)device_id;
  if (lepton_workspace_free(&lepton_current_thread->workspace, data)) return 0;
  raise_error(LEPTON_ERROR_KERNEL, "a kernel freed a workspace that it does not own");
  return -1;
}

void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count) {
  char text[LEPTON_ERROR_TEXT_BYTES / 2];
  size_t used = 0;
  int is_value_error = strcmp(kind, LEPTON_VALUE_ERROR) == 0;
  int written = snprintf(text, sizeof text, "%s%s", is_value_error ? "" : kind, is_value_error ? "" : ": ");
  for (int32_t i = 0; written >= 0 && (used += (size_t)written) < sizeof text && i < count; i++) {
    written = snprintf(text + used, sizeof text - used, "%s", parts[i] == NULL ? "" : parts[i]);
  }
  raise_error(is_value_error ? LEPTON_ERROR_VALUE : LEPTON_ERROR_KERNEL, text);
}

void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message) {
  TVMFFIErrorSetRaisedFromCStrParts(kind, &message, 1);
}

/* Kernels register themselves by name when the library is loaded. The executor calls them directly, so there is nothing
 * to keep. */
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol);
int TVMFFIEnvModRegisterSystemLibSymbol(const char *name, void *symbol) {
  (void)name;
  (void)symbol;
  return 0;
}
