/* Every argument that a program can get wrong, and every way to pass buffers. Linked with models/symbolic.c. */
#include <math.h>
#include <stdbool.h>

#include "check.h"

enum { INPUTS = 2, OUTPUTS = 3, FLOATS = 4096 };

static _Alignas(LEPTON_ALIGNMENT) float memory[FLOATS];

static lepton_tensor matrix(float *data, int64_t rows, int64_t columns) {
  lepton_tensor tensor = {data, LEPTON_FLOAT32, 2, {rows, columns}, (uint64_t)(rows * columns) * sizeof(float)};
  return tensor;
}

/* a is 1, 2, 3..., b is all 1, so that sum[i] = i + 5. */
static void fill(float *a, int64_t count, float *b, int64_t b_count) {
  for (int64_t i = 0; i < count; i++) a[i] = (float)(i + 1);
  for (int64_t i = 0; i < b_count; i++) b[i] = 1;
}

static void check_sum(const lepton_tensor *sum, int64_t batch, int64_t width) {
  CHECK(sum->rank == 2 && sum->shape[0] == batch && sum->shape[1] == width);
  CHECK(sum->dtype == LEPTON_FLOAT32 && sum->bytes == (uint64_t)(batch * width) * sizeof(float));
  for (int64_t i = 0; i < batch * width; i++) CHECK(((float *)sum->data)[i] == (float)(i + 5));
}

static void shapes_grow_and_shrink(lepton_session *session) {
  static const int64_t sizes[][2] = {{1, 3}, {40, 50}, {2, 3}, {3, 100}};
  lepton_tensor outputs[OUTPUTS] = {{0}};
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    int64_t batch = sizes[i][0], width = sizes[i][1];
    float *a = memory + i, *b = memory + 2048 + i; /* aligned in the first round alone */
    fill(a, batch * width, b, batch * 4);
    lepton_tensor inputs[INPUTS] = {matrix(a, batch, width), matrix(b, batch, 4)};
    CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
    check_sum(&outputs[0], batch, width);
    CHECK(outputs[1].shape[0] == batch * 2 && ((int64_t *)outputs[1].data)[batch * 2 - 1] == batch * 2 - 1);
    CHECK(outputs[2].shape[0] == width - 2 && outputs[2].bytes == (uint64_t)(width - 2));
  }
}

static void own_buffers(lepton_session *session, size_t offset) {
  float *a = memory, *b = memory + 64;
  fill(a, 8, b, 8);
  lepton_tensor inputs[INPUTS] = {matrix(a, 2, 4), matrix(b, 2, 4)};
  float *sum = memory + 128 + offset;
  int64_t ids[4];
  lepton_tensor outputs[OUTPUTS] = {{.data = sum, .bytes = 8 * sizeof(float)}, {.data = ids, .bytes = sizeof ids}};
  CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
  CHECK(outputs[0].data == sum && outputs[1].data == ids && outputs[2].data != NULL);
  check_sum(&outputs[0], 2, 4);
  CHECK(ids[0] == 0 && ids[3] == 3);
}

static void output_over_input(lepton_session *session) {
  float *a = memory, *b = memory + 64;
  fill(a, 8, b, 8);
  lepton_tensor inputs[INPUTS] = {matrix(a, 2, 4), matrix(b, 2, 4)};
  lepton_tensor outputs[OUTPUTS] = {{.data = a, .bytes = 8 * sizeof(float)}};
  CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
  check_sum(&outputs[0], 2, 4);
}

/* The session's own buffer of the last result comes back as an input, and then has to grow. */
static void result_fed_back(lepton_session *session) {
  float *a = memory, *b = memory + 64;
  fill(a, 8, b, 8);
  lepton_tensor inputs[INPUTS] = {matrix(a, 2, 4), matrix(b, 2, 4)};
  lepton_tensor outputs[OUTPUTS] = {{0}};
  CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
  inputs[0] = outputs[0];
  for (float step = 2; step < 5; step++) {
    CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
    for (int i = 0; i < 8; i++) CHECK(((float *)outputs[0].data)[i] == (float)(i + 1) + 4 * step);
    inputs[0] = outputs[0];
  }
}

static lepton_status run_rows(lepton_session *session, int64_t rows, bool fails, lepton_tensor *outputs) {
  fill(memory, rows * 4, memory + 2048, rows * 4);
  if (fails) memory[0] = NAN;
  lepton_tensor inputs[INPUTS] = {matrix(memory, rows, 4), matrix(memory + 2048, rows, 4)};
  return lepton_run(session, inputs, INPUTS, outputs, OUTPUTS);
}

/* A run that needs larger buffers fails in a kernel; the tensors of the run before it are passed again. */
static void failure_after_growth(void) {
  lepton_session *session;
  CHECK(lepton_open(LEPTON_API_VERSION, &session) == LEPTON_OK);
  lepton_tensor outputs[OUTPUTS] = {{0}};
  CHECK(run_rows(session, 16, false, outputs) == LEPTON_OK);
  const void *before = outputs[0].data;
  CHECK_ERROR(run_rows(session, 64, true, outputs), LEPTON_ERROR_KERNEL, "kernel add (node add) failed with code 7");
  CHECK(outputs[0].data == before && outputs[0].shape[0] == 16);
  CHECK(run_rows(session, 16, false, outputs) == LEPTON_OK);
  check_sum(&outputs[0], 16, 4);
  CHECK(run_rows(session, 64, false, outputs) == LEPTON_OK);
  check_sum(&outputs[0], 64, 4);
  lepton_close(session);
}

/* Two sets of tensors in turn: each holds addresses that the other's runs have outgrown, which are the session's still. */
static void two_sets_of_outputs(void) {
  lepton_session *session;
  CHECK(lepton_open(LEPTON_API_VERSION, &session) == LEPTON_OK);
  lepton_tensor outputs[2][OUTPUTS] = {{{0}}};
  for (int64_t rows = 1; rows <= 256; rows++) {
    CHECK(run_rows(session, rows, false, outputs[rows % 2]) == LEPTON_OK);
    check_sum(&outputs[rows % 2][0], rows, 4);
    CHECK(run_rows(session, 1, false, outputs[(rows + 1) % 2]) == LEPTON_OK);
    check_sum(&outputs[(rows + 1) % 2][0], 1, 4);
  }
  lepton_memory_info use;
  CHECK(lepton_memory(session, &use) == LEPTON_OK);
  /* At most twice what is needed, and as much again in outgrown blocks; an output takes at least one cache line. */
  CHECK(use.buffer_bytes <= 4 * (256 * 4 * sizeof(float) + 512 * sizeof(int64_t) + LEPTON_ALIGNMENT));
  lepton_close(session);
}

/* Pointers into the session's own buffers, given for another output or not at their start. */
static void buffers_of_other_outputs(lepton_session *session) {
  fill(memory, 8, memory + 64, 8);
  lepton_tensor inputs[INPUTS] = {matrix(memory, 2, 4), matrix(memory + 64, 2, 4)};
  lepton_tensor outputs[OUTPUTS] = {{0}};
  CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
  lepton_tensor swapped[OUTPUTS] = {outputs[1], outputs[0], outputs[2]};
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, swapped, OUTPUTS), LEPTON_ERROR_ARGUMENT,
              "given for output \"sum\" lies in the session's own buffer of output \"row_ids\"");
  lepton_tensor doubled[OUTPUTS] = {outputs[0], {.data = outputs[0].data, .bytes = 32}, outputs[2]};
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, doubled, OUTPUTS), LEPTON_ERROR_ARGUMENT,
              "given for output \"row_ids\" lies in the session's own buffer of output \"sum\"");
  lepton_tensor inside[OUTPUTS] = {{.data = (float *)outputs[0].data + 1, .bytes = 32}};
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, inside, OUTPUTS), LEPTON_ERROR_ARGUMENT,
              "given for output \"sum\" lies in the session's own buffer of output \"sum\"");
  CHECK(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
  check_sum(&outputs[0], 2, 4);
}

static void wrong_inputs(lepton_session *session) {
  lepton_tensor good[INPUTS] = {matrix(memory, 2, 4), matrix(memory + 64, 2, 4)}, inputs[INPUTS];
  lepton_tensor outputs[OUTPUTS] = {{0}};
#define REFUSED(change, status, piece)                                                    \
  do {                                                                                    \
    memcpy(inputs, good, sizeof good);                                                    \
    change;                                                                               \
    CHECK_ERROR(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS), status, piece);    \
  } while (0)
  REFUSED(inputs[0].dtype = LEPTON_INT8, LEPTON_ERROR_DTYPE, "input \"a\" must have dtype float32, given int8");
  REFUSED(inputs[0].dtype = 77, LEPTON_ERROR_DTYPE, "given unknown dtype (77)");
  REFUSED(inputs[0].dtype = INT32_MIN, LEPTON_ERROR_DTYPE, "given unknown dtype");
  REFUSED(inputs[0].rank = 1, LEPTON_ERROR_SHAPE, "must have rank 2 (shape [batch, width]), given rank 1");
  REFUSED(inputs[0].rank = INT32_MAX, LEPTON_ERROR_SHAPE, "given rank 2147483647");
  REFUSED(inputs[0].rank = -1, LEPTON_ERROR_SHAPE, "given rank -1");
  REFUSED(inputs[0].shape[0] = 3, LEPTON_ERROR_SHAPE, "dimension 0 (batch) is 2, but input \"a\" has batch = 3");
  REFUSED(inputs[0].shape[0] = 0, LEPTON_ERROR_SHAPE, "dimension 0 (batch) must be at least 1, not 0");
  REFUSED(inputs[0].shape[0] = INT64_MIN, LEPTON_ERROR_SHAPE, "must be at least 1, not -9223372036854775808");
  REFUSED(inputs[1].shape[1] = 5, LEPTON_ERROR_SHAPE, "input \"b\" must have shape [batch, 4], given [2, 5]");
  REFUSED(inputs[0].shape[1] = INT64_MAX, LEPTON_ERROR_SIZE, "input \"a\" would have more than 2^63 bytes");
  REFUSED(inputs[0].bytes = 31, LEPTON_ERROR_SIZE, "input \"a\" must have 32 bytes, given 31");
  REFUSED(inputs[0].bytes = 33, LEPTON_ERROR_SIZE, "input \"a\" must have 32 bytes, given 33");
  REFUSED(inputs[1].data = NULL, LEPTON_ERROR_ARGUMENT, "the data of input \"b\" is NULL");
  REFUSED((inputs[0].shape[1] = 2, inputs[0].bytes = 16), LEPTON_ERROR_SHAPE, "output \"tail\" would have size 0");
#undef REFUSED
}

static void wrong_calls(lepton_session *session) {
  lepton_tensor inputs[INPUTS] = {matrix(memory, 2, 4), matrix(memory + 64, 2, 4)}, outputs[OUTPUTS] = {{0}};
  const lepton_status argument = LEPTON_ERROR_ARGUMENT;
  CHECK_ERROR(lepton_run(NULL, inputs, INPUTS, outputs, OUTPUTS), argument, "session is NULL");
  CHECK_ERROR(lepton_run(session, NULL, INPUTS, outputs, OUTPUTS), argument, "inputs is NULL");
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, NULL, OUTPUTS), argument, "outputs is NULL");
  CHECK_ERROR(lepton_run(session, inputs, 1, outputs, OUTPUTS), argument, "2 inputs and 3 outputs, given 1 and 3");
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, outputs, -1), argument, "given 2 and -1");
  CHECK_ERROR(lepton_output_shapes(session, inputs, INPUTS, NULL, OUTPUTS), argument, "outputs is NULL");
  outputs[0] = (lepton_tensor){.data = memory + 128, .bytes = 31};
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS), LEPTON_ERROR_SIZE,
              "output \"sum\" needs a buffer of 32 bytes, given 31");
  outputs[0].bytes = 64;
  outputs[1] = (lepton_tensor){.data = memory + 132, .bytes = 64};
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS), argument, "\"sum\" and \"row_ids\" overlap");
  CHECK_ERROR(lepton_set_threads(session, -1), argument, "threads must be 0 to 1024, given -1");
  CHECK_ERROR(lepton_set_threads(session, 1025), argument, "given 1025");
  CHECK_ERROR(lepton_set_threads(NULL, 1), argument, "session is NULL");
  CHECK_ERROR(lepton_set_kernel_hook(NULL, NULL, NULL), argument, "session is NULL");
}

static void sizes_beyond_memory(lepton_session *session) {
  lepton_tensor outputs[OUTPUTS] = {{0}};
  const int64_t rows = INT64_C(1) << 50;
  lepton_tensor inputs[INPUTS] = {matrix(memory, rows, 3), matrix(memory, rows, 4)};
  CHECK(lepton_output_shapes(session, inputs, INPUTS, outputs, OUTPUTS) == LEPTON_OK);
  CHECK(outputs[0].bytes == (uint64_t)rows * 12 && outputs[0].data == NULL);
  CHECK_ERROR(lepton_run(session, inputs, INPUTS, outputs, OUTPUTS), LEPTON_ERROR_MEMORY, "out of memory");
  inputs[0].shape[0] = inputs[1].shape[0] = INT64_C(1) << 59;
  inputs[0].bytes = UINT64_MAX;
  CHECK_ERROR(lepton_output_shapes(session, inputs, INPUTS, outputs, OUTPUTS), LEPTON_ERROR_SIZE, "more than 2^63 bytes");
}

static void descriptions(lepton_session *session) {
  lepton_tensor_info info;
  CHECK(lepton_input_count(session) == 2 && lepton_output_count(session) == 3);
  CHECK(lepton_symbol_count(session) == 2 && lepton_kernel_count(session) == 2);
  CHECK(lepton_input(session, 1, &info) == LEPTON_OK);
  CHECK(strcmp(info.name, "b") == 0 && info.dtype == LEPTON_FLOAT32 && info.rank == 2);
  CHECK(info.dims[0] == -1 && info.dims[1] == 4 && strcmp(info.dim_text[0], "batch") == 0);
  CHECK(lepton_output(session, 1, &info) == LEPTON_OK);
  CHECK(info.dims[0] == -1 && strcmp(info.dim_text[0], "batch * 2") == 0);
  lepton_kernel_info kernel;
  CHECK(lepton_kernel(session, 0, &kernel) == LEPTON_OK && strcmp(kernel.nodes, "add") == 0);
  CHECK(strcmp(lepton_symbol(session, 1), "width") == 0);
  CHECK(lepton_symbol(session, 2) == NULL && lepton_symbol(NULL, 0) == NULL);
  CHECK_ERROR(lepton_input(session, 2, &info), LEPTON_ERROR_ARGUMENT, "there is no input 2: the model has 2");
  CHECK_ERROR(lepton_output(session, -1, &info), LEPTON_ERROR_ARGUMENT, "there is no output -1");
  CHECK_ERROR(lepton_kernel(session, 0, NULL), LEPTON_ERROR_ARGUMENT, "out is NULL");
  CHECK_ERROR(lepton_input(NULL, 0, &info), LEPTON_ERROR_ARGUMENT, "session is NULL");
  CHECK(lepton_input_count(NULL) == 0 && lepton_output_count(NULL) == 0 && lepton_threads(NULL) == 0);
}

static void library_wide(void) {
  const uint8_t *manifest;
  uint64_t bytes;
  lepton_session *session = (lepton_session *)memory;
  CHECK(lepton_manifest(&manifest, &bytes) == LEPTON_OK && bytes > 2 && manifest[0] == '{');
  CHECK_ERROR(lepton_manifest(NULL, &bytes), LEPTON_ERROR_ARGUMENT, "data is NULL");
  CHECK_ERROR(lepton_open(LEPTON_API_VERSION, NULL), LEPTON_ERROR_ARGUMENT, "out is NULL");
  CHECK_ERROR(lepton_open(LEPTON_API_VERSION + 1, &session), LEPTON_ERROR_VERSION, "version 2 of lepton.h");
  CHECK(session == NULL);
  CHECK_ERROR(lepton_open(0, &session), LEPTON_ERROR_VERSION, "version 0 of lepton.h");
  CHECK(strcmp(lepton_status_name(LEPTON_ERROR_SHAPE), "LEPTON_ERROR_SHAPE") == 0);
  CHECK(strcmp(lepton_status_name((lepton_status)99), "unknown status") == 0);
  CHECK(strcmp(lepton_dtype_name(LEPTON_BFLOAT16), "bfloat16") == 0 && lepton_dtype_bytes(LEPTON_BFLOAT16) == 2);
  CHECK(strcmp(lepton_dtype_name(0), "unknown dtype") == 0 && lepton_dtype_bytes(14) == 0);
}

int main(void) {
  library_wide();
  lepton_session *session;
  CHECK(lepton_open(LEPTON_API_VERSION, &session) == LEPTON_OK);
  lepton_memory_info use;
  CHECK(lepton_memory(session, &use) == LEPTON_OK && use.arena_bytes == 0 && use.buffer_bytes == 0);
  descriptions(session);
  for (int32_t threads = 1; threads <= 3; threads++) {
    CHECK(lepton_set_threads(session, threads) == LEPTON_OK && lepton_threads(session) == threads);
    shapes_grow_and_shrink(session);
    own_buffers(session, 0);
    own_buffers(session, 1);
    output_over_input(session);
    result_fed_back(session);
    buffers_of_other_outputs(session);
    wrong_inputs(session);
    wrong_calls(session);
    sizes_beyond_memory(session);
  }
  CHECK(lepton_memory(session, &use) == LEPTON_OK && use.arena_bytes >= 40 * sizeof(float) && use.buffer_bytes > 0);
  lepton_close(session);
  failure_after_growth();
  two_sets_of_outputs();
  puts("done");
  return 0;
}
