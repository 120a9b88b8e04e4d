/* As generated for a model that copies one tensor of three elements of every dtype. */
#include <string.h>

#include "kernel_support.h"
#include "manifest.inc"

enum { LENGTH = 3, DTYPES = LEPTON_BOOL };

static const uint32_t element_bytes[] = {
    [LEPTON_FLOAT32] = 4, [LEPTON_FLOAT64] = 8, [LEPTON_FLOAT16] = 2, [LEPTON_BFLOAT16] = 2, [LEPTON_INT8] = 1,
    [LEPTON_INT16] = 2,   [LEPTON_INT32] = 4,   [LEPTON_INT64] = 8,   [LEPTON_UINT8] = 1,    [LEPTON_UINT16] = 2,
    [LEPTON_UINT32] = 4,  [LEPTON_UINT64] = 8,  [LEPTON_BOOL] = 1,
};

static const lepton_dim dims[] = {{LENGTH, -1}};
static const char *const text[] = {"3"};
static const lepton_tensor_description inputs[] = {
    {"x1", LEPTON_FLOAT32, 1, dims, text}, {"x2", LEPTON_FLOAT64, 1, dims, text}, {"x3", LEPTON_FLOAT16, 1, dims, text},
    {"x4", LEPTON_BFLOAT16, 1, dims, text}, {"x5", LEPTON_INT8, 1, dims, text},   {"x6", LEPTON_INT16, 1, dims, text},
    {"x7", LEPTON_INT32, 1, dims, text},   {"x8", LEPTON_INT64, 1, dims, text},   {"x9", LEPTON_UINT8, 1, dims, text},
    {"x10", LEPTON_UINT16, 1, dims, text}, {"x11", LEPTON_UINT32, 1, dims, text}, {"x12", LEPTON_UINT64, 1, dims, text},
    {"x13", LEPTON_BOOL, 1, dims, text},
};
static const lepton_tensor_description outputs[] = {
    {"y1", LEPTON_FLOAT32, 1, dims, text}, {"y2", LEPTON_FLOAT64, 1, dims, text}, {"y3", LEPTON_FLOAT16, 1, dims, text},
    {"y4", LEPTON_BFLOAT16, 1, dims, text}, {"y5", LEPTON_INT8, 1, dims, text},   {"y6", LEPTON_INT16, 1, dims, text},
    {"y7", LEPTON_INT32, 1, dims, text},   {"y8", LEPTON_INT64, 1, dims, text},   {"y9", LEPTON_UINT8, 1, dims, text},
    {"y10", LEPTON_UINT16, 1, dims, text}, {"y11", LEPTON_UINT32, 1, dims, text}, {"y12", LEPTON_UINT64, 1, dims, text},
    {"y13", LEPTON_BOOL, 1, dims, text},
};
static const char *const features[] = {NULL};

static int64_t arena_bytes(const int64_t *symbols) {
  (void)symbols;
  return 0;
}

static void output_shapes(const int64_t *symbols, int64_t *sizes) {
  (void)symbols;
  for (int i = 0; i < DTYPES; i++) sizes[i] = LENGTH;
}

static int32_t run(lepton_session *session, const lepton_frame *frame) {
  (void)session;
  for (int i = 0; i < DTYPES; i++) memcpy(frame->outputs[i], frame->inputs[i], LENGTH * element_bytes[i + 1]);
  return 0;
}

const lepton_model lepton_generated_model = {
    .runtime_abi = LEPTON_RUNTIME_ABI,
    .model_name = "copies",
    .cpu_features = features,
    .input_count = DTYPES,
    .output_count = DTYPES,
    .inputs = inputs,
    .outputs = outputs,
    .is_static = 1,
    .arena_bytes = arena_bytes,
    .output_shapes = output_shapes,
    .run = run,
    .manifest = manifest,
    .manifest_bytes = sizeof manifest,
};
