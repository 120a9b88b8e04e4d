/* Running a model on what a program passes. */
#include "session.h"

static lepton_status prepare_arena(lepton_session *session) {
  int64_t bytes = session->model->arena_bytes(session->symbols);
  if (bytes < 0) {
    return lepton_fail(LEPTON_ERROR_SHAPE,
                       "the inputs are too small for this model: an intermediate tensor would have a negative size");
  }
  if (bytes == INT64_MAX) {
    return lepton_fail(LEPTON_ERROR_SIZE, "the intermediate tensors for these input shapes need more than 2^63 bytes");
  }
  return lepton_buffer_reserve(&session->arena, (uint64_t)bytes, "the arena of intermediate tensors");
}

static lepton_status run_locked(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                                lepton_tensor *outputs, int32_t output_count) {
  lepton_status status = lepton_resolve(session, inputs, input_count, outputs, output_count);
  if (status == LEPTON_OK) status = lepton_bind_buffers(session, inputs, outputs);
  if (status == LEPTON_OK) status = prepare_arena(session);
  if (status == LEPTON_OK) status = lepton_prepare_threads(session);
  if (status == LEPTON_OK) status = lepton_execute(session);
  if (status == LEPTON_OK) lepton_deliver_outputs(session, outputs);
  return status;
}

LEPTON_API lepton_status lepton_run(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                                    lepton_tensor *outputs, int32_t output_count) {
  lepton_status status = lepton_session_lock(session);
  if (status != LEPTON_OK) return status;
  status = run_locked(session, inputs, input_count, outputs, output_count);
  lepton_session_unlock(session);
  return status;
}

LEPTON_API lepton_status lepton_output_shapes(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                                              lepton_tensor *outputs, int32_t output_count) {
  lepton_status status = lepton_session_lock(session);
  if (status != LEPTON_OK) return status;
  status = lepton_resolve(session, inputs, input_count, outputs, output_count);
  for (int32_t i = 0; status == LEPTON_OK && i < output_count; i++) {
    void *data = outputs[i].data;
    outputs[i] = session->results[i];
    outputs[i].data = data;
  }
  lepton_session_unlock(session);
  return status;
}
