/* Opening, closing and setting up a session. */
#define _GNU_SOURCE
#include "session.h"

#include <inttypes.h>
#include <stdlib.h>

#include "cpu_features.h"
#include "dtype.h"

#define OLDEST_API_VERSION 1

lepton_status lepton_session_lock(lepton_session *session) {
  if (session == NULL) return lepton_fail(LEPTON_ERROR_ARGUMENT, "session is NULL");
  /* The lock checks for errors: it refuses, rather than blocks, a thread that holds it. */
  if (pthread_mutex_lock(&session->lock) == 0) return LEPTON_OK;
  return lepton_fail(LEPTON_ERROR_BUSY, "the session is running: a kernel hook must not call its own session");
}

void lepton_session_unlock(lepton_session *session) { pthread_mutex_unlock(&session->lock); }

static lepton_status check_tensors(const char *kind, const lepton_tensor_description *tensors, int32_t count,
                                   int32_t symbol_count) {
  for (int32_t i = 0; i < count; i++) {
    if (tensors[i].ndim < 0 || tensors[i].ndim > LEPTON_MAX_RANK || lepton_dtype_size(tensors[i].dtype) == 0) {
      return lepton_fail(LEPTON_ERROR_VERSION, "%s \"%s\" has rank %" PRId32 " and dtype %" PRId32
                         ": this runtime has ranks up to %d and does not know every dtype",
                         kind, tensors[i].name, tensors[i].ndim, tensors[i].dtype, LEPTON_MAX_RANK);
    }
    for (int32_t d = 0; d < tensors[i].ndim; d++) {
      if (tensors[i].dims[d].symbol >= symbol_count) {
        return lepton_fail(LEPTON_ERROR_VERSION, "%s \"%s\" names a symbol that the model lacks", kind, tensors[i].name);
      }
    }
  }
  return LEPTON_OK;
}

static lepton_status check_model(const lepton_model *model) {
  if (model->runtime_abi != LEPTON_RUNTIME_ABI) {
    return lepton_fail(LEPTON_ERROR_VERSION, "the model was generated for runtime %" PRIu32 " but linked with %d",
                       model->runtime_abi, LEPTON_RUNTIME_ABI);
  }
  lepton_status status = check_tensors("input", model->inputs, model->input_count, model->symbol_count);
  if (status == LEPTON_OK) status = check_tensors("output", model->outputs, model->output_count, model->symbol_count);
  if (status == LEPTON_OK) status = lepton_check_cpu_features(model->cpu_features);
  return status;
}

static bool allocate_arrays(lepton_session *session, const lepton_model *model) {
  size_t inputs = (size_t)model->input_count + 1, outputs = (size_t)model->output_count + 1;
  session->symbols = calloc((size_t)model->symbol_count + 1, sizeof *session->symbols);
  session->output_dims = calloc(outputs * LEPTON_MAX_RANK, sizeof *session->output_dims);
  session->results = calloc(outputs, sizeof *session->results);
  session->input_data = calloc(inputs, sizeof *session->input_data);
  session->output_data = calloc(outputs, sizeof *session->output_data);
  session->input_copies = calloc(inputs, sizeof *session->input_copies);
  session->output_buffers = calloc(outputs, sizeof *session->output_buffers);
  return session->symbols && session->output_dims && session->results && session->input_data && session->output_data &&
         session->input_copies && session->output_buffers;
}

static void free_arrays(lepton_session *session) {
  for (int32_t i = 0; session->input_copies && i < session->model->input_count; i++) {
    lepton_buffer_release(&session->input_copies[i]);
  }
  for (int32_t i = 0; session->output_buffers && i < session->model->output_count; i++) {
    lepton_output_buffer_release(&session->output_buffers[i]);
  }
  free(session->symbols);
  free(session->output_dims);
  free(session->results);
  free(session->input_data);
  free(session->output_data);
  free(session->input_copies);
  free(session->output_buffers);
}

static bool create_lock(pthread_mutex_t *lock) {
  pthread_mutexattr_t attributes;
  if (pthread_mutexattr_init(&attributes) != 0) return false;
  bool created = pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK) == 0 &&
                 pthread_mutex_init(lock, &attributes) == 0;
  pthread_mutexattr_destroy(&attributes);
  return created;
}

static void close_session(lepton_session *session) {
  lepton_release_threads(session);
  free_arrays(session);
  lepton_buffer_release(&session->arena);
  lepton_weights_close(&session->weights);
  pthread_mutex_destroy(&session->lock);
  free(session);
}

LEPTON_API lepton_status lepton_open(uint32_t api_version, lepton_session **out) {
  if (out == NULL) return lepton_fail(LEPTON_ERROR_ARGUMENT, "out is NULL");
  *out = NULL;
  if (api_version < OLDEST_API_VERSION || api_version > LEPTON_API_VERSION) {
    return lepton_fail(LEPTON_ERROR_VERSION,
                       "the program was built for version %" PRIu32 " of lepton.h, this library has versions %d to %d",
                       api_version, OLDEST_API_VERSION, LEPTON_API_VERSION);
  }
  const lepton_model *model = &lepton_generated_model;
  lepton_status status = check_model(model);
  if (status != LEPTON_OK) return status;
  lepton_session *session = calloc(1, sizeof *session);
  if (session == NULL || !create_lock(&session->lock)) {
    free(session);
    return lepton_fail(LEPTON_ERROR_MEMORY, "out of memory while opening a session");
  }
  session->model = model;
  atomic_store(&session->threads, lepton_available_processors());
  status = allocate_arrays(session, model) ? lepton_weights_open(model, &session->weights)
                                           : lepton_fail(LEPTON_ERROR_MEMORY, "out of memory while opening a session");
  if (status != LEPTON_OK) {
    close_session(session);
    return status;
  }
  *out = session;
  return LEPTON_OK;
}

LEPTON_API void lepton_close(lepton_session *session) {
  if (session != NULL) close_session(session);
}

LEPTON_API lepton_status lepton_set_threads(lepton_session *session, int32_t threads) {
  if (threads < 0 || threads > LEPTON_MAX_THREADS) {
    return lepton_fail(LEPTON_ERROR_ARGUMENT, "threads must be 0 to %d, given %" PRId32, LEPTON_MAX_THREADS, threads);
  }
  lepton_status status = lepton_session_lock(session);
  if (status != LEPTON_OK) return status;
  atomic_store(&session->threads, threads == 0 ? lepton_available_processors() : threads);
  lepton_session_unlock(session);
  return LEPTON_OK;
}

LEPTON_API int32_t lepton_threads(const lepton_session *session) {
  return session == NULL ? 0 : atomic_load(&session->threads);
}

LEPTON_API lepton_status lepton_set_kernel_hook(lepton_session *session, lepton_kernel_hook hook, void *user) {
  lepton_status status = lepton_session_lock(session);
  if (status != LEPTON_OK) return status;
  session->hook = hook;
  session->hook_user = user;
  lepton_session_unlock(session);
  return LEPTON_OK;
}

LEPTON_API lepton_status lepton_memory(lepton_session *session, lepton_memory_info *out) {
  if (out == NULL) return lepton_fail(LEPTON_ERROR_ARGUMENT, "out is NULL");
  lepton_status status = lepton_session_lock(session);
  if (status != LEPTON_OK) return status;
  const lepton_model *model = session->model;
  *out = (lepton_memory_info){.weights_bytes = model->weights_bytes, .arena_bytes = session->arena.bytes};
  if (model->is_static) out->arena_bytes = (uint64_t)model->arena_bytes(session->symbols);
  out->workspace_bytes = model->thread_workspace_bytes * (uint64_t)atomic_load(&session->threads);
  for (int32_t i = 0; i < model->input_count; i++) out->buffer_bytes += session->input_copies[i].bytes;
  for (int32_t i = 0; i < model->output_count; i++) {
    out->buffer_bytes += lepton_output_buffer_bytes(&session->output_buffers[i]);
  }
  lepton_session_unlock(session);
  return LEPTON_OK;
}
