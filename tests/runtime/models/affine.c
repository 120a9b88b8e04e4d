/* As generated for a model of fixed shapes: y = relu(x * scale), s = sum(y), in two kernels. */
#include "kernel_support.h"
#include "manifest.inc"

/* What tests vary. */
#ifndef FEATURES
#define FEATURES
#endif
#ifndef ABI
#define ABI LEPTON_RUNTIME_ABI
#endif
#ifndef ARENA_BYTES
#define ARENA_BYTES 64
#endif
#ifndef WEIGHTS_SHA256
#define WEIGHTS_SHA256 0
#endif
#ifndef WORKSPACE_BYTES
#define WORKSPACE_BYTES 0
#endif

enum { ROWS = 4, COLUMNS = 6 };

#ifndef WEIGHTS_FILE
static const _Alignas(64) float scale[COLUMNS] = {1, -2, 3, -4, 5, -6};
#endif

static int scale_rows(int task, task_group *group, void *data) {
  const TVMFFIAny *args = data;
  const float *x = tensor_data(&args[0]), *factor = tensor_data(&args[1]);
  float *y = tensor_data(&args[2]);
  for (int row = task; row < ROWS; row += group->num_task) {
    for (int column = 0; column < COLUMNS; column++) {
      float value = x[row * COLUMNS + column] * factor[column];
      y[row * COLUMNS + column] = value > 0 ? value : 0;
    }
  }
  return 0;
}

static int32_t scale_relu(void *self, TVMFFIAny *args, int32_t num_args, TVMFFIAny *result) {
  (void)self, (void)num_args, (void)result;
  return TVMBackendParallelLaunch(scale_rows, args, 0);
}

static int32_t sum(void *self, TVMFFIAny *args, int32_t num_args, TVMFFIAny *result) {
  (void)self, (void)num_args, (void)result;
  const float *y = tensor_data(&args[0]);
  float total = 0;
  for (int i = 0; i < ROWS * COLUMNS; i++) total += y[i];
  *(float *)tensor_data(&args[1]) = total;
  return 0;
}

static const lepton_dim x_dims[] = {{ROWS, -1}, {COLUMNS, -1}};
static const char *const x_text[] = {"4", "6"};
static const lepton_tensor_description inputs[] = {{"x", LEPTON_FLOAT32, 2, x_dims, x_text}};
static const lepton_tensor_description outputs[] = {
    {"y", LEPTON_FLOAT32, 2, x_dims, x_text},
    {"s", LEPTON_FLOAT32, 0, x_dims, x_text},
};
static const lepton_kernel_description kernels[] = {{"scale_relu", "mul+relu"}, {"sum", "reduce"}};
static const char *const features[] = {FEATURES NULL};

static int64_t arena_bytes(const int64_t *symbols) {
  (void)symbols;
  return ARENA_BYTES;
}

static void output_shapes(const int64_t *symbols, int64_t *dims) {
  (void)symbols;
  dims[0] = ROWS;
  dims[1] = COLUMNS;
}

static int32_t run(lepton_session *session, const lepton_frame *frame) {
  int64_t shape[] = {ROWS, COLUMNS}, columns[] = {COLUMNS};
  DLTensor x = dense_tensor(frame->inputs[0], 2, shape, 2, 32);
  DLTensor factor = dense_tensor(frame->weights, 1, columns, 2, 32);
  DLTensor y = dense_tensor(frame->outputs[0], 2, shape, 2, 32);
  DLTensor s = dense_tensor(frame->outputs[1], 0, NULL, 2, 32);
  TVMFFIAny first[] = {tensor_argument(&x), tensor_argument(&factor), tensor_argument(&y)};
  int32_t code = lepton_call_kernel(session, 0, scale_relu, first, 3);
  if (code != 0) return code;
  TVMFFIAny second[] = {tensor_argument(&y), tensor_argument(&s)};
  return lepton_call_kernel(session, 1, sum, second, 2);
}

const lepton_model lepton_generated_model = {
    .runtime_abi = ABI,
    .model_name = "affine",
    .cpu_features = features,
    .input_count = 1,
    .output_count = 2,
    .kernel_count = 2,
    .inputs = inputs,
    .outputs = outputs,
    .kernels = kernels,
#ifdef WEIGHTS_FILE
    .weights_file = WEIGHTS_FILE,
    .weights_sha256 = {WEIGHTS_SHA256},
#else
    .weights = (const uint8_t *)scale,
#endif
    .weights_bytes = COLUMNS * sizeof(float),
    .thread_workspace_bytes = WORKSPACE_BYTES,
    .is_static = 1,
    .arena_bytes = arena_bytes,
    .output_shapes = output_shapes,
    .run = run,
    .manifest = manifest,
    .manifest_bytes = sizeof manifest,
};
