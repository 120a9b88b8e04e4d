/* Where a run reads and writes: in the program's memory where it is aligned, in the session's buffers elsewhere. */
#include <inttypes.h>
#include <string.h>

#include "dtype.h"
#include "session.h"

static bool is_aligned(const void *data) { return (uintptr_t)data % LEPTON_ALIGNMENT == 0; }

static bool overlap(const void *a, uint64_t a_bytes, const void *b, uint64_t b_bytes) {
  uintptr_t first = (uintptr_t)a, second = (uintptr_t)b;
  if (a_bytes == 0 || b_bytes == 0) return false;
  return first < second ? second - first < a_bytes : first - second < b_bytes;
}

/* The output whose buffer of the session overlaps `data`, -1 for none: a run would overwrite it. */
static int32_t find_output_buffer(const lepton_session *session, const void *data, uint64_t bytes) {
  for (int32_t i = 0; i < session->model->output_count; i++) {
    const lepton_output_buffer *buffer = &session->output_buffers[i];
    for (int32_t b = 0; b < buffer->count; b++) {
      if (overlap(data, bytes, buffer->blocks[b].data, buffer->blocks[b].bytes)) return i;
    }
  }
  return -1;
}

static lepton_status bind_input(lepton_session *session, int32_t index, const lepton_tensor *given) {
  const char *name = session->model->inputs[index].name;
  uint64_t needed = (uint64_t)lepton_dense_bytes(given->dtype, given->shape, given->rank);
  if (given->bytes != needed) {
    return lepton_fail(LEPTON_ERROR_SIZE, "input \"%s\" must have %" PRIu64 " bytes, given %" PRIu64, name, needed,
                       given->bytes);
  }
  if (given->data == NULL && needed > 0) {
    return lepton_fail(LEPTON_ERROR_ARGUMENT, "the data of input \"%s\" is NULL", name);
  }
  session->input_data[index] = given->data;
  bool is_fed_back = find_output_buffer(session, given->data, needed) >= 0;
  if (given->data != NULL && is_aligned(given->data) && !is_fed_back) return LEPTON_OK;
  lepton_buffer *copy = &session->input_copies[index];
  lepton_status status = lepton_buffer_reserve(copy, needed, "the aligned copy of an input");
  if (status != LEPTON_OK) return status;
  if (needed > 0) memcpy(copy->data, given->data, (size_t)needed);
  session->input_data[index] = copy->data;
  return LEPTON_OK;
}

static bool overlaps_an_input(const lepton_session *session, const lepton_tensor *inputs, const void *data,
                              uint64_t bytes) {
  for (int32_t i = 0; i < session->model->input_count; i++) {
    if (overlap(data, bytes, session->input_data[i], inputs[i].bytes)) return true;
  }
  return false;
}

/* Writes results[index].data: where the program wants the output, NULL where the session keeps it. */
static lepton_status check_destination(lepton_session *session, int32_t index, const lepton_tensor *given) {
  lepton_tensor *result = &session->results[index];
  bool kept = given->data == NULL || lepton_output_buffer_owns(&session->output_buffers[index], given->data);
  result->data = kept ? NULL : given->data;
  if (kept) return LEPTON_OK;
  const char *name = session->model->outputs[index].name;
  if (given->bytes < result->bytes) {
    return lepton_fail(LEPTON_ERROR_SIZE, "output \"%s\" needs a buffer of %" PRIu64 " bytes, given %" PRIu64, name,
                       result->bytes, given->bytes);
  }
  int32_t owner = find_output_buffer(session, result->data, result->bytes);
  if (owner >= 0) {
    return lepton_fail(LEPTON_ERROR_ARGUMENT,
                       "the buffer given for output \"%s\" lies in the session's own buffer of output \"%s\"", name,
                       session->model->outputs[owner].name);
  }
  for (int32_t i = 0; i < index; i++) {
    const lepton_tensor *other = &session->results[i];
    if (other->data != NULL && overlap(result->data, result->bytes, other->data, other->bytes)) {
      return lepton_fail(LEPTON_ERROR_ARGUMENT, "the buffers of outputs \"%s\" and \"%s\" overlap",
                         session->model->outputs[i].name, name);
    }
  }
  return LEPTON_OK;
}

static lepton_status bind_output(lepton_session *session, int32_t index, const lepton_tensor *inputs) {
  lepton_tensor *result = &session->results[index];
  bool in_place = result->data != NULL && is_aligned(result->data) &&
                  !overlaps_an_input(session, inputs, result->data, result->bytes);
  if (in_place) {
    session->output_data[index] = result->data;
    return LEPTON_OK;
  }
  return lepton_output_buffer_reserve(&session->output_buffers[index], result->bytes, &session->output_data[index]);
}

lepton_status lepton_bind_buffers(lepton_session *session, const lepton_tensor *inputs, const lepton_tensor *outputs) {
  const lepton_model *model = session->model;
  lepton_status status = LEPTON_OK;
  for (int32_t i = 0; status == LEPTON_OK && i < model->input_count; i++) status = bind_input(session, i, &inputs[i]);
  for (int32_t i = 0; status == LEPTON_OK && i < model->output_count; i++) {
    status = check_destination(session, i, &outputs[i]);
  }
  for (int32_t i = 0; status == LEPTON_OK && i < model->output_count; i++) status = bind_output(session, i, inputs);
  return status;
}

void lepton_deliver_outputs(lepton_session *session, lepton_tensor *outputs) {
  for (int32_t i = 0; i < session->model->output_count; i++) {
    lepton_tensor *result = &session->results[i];
    if (result->data == NULL) {
      result->data = session->output_data[i];
    } else if (result->data != session->output_data[i] && result->bytes > 0) {
      memcpy(result->data, session->output_data[i], (size_t)result->bytes);
    }
    outputs[i] = *result;
  }
}
