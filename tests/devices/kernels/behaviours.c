/* A kernel that does what its third argument says, or BEHAVIOUR: one way to be right, and many to be wrong. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model.h"

enum behaviour {
  DOUBLE,
  WRONG_ELEMENT,
  WRITE_NOTHING,
  ACCUMULATE,
  CRASH,
  ABORT,
  LOOP,
  WORKSPACE_BLOWUP,
  MALLOC_BLOWUP,
  STACK_BLOWUP,
  EXIT,
  FAIL,
  SCRIBBLE_ON_INPUT,
  CLOSE_EVERYTHING,
  FORK_AND_LOOP
};

void *TVMBackendAllocWorkspace(int device_type, int device_id, uint64_t bytes, int dtype_code, int dtype_bits);
void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message);

static int runs;

static int is_float_array(const TVMFFIAny *argument) {
  if (argument->type_index != LEPTON_ARGUMENT_TENSOR) return 0;
  const DLTensor *tensor = argument->v_ptr;
  return tensor->dtype.code == 2 && tensor->dtype.bits == 32 && tensor->dtype.lanes == 1;
}

static int64_t count(const DLTensor *tensor) {
  int64_t elements = 1;
  for (int i = 0; i < tensor->ndim; i++) elements *= tensor->shape[i];
  return elements;
}

static int overflow_stack(volatile char *outer) {
  volatile char frame[4096];
  frame[0] = outer[0];
  return overflow_stack(frame) + frame[0];
}

static int run_workspaces(void) {
  for (;;) {
    void *data = TVMBackendAllocWorkspace(1, 0, 1 << 24, 2, 32);
    if (data == NULL) return -1;
    memset(data, 1, 1 << 24);
  }
}

static int blow_up_heap(void) {
  for (;;) {
    volatile char *data = malloc(1 << 24);
    for (int i = 0; i < 1 << 24; i += 4096) data[i] = 1;
  }
}

static int misbehave(int64_t behaviour, const float *in, float *out, int64_t n) {
  volatile char start = 0;
  switch (behaviour) {
    case DOUBLE: return 0;
    case WRONG_ELEMENT: out[n - 1] += 1; return 0;
    case WRITE_NOTHING: memset(out, 0xff, (size_t)n * sizeof *out); return 0;
    case ACCUMULATE: out[0] += (float)runs++; return 0;
    case CRASH: *(volatile int *)8 = 1; return 0;
    case ABORT: abort();
    case LOOP:
      for (;;) start++;
    case WORKSPACE_BLOWUP: return run_workspaces();
    case MALLOC_BLOWUP: return blow_up_heap();
    case STACK_BLOWUP: return overflow_stack(&start);
    case EXIT: _exit(0);
    case FAIL: TVMFFIErrorSetRaisedFromCStr("RuntimeError", "on purpose"); return -1;
    case SCRIBBLE_ON_INPUT: memset((void *)in, 0, (size_t)n * sizeof *in); return 0;
    case CLOSE_EVERYTHING:
      for (int i = 0; i < 256; i++) close(i);
      return 0;
    case FORK_AND_LOOP:
      fork();
      for (;;) start++;
    default: TVMFFIErrorSetRaisedFromCStr("RuntimeError", "there is no such behaviour"); return -1;
  }
}

__attribute__((visibility("default"))) int32_t __tvm_ffi_lepton_kernel(void *self, TVMFFIAny *args, int32_t num_args,
                                                                       TVMFFIAny *result) {
  (void)self, (void)result;
  if (num_args < 2 || !is_float_array(&args[0]) || !is_float_array(&args[1])) return -1;
  const DLTensor *in = args[0].v_ptr, *out = args[1].v_ptr;
  int64_t n = count(in);
  if (count(out) != n) return -1;
#ifdef BEHAVIOUR
  int64_t behaviour = BEHAVIOUR;
#else
  if (num_args < 3 || args[2].type_index != LEPTON_ARGUMENT_INT) return -1;
  int64_t behaviour = args[2].v_int64;
#endif
  for (int64_t i = 0; i < n; i++) ((float *)out->data)[i] = ((const float *)in->data)[i] * 2;
#ifdef ALWAYS_RIGHT
  (void)misbehave, (void)behaviour;
  return 0;
#else
  return misbehave(behaviour, in->data, out->data, n);
#endif
}
