/* What the hand-written models use of the functions that TVM's generated code calls. */
#ifndef KERNEL_SUPPORT_H
#define KERNEL_SUPPORT_H

#include "model.h"

typedef struct {
  void *sync_handle;
  int32_t num_task;
} task_group;

typedef int (*parallel_task)(int task, task_group *group, void *data);

extern int TVMBackendParallelLaunch(parallel_task task, void *data, int num_task);
extern int TVMBackendParallelBarrier(int task_id, task_group *group);
extern void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits);
extern int TVMBackendFreeWorkspace(int device_type, int device_id, void *data);
extern void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);
extern void TVMFFIErrorSetRaisedFromCStrParts(const char *kind, const char **parts, int32_t count);

static inline void *tensor_data(const TVMFFIAny *argument) { return ((DLTensor *)argument->v_ptr)->data; }

static inline TVMFFIAny tensor_argument(DLTensor *tensor) {
  return (TVMFFIAny){LEPTON_ARGUMENT_TENSOR, 0, {.v_ptr = tensor}};
}

static inline DLTensor dense_tensor(const void *data, int32_t ndim, int64_t *shape, uint8_t code, uint8_t bits) {
  return (DLTensor){(void *)data, {1, 0}, ndim, {code, bits, 1}, shape, NULL, 0};
}

#endif
