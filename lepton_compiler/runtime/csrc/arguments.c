/* Checks of what a program passes to lepton_run and lepton_output_shapes. */
#include <inttypes.h>
#include <stdio.h>

#include "dtype.h"
#include "session.h"

#define SHAPE_TEXT_BYTES 256

static lepton_status wrong_shape(const lepton_tensor_description *expected, const lepton_tensor *given,
                                 const char *reason) {
  char expected_text[SHAPE_TEXT_BYTES], given_text[SHAPE_TEXT_BYTES];
  lepton_format_dims(expected_text, sizeof expected_text, expected->dim_text, expected->ndim);
  lepton_format_shape(given_text, sizeof given_text, given->shape, given->rank);
  return lepton_fail(LEPTON_ERROR_SHAPE, "input \"%s\" must have shape %s, given %s: %s", expected->name, expected_text,
                     given_text, reason);
}

/* The first input and dimension that carry a symbol are where its value comes from. */
static const char *symbol_source(const lepton_model *model, int32_t symbol) {
  for (int32_t i = 0; i < model->input_count; i++) {
    for (int32_t d = 0; d < model->inputs[i].ndim; d++) {
      if (model->inputs[i].dims[d].symbol == symbol) return model->inputs[i].name;
    }
  }
  return "?";
}

static lepton_status bind_dimension(lepton_session *session, const lepton_tensor_description *expected,
                                    const lepton_tensor *given, int32_t d) {
  char reason[SHAPE_TEXT_BYTES];
  lepton_dim dim = expected->dims[d];
  int64_t size = given->shape[d];
  if (dim.symbol < 0) {
    if (size == dim.size) return LEPTON_OK;
    snprintf(reason, sizeof reason, "dimension %" PRId32 " must be %" PRId64 ", not %" PRId64, d, dim.size, size);
    return wrong_shape(expected, given, reason);
  }
  const char *name = session->model->symbols[dim.symbol];
  int64_t *value = &session->symbols[dim.symbol];
  if (size < 1) {
    snprintf(reason, sizeof reason, "dimension %" PRId32 " (%s) must be at least 1, not %" PRId64, d, name, size);
    return wrong_shape(expected, given, reason);
  }
  if (*value < 0) *value = size;
  if (*value == size) return LEPTON_OK;
  snprintf(reason, sizeof reason, "dimension %" PRId32 " (%s) is %" PRId64 ", but input \"%s\" has %s = %" PRId64, d, name,
           size, symbol_source(session->model, dim.symbol), name, *value);
  return wrong_shape(expected, given, reason);
}

static lepton_status check_input(lepton_session *session, int32_t index, const lepton_tensor *given) {
  const lepton_tensor_description *expected = &session->model->inputs[index];
  if (given->dtype != expected->dtype) {
    return lepton_fail(LEPTON_ERROR_DTYPE, "input \"%s\" must have dtype %s, given %s (%" PRId32 ")", expected->name,
                       lepton_dtype_text(expected->dtype), lepton_dtype_text(given->dtype), given->dtype);
  }
  if (given->rank != expected->ndim) {
    char expected_text[SHAPE_TEXT_BYTES];
    lepton_format_dims(expected_text, sizeof expected_text, expected->dim_text, expected->ndim);
    return lepton_fail(LEPTON_ERROR_SHAPE, "input \"%s\" must have rank %" PRId32 " (shape %s), given rank %" PRId32,
                       expected->name, expected->ndim, expected_text, given->rank);
  }
  for (int32_t d = 0; d < given->rank; d++) {
    lepton_status status = bind_dimension(session, expected, given, d);
    if (status != LEPTON_OK) return status;
  }
  if (lepton_dense_bytes(given->dtype, given->shape, given->rank) == INT64_MAX) {
    return lepton_fail(LEPTON_ERROR_SIZE, "input \"%s\" would have more than 2^63 bytes", expected->name);
  }
  return LEPTON_OK;
}

static lepton_status resolve_output(lepton_session *session, int32_t index, const int64_t *dims) {
  const lepton_tensor_description *expected = &session->model->outputs[index];
  lepton_tensor *result = &session->results[index];
  result->dtype = expected->dtype;
  result->rank = expected->ndim;
  for (int32_t d = 0; d < expected->ndim; d++) {
    if (dims[d] < (expected->dims[d].size < 0)) {
      return lepton_fail(LEPTON_ERROR_SHAPE,
                         "output \"%s\" would have size %" PRId64 " in dimension %" PRId32
                         " (%s): the inputs are too small for this model",
                         expected->name, dims[d], d, expected->dim_text[d]);
    }
    result->shape[d] = dims[d];
  }
  int64_t bytes = lepton_dense_bytes(result->dtype, result->shape, result->rank);
  if (bytes == INT64_MAX) {
    return lepton_fail(LEPTON_ERROR_SIZE, "output \"%s\" would have more than 2^63 bytes", expected->name);
  }
  result->bytes = (uint64_t)bytes;
  return LEPTON_OK;
}

static lepton_status check_counts(const lepton_model *model, const lepton_tensor *inputs, int32_t input_count,
                                  const lepton_tensor *outputs, int32_t output_count) {
  if (input_count != model->input_count || output_count != model->output_count) {
    return lepton_fail(LEPTON_ERROR_ARGUMENT,
                       "the model has %" PRId32 " inputs and %" PRId32 " outputs, given %" PRId32 " and %" PRId32,
                       model->input_count, model->output_count, input_count, output_count);
  }
  if ((inputs == NULL && input_count > 0) || (outputs == NULL && output_count > 0)) {
    return lepton_fail(LEPTON_ERROR_ARGUMENT, "%s is NULL", inputs == NULL && input_count > 0 ? "inputs" : "outputs");
  }
  return LEPTON_OK;
}

lepton_status lepton_resolve(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                             const lepton_tensor *outputs, int32_t output_count) {
  const lepton_model *model = session->model;
  lepton_status status = check_counts(model, inputs, input_count, outputs, output_count);
  for (int32_t i = 0; i < model->symbol_count; i++) session->symbols[i] = -1;
  for (int32_t i = 0; status == LEPTON_OK && i < model->input_count; i++) status = check_input(session, i, &inputs[i]);
  if (status != LEPTON_OK) return status;
  model->output_shapes(session->symbols, session->output_dims);
  const int64_t *dims = session->output_dims;
  for (int32_t i = 0; status == LEPTON_OK && i < model->output_count; i++) {
    status = resolve_output(session, i, dims);
    dims += model->outputs[i].ndim;
  }
  return status;
}
