/* What a model says of itself. */
#include <inttypes.h>
#include <string.h>

#include "session.h"

/* Stands in a section of its own, so that the compiler can write the digest into the finished file. */
__attribute__((section(".lepton_digest"), used, aligned(32))) static const uint8_t digest[32] = {0};

LEPTON_API const uint8_t *lepton_digest(void) { return digest; }

LEPTON_API lepton_status lepton_manifest(const uint8_t **data, uint64_t *bytes) {
  if (data == NULL || bytes == NULL) {
    return lepton_fail(LEPTON_ERROR_ARGUMENT, "%s is NULL", data == NULL ? "data" : "bytes");
  }
  *data = lepton_generated_model.manifest;
  *bytes = lepton_generated_model.manifest_bytes;
  return LEPTON_OK;
}

LEPTON_API int32_t lepton_input_count(const lepton_session *session) {
  return session == NULL ? 0 : session->model->input_count;
}

LEPTON_API int32_t lepton_output_count(const lepton_session *session) {
  return session == NULL ? 0 : session->model->output_count;
}

LEPTON_API int32_t lepton_symbol_count(const lepton_session *session) {
  return session == NULL ? 0 : session->model->symbol_count;
}

LEPTON_API int32_t lepton_kernel_count(const lepton_session *session) {
  return session == NULL ? 0 : session->model->kernel_count;
}

static lepton_status check_request(const lepton_session *session, const void *out) {
  if (session != NULL && out != NULL) return LEPTON_OK;
  return lepton_fail(LEPTON_ERROR_ARGUMENT, "%s is NULL", session == NULL ? "session" : "out");
}

static lepton_status check_index(const char *kind, int32_t index, int32_t count) {
  if (index >= 0 && index < count) return LEPTON_OK;
  return lepton_fail(LEPTON_ERROR_ARGUMENT, "there is no %s %" PRId32 ": the model has %" PRId32, kind, index, count);
}

static void describe_tensor(const lepton_tensor_description *tensor, lepton_tensor_info *out) {
  memset(out, 0, sizeof *out);
  out->name = tensor->name;
  out->dtype = tensor->dtype;
  out->rank = tensor->ndim;
  for (int32_t d = 0; d < tensor->ndim; d++) {
    out->dims[d] = tensor->dims[d].size;
    out->dim_text[d] = tensor->dim_text[d];
  }
}

LEPTON_API lepton_status lepton_input(const lepton_session *session, int32_t index, lepton_tensor_info *out) {
  lepton_status status = check_request(session, out);
  if (status == LEPTON_OK) status = check_index("input", index, session->model->input_count);
  if (status == LEPTON_OK) describe_tensor(&session->model->inputs[index], out);
  return status;
}

LEPTON_API lepton_status lepton_output(const lepton_session *session, int32_t index, lepton_tensor_info *out) {
  lepton_status status = check_request(session, out);
  if (status == LEPTON_OK) status = check_index("output", index, session->model->output_count);
  if (status == LEPTON_OK) describe_tensor(&session->model->outputs[index], out);
  return status;
}

LEPTON_API lepton_status lepton_kernel(const lepton_session *session, int32_t index, lepton_kernel_info *out) {
  lepton_status status = check_request(session, out);
  if (status == LEPTON_OK) status = check_index("kernel", index, session->model->kernel_count);
  if (status != LEPTON_OK) return status;
  const lepton_kernel_description *kernel = &session->model->kernels[index];
  *out = (lepton_kernel_info){kernel->name, kernel->nodes};
  return LEPTON_OK;
}

LEPTON_API const char *lepton_symbol(const lepton_session *session, int32_t index) {
  lepton_status status = check_request(session, session);
  if (status == LEPTON_OK) status = check_index("symbol", index, session->model->symbol_count);
  return status == LEPTON_OK ? session->model->symbols[index] : NULL;
}
