/* As generated for a model of symbolic shapes: a [batch, width] and b [batch, 4] give sum [batch, width], where
 * sum[i, j] = a[i, j] + b[i, 0] + ... + b[i, 3], row_ids [batch * 2], which counts, and tail [width - 2], all 1. A NaN
 * at a[0, 0] makes the first kernel fail. */
#include "kernel_support.h"
#include "manifest.inc"

enum { BATCH, WIDTH, SYMBOLS };
enum { TERMS = 4 };

typedef struct {
  int64_t batch, width;
  const float *a, *b;
  float *row_sums, *sum;
} operands;

static int add_rows(int task, task_group *group, void *data) {
  const operands *o = data;
  for (int64_t row = task; row < o->batch; row += group->num_task) {
    o->row_sums[row] = 0;
    for (int term = 0; term < TERMS; term++) o->row_sums[row] += o->b[row * TERMS + term];
    for (int64_t i = 0; i < o->width; i++) o->sum[row * o->width + i] = o->a[row * o->width + i] + o->row_sums[row];
  }
  return 0;
}

static int32_t add(void *self, TVMFFIAny *args, int32_t num_args, TVMFFIAny *result) {
  (void)self, (void)num_args, (void)result;
  operands o = {args[4].v_int64,       args[5].v_int64,       tensor_data(&args[0]),
                tensor_data(&args[1]), tensor_data(&args[2]), tensor_data(&args[3])};
  if (o.a[0] != o.a[0]) return 7;
  return TVMBackendParallelLaunch(add_rows, &o, 0);
}

static int32_t count(void *self, TVMFFIAny *args, int32_t num_args, TVMFFIAny *result) {
  (void)self, (void)num_args, (void)result;
  int64_t *row_ids = tensor_data(&args[0]);
  for (int64_t i = 0; i < args[2].v_int64 * 2; i++) row_ids[i] = i;
  uint8_t *tail = tensor_data(&args[1]);
  for (int64_t i = 0; i < args[3].v_int64 - 2; i++) tail[i] = 1;
  return 0;
}

static const lepton_dim a_dims[] = {{-1, BATCH}, {-1, WIDTH}}, b_dims[] = {{-1, BATCH}, {TERMS, -1}};
static const lepton_dim computed[] = {{-1, -1}};
static const char *const a_text[] = {"batch", "width"}, *const b_text[] = {"batch", "4"};
static const char *const ids_text[] = {"batch * 2"}, *const tail_text[] = {"width - 2"};
static const lepton_tensor_description inputs[] = {
    {"a", LEPTON_FLOAT32, 2, a_dims, a_text},
    {"b", LEPTON_FLOAT32, 2, b_dims, b_text},
};
static const lepton_tensor_description outputs[] = {
    {"sum", LEPTON_FLOAT32, 2, a_dims, a_text},
    {"row_ids", LEPTON_INT64, 1, computed, ids_text},
    {"tail", LEPTON_BOOL, 1, computed, tail_text},
};
static const char *const symbols[] = {"batch", "width"};
static const lepton_kernel_description kernels[] = {{"add", "add"}, {"count", "range"}};
static const char *const features[] = {NULL};

static int64_t arena_bytes(const int64_t *values) {
  return lepton_size_align(lepton_size_mul(values[BATCH], sizeof(float)));
}

static void output_shapes(const int64_t *values, int64_t *dims) {
  dims[0] = values[BATCH];
  dims[1] = values[WIDTH];
  dims[2] = lepton_size_mul(values[BATCH], 2);
  dims[3] = values[WIDTH] - 2;
}

static int32_t run(lepton_session *session, const lepton_frame *frame) {
  int64_t batch = frame->symbols[BATCH], width = frame->symbols[WIDTH];
  int64_t a_shape[] = {batch, width}, b_shape[] = {batch, TERMS}, ids_shape[] = {batch * 2}, tail_shape[] = {width - 2};
  DLTensor a = dense_tensor(frame->inputs[0], 2, a_shape, 2, 32), b = dense_tensor(frame->inputs[1], 2, b_shape, 2, 32);
  DLTensor row_sums = dense_tensor(frame->arena, 1, a_shape, 2, 32);
  DLTensor sum = dense_tensor(frame->outputs[0], 2, a_shape, 2, 32);
  DLTensor ids = dense_tensor(frame->outputs[1], 1, ids_shape, 0, 64);
  DLTensor tail = dense_tensor(frame->outputs[2], 1, tail_shape, 6, 8);
  TVMFFIAny batch_argument = {LEPTON_ARGUMENT_INT, 0, {.v_int64 = batch}};
  TVMFFIAny width_argument = {LEPTON_ARGUMENT_INT, 0, {.v_int64 = width}};
  TVMFFIAny first[] = {tensor_argument(&a),   tensor_argument(&b), tensor_argument(&row_sums),
                       tensor_argument(&sum), batch_argument,      width_argument};
  int32_t code = lepton_call_kernel(session, 0, add, first, 6);
  if (code != 0) return code;
  TVMFFIAny second[] = {tensor_argument(&ids), tensor_argument(&tail), batch_argument, width_argument};
  return lepton_call_kernel(session, 1, count, second, 4);
}

const lepton_model lepton_generated_model = {
    .runtime_abi = LEPTON_RUNTIME_ABI,
    .model_name = "symbolic",
    .cpu_features = features,
    .input_count = 2,
    .output_count = 3,
    .symbol_count = SYMBOLS,
    .kernel_count = 2,
    .inputs = inputs,
    .outputs = outputs,
    .symbols = symbols,
    .kernels = kernels,
    .arena_bytes = arena_bytes,
    .output_shapes = output_shapes,
    .run = run,
    .manifest = manifest,
    .manifest_bytes = sizeof manifest,
};
