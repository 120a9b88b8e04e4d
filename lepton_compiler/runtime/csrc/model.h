/* What the compiler generates and the runtime runs. Private to the library: programs include lepton.h instead. */
#ifndef LEPTON_MODEL_H
#define LEPTON_MODEL_H

#include <stddef.h>
#include <stdint.h>

#include "lepton.h"

/* Layouts that kernels expect: DLPack's DLTensor and TVM FFI's packed argument. */
typedef struct {
  int32_t device_type, device_id;
} DLDevice;
typedef struct {
  uint8_t code, bits;
  uint16_t lanes;
} DLDataType;
typedef struct {
  void *data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t *shape;
  int64_t *strides;
  uint64_t byte_offset;
} DLTensor;
typedef struct {
  int32_t type_index;
  uint32_t zero_padding;
  union {
    int64_t v_int64;
    double v_float64;
    void *v_ptr;
  };
} TVMFFIAny;

enum { LEPTON_ARGUMENT_INT = 1, LEPTON_ARGUMENT_TENSOR = 7 }; /* TVMFFIAny.type_index */

typedef int32_t (*lepton_kernel_function)(void *self, TVMFFIAny *args, int32_t num_args, TVMFFIAny *result);

/* A dimension of an input or output: fixed, or in inputs one of the model's symbols. */
typedef struct {
  int64_t size;   /* fixed size; -1 where it is symbolic */
  int32_t symbol; /* index into lepton_model.symbols; -1 where it is fixed or an output's expression */
} lepton_dim;

typedef struct {
  const char *name;
  int32_t dtype; /* lepton_dtype */
  int32_t ndim;
  const lepton_dim *dims;
  const char *const *dim_text; /* "3", "batch" or, in outputs, "batch * 4" */
} lepton_tensor_description;

typedef struct {
  const char *name;  /* symbol of the kernel */
  const char *nodes; /* model nodes that it computes, joined by '+' */
} lepton_kernel_description;

/* What one run works on. All pointers are LEPTON_ALIGNMENT aligned: kernels use aligned vector loads. */
typedef struct {
  const int64_t *symbols;
  void *const *inputs;
  void *const *outputs;
  uint8_t *arena;
  const uint8_t *weights;
} lepton_frame;

/* A weights file holds the weights and then this many bytes: the magic, zeros up to byte 32, the weights' SHA-256. */
#define LEPTON_WEIGHTS_TRAILER_BYTES 64
#define LEPTON_WEIGHTS_MAGIC "Lepton weights 1"
#define LEPTON_SHA256_BYTES 32

typedef struct {
  uint32_t runtime_abi; /* LEPTON_RUNTIME_ABI of the compiler that wrote this */
  const char *model_name;
  const char *const *cpu_features; /* names as /proc/cpuinfo prints them, NULL at the end */
  int32_t input_count, output_count, symbol_count, kernel_count;
  const lepton_tensor_description *inputs, *outputs;
  const char *const *symbols;
  const lepton_kernel_description *kernels;
  const uint8_t *weights;         /* embedded weights; NULL where they lie in a file */
  const char *weights_file;       /* name of that file beside the library; NULL where weights are embedded */
  uint64_t weights_bytes;
  uint8_t weights_sha256[LEPTON_SHA256_BYTES]; /* of the weights; a file of them must end with the same */
  uint64_t thread_workspace_bytes; /* what one thread's kernels allocate at once, at the most; each block aligned */
  int32_t is_static;               /* no symbols: arena_bytes needs no inputs */
  /* Bytes of the arena for these symbol values; INT64_MAX where the size is not representable, -1 where the inputs are
   * too small: an intermediate tensor would have a negative dimension. */
  int64_t (*arena_bytes)(const int64_t *symbols);
  /* Writes the dimensions of all outputs, one after the other. */
  void (*output_shapes)(const int64_t *symbols, int64_t *dims);
  /* Runs the kernels in order; 0, or a kernel's error after it has set the session's error text. */
  int32_t (*run)(lepton_session *session, const lepton_frame *frame);
  const uint8_t *manifest; /* the bytes of section .lepton_manifest; NULL where the library carries none */
  uint64_t manifest_bytes;
} lepton_model;

#define LEPTON_RUNTIME_ABI 1

/* Kind of the errors that kernels raise for values that the caller passed; all other kinds are faults of kernels. */
#define LEPTON_VALUE_ERROR "InputError"

/* Defined by the generated code, one a library. */
extern const lepton_model lepton_generated_model;

/* Defined by the runtime: calls a kernel, timed where the session has a profiling hook. */
int32_t lepton_call_kernel(lepton_session *session, int32_t index, lepton_kernel_function kernel, TVMFFIAny *args,
                           int32_t num_args);

/* Defined by the runtime: 0 where two sizes that the model takes for equal are; else the session's error says which.
 * `what` names the one, `needed` is empty or what the other is computed from, with " = " behind it. */
int32_t lepton_check_size(lepton_session *session, const char *node, const char *what, const char *needed, int64_t size,
                          int64_t expected);

/* Size arithmetic that saturates at INT64_MAX, for non-negative operands. */
static inline int64_t lepton_size_add(int64_t a, int64_t b) { return a > INT64_MAX - b ? INT64_MAX : a + b; }
static inline int64_t lepton_size_mul(int64_t a, int64_t b) { return b != 0 && a > INT64_MAX / b ? INT64_MAX : a * b; }
static inline int64_t lepton_size_max(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t lepton_size_align(int64_t a) {
  return a > INT64_MAX - LEPTON_ALIGNMENT ? INT64_MAX : (a + LEPTON_ALIGNMENT - 1) / LEPTON_ALIGNMENT * LEPTON_ALIGNMENT;
}

#endif
