/* Written by the Lepton Compiler: runs one model's kernels in order. */
#include "lepton.h"
#include "model.h"

#include <string.h>

#define TENSOR(pointer, rank, code, bits, dims) \
  {(void *)(pointer), {1, 0}, (rank), {(code), (bits), 1}, (int64_t *)(dims), NULL, 0}
#define PASS(tensor) {LEPTON_ARGUMENT_TENSOR, 0, {.v_ptr = &(tensor)}}
#define PASS_INT(value) {LEPTON_ARGUMENT_INT, 0, {.v_int64 = (value)}}
#define UNUSED __attribute__((unused))

UNUSED static inline int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}
UNUSED static inline int64_t saturating_sub(int64_t a, int64_t b) {
  int64_t difference;
  return __builtin_sub_overflow(a, b, &difference) ? (b < 0 ? INT64_MAX : INT64_MIN) : difference;
}
UNUSED static inline int64_t saturating_mul(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? ((a < 0) == (b < 0) ? INT64_MAX : INT64_MIN) : product;
}
UNUSED static inline int64_t trunc_div(int64_t a, int64_t b) {
  if (b == 0) return 0;
  return b == -1 ? saturating_sub(0, a) : a / b;
}
UNUSED static inline int64_t trunc_mod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
UNUSED static inline int64_t floor_div(int64_t a, int64_t b) {
  return trunc_div(a, b) - (trunc_mod(a, b) != 0 && (a < 0) != (b < 0));
}
UNUSED static inline int64_t floor_mod(int64_t a, int64_t b) {
  int64_t rest = trunc_mod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
UNUSED static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
UNUSED static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }

__attribute__((section(".lepton_manifest"), used, aligned(64))) static const uint8_t manifest[] = {
#embed "manifest.json"
};

__attribute__((aligned(4096))) static const uint8_t embedded_weights[] = {
#embed "weights.bin"
};

static const int64_t dims_0[] = {2, 4};
static const int64_t dims_1[] = {1, 4, 4};
static const int64_t dims_2[] = {2, 3};
static const int64_t dims_3[] = {6};
extern int32_t __tvm_ffi_dense(void *, TVMFFIAny *, int32_t, TVMFFIAny *);
extern int32_t __tvm_ffi_relu(void *, TVMFFIAny *, int32_t, TVMFFIAny *);
extern int32_t __tvm_ffi_tir_exp(void *, TVMFFIAny *, int32_t, TVMFFIAny *);

static int64_t arena_bytes(const int64_t *symbols) {
  (void)symbols;
  return INT64_C(128);
}


static void output_shapes(const int64_t *symbols, int64_t *dims) {
  (void)symbols;
  (void)dims;
  dims[0] = INT64_C(6);
  dims[1] = INT64_C(2);
  dims[2] = INT64_C(4);
}


static int32_t run(lepton_session *session, const lepton_frame *frame) {
  UNUSED uint8_t *const arena = frame->arena;
  UNUSED const uint8_t *const weights = frame->weights;
  (void)session;
  {
    DLTensor tensors[] = {
      TENSOR(frame->inputs[0], 2, 2, 32, dims_0),
      TENSOR(weights + 0, 3, 2, 32, dims_1),
      TENSOR(arena + 0, 2, 2, 32, dims_2)};
    TVMFFIAny arguments[] = {PASS(tensors[0]), PASS(tensors[1]), PASS(tensors[2])};
    if (lepton_call_kernel(session, 0, __tvm_ffi_dense, arguments, 3) != 0)
      return -1;
  }
  {
    DLTensor tensors[] = {
      TENSOR(arena + 0, 2, 2, 32, dims_2),
      TENSOR(arena + 64, 2, 2, 32, dims_2)};
    TVMFFIAny arguments[] = {PASS(tensors[0]), PASS(tensors[1])};
    if (lepton_call_kernel(session, 1, __tvm_ffi_relu, arguments, 2) != 0)
      return -1;
  }
  {
    DLTensor tensors[] = {
      TENSOR(arena + 64, 1, 2, 32, dims_3),
      TENSOR(frame->outputs[0], 1, 2, 32, dims_3)};
    TVMFFIAny arguments[] = {PASS(tensors[0]), PASS(tensors[1])};
    if (lepton_call_kernel(session, 2, __tvm_ffi_tir_exp, arguments, 2) != 0)
      return -1;
  }
  memcpy(frame->outputs[1], frame->inputs[0], (size_t)INT64_C(32));
  return 0;
}

static const lepton_dim input_0_dims[] = {{2, -1}, {4, -1}};
static const char *const input_0_text[] = {"2", "4"};
static const lepton_tensor_description input_table[] = {
  {"in0", LEPTON_FLOAT32, 2, input_0_dims, input_0_text},
};
static const lepton_dim output_0_dims[] = {{6, -1}};
static const char *const output_0_text[] = {"6"};
static const lepton_dim output_1_dims[] = {{2, -1}, {4, -1}};
static const char *const output_1_text[] = {"2", "4"};
static const lepton_tensor_description output_table[] = {
  {"out0", LEPTON_FLOAT32, 1, output_0_dims, output_0_text},
  {"out1", LEPTON_FLOAT32, 2, output_1_dims, output_1_text},
};
static const char *const symbol_names[] = {NULL};
static const char *const cpu_features[] = {"sse4_2", NULL};
static const lepton_kernel_description kernels[] = {
  {"dense", "fc/MatMul"},
  {"relu", "fc/Relu"},
  {"tir_exp", "exp"},
};

const lepton_model lepton_generated_model = {
  .runtime_abi = LEPTON_RUNTIME_ABI,
  .model_name = "tiny",
  .manifest = manifest,
  .manifest_bytes = sizeof manifest,
  .cpu_features = cpu_features,
  .input_count = 1,
  .output_count = 2,
  .symbol_count = 0,
  .kernel_count = 3,
  .inputs = input_table,
  .outputs = output_table,
  .symbols = symbol_names,
  .kernels = kernels,
  .weights = embedded_weights,
  .weights_file = NULL,
  .weights_bytes = UINT64_C(128),
  .weights_sha256 = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31},
  .thread_workspace_bytes = UINT64_C(4096),
  .is_static = 1,
  .arena_bytes = arena_bytes,
  .output_shapes = output_shapes,
  .run = run,
};
