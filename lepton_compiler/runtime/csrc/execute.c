/* Threads of a session, and one run of its kernels on them with what they report. */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "session.h"

void lepton_session_raise(lepton_session *session, lepton_status status, const char *text) {
  lepton_failure *failure = &session->failure;
  if (atomic_exchange(&failure->raised, true)) return;
  failure->status = status;
  snprintf(failure->text, sizeof failure->text, "%s", text);
}

static uint64_t elapsed_nanoseconds(const struct timespec *start) {
  struct timespec end;
  clock_gettime(CLOCK_MONOTONIC, &end);
  return (uint64_t)((int64_t)(end.tv_sec - start->tv_sec) * 1000000000 + (end.tv_nsec - start->tv_nsec));
}

static int32_t call_timed(lepton_session *session, int32_t index, lepton_kernel_function kernel, TVMFFIAny *args,
                          int32_t num_args, TVMFFIAny *result) {
  struct timespec start;
  clock_gettime(CLOCK_MONOTONIC, &start);
  int32_t code = kernel(NULL, args, num_args, result);
  session->hook(session->hook_user, index, elapsed_nanoseconds(&start));
  return code;
}

int32_t lepton_call_kernel(lepton_session *session, int32_t index, lepton_kernel_function kernel, TVMFFIAny *args,
                           int32_t num_args) {
  TVMFFIAny result;
  memset(&result, 0, sizeof result);
  int32_t code = session->hook == NULL ? kernel(NULL, args, num_args, &result)
                                       : call_timed(session, index, kernel, args, num_args, &result);
  if (code != 0) session->failed_kernel = index;
  return code;
}

int32_t lepton_check_size(lepton_session *session, const char *node, const char *what, const char *needed, int64_t size,
                          int64_t expected) {
  if (size == expected) return 0;
  char text[512];
  snprintf(text, sizeof text,
           "%.100s at node %.120s is %" PRId64 " where the model needs %.100s%" PRId64
           ": it does not work with these input sizes",
           what, node, size, needed, expected);
  lepton_session_raise(session, LEPTON_ERROR_SHAPE, text);
  return -1;
}

void lepton_release_threads(lepton_session *session) {
  lepton_pool_destroy(session->pool);
  session->pool = NULL;
  for (int32_t i = 0; i < session->prepared_threads; i++) lepton_workspace_release(&session->thread_data[i].workspace);
  free(session->thread_data);
  session->thread_data = NULL;
  session->prepared_threads = 0;
}

static lepton_status allocate_thread_data(lepton_session *session, int32_t threads) {
  size_t bytes = (size_t)threads * sizeof *session->thread_data;
  session->thread_data = lepton_aligned_allocate(bytes);
  if (session->thread_data == NULL) {
    return lepton_fail(LEPTON_ERROR_MEMORY, "out of memory while starting %" PRId32 " threads", threads);
  }
  memset(session->thread_data, 0, bytes);
  session->prepared_threads = threads;
  for (int32_t i = 0; i < threads; i++) {
    lepton_thread *thread = &session->thread_data[i];
    thread->session = session;
    lepton_status status = lepton_buffer_reserve(&thread->workspace.stack, session->model->thread_workspace_bytes,
                                                 "a thread's workspace");
    if (status != LEPTON_OK) return status;
  }
  return LEPTON_OK;
}

lepton_status lepton_prepare_threads(lepton_session *session) {
  int32_t threads = atomic_load(&session->threads);
  if (session->prepared_threads == threads) return LEPTON_OK;
  lepton_release_threads(session);
  lepton_status status = allocate_thread_data(session, threads);
  if (status == LEPTON_OK && threads > 1) status = lepton_pool_create(threads, session->thread_data, &session->pool);
  if (status != LEPTON_OK) lepton_release_threads(session);
  return status;
}

static lepton_status report_failure(lepton_session *session, int32_t code) {
  for (int32_t i = 0; i < session->prepared_threads; i++) lepton_workspace_reset(&session->thread_data[i].workspace);
  const lepton_failure *failure = &session->failure;
  bool raised = atomic_load(&failure->raised);
  const char *text = raised ? failure->text : "it gave no reason";
  lepton_status status = raised ? failure->status : LEPTON_ERROR_KERNEL;
  if (session->failed_kernel < 0) return lepton_fail(status, "the model failed with code %" PRId32 ": %s", code, text);
  const lepton_kernel_description *kernel = &session->model->kernels[session->failed_kernel];
  return lepton_fail(status, "kernel %s (node %.300s) failed with code %" PRId32 ": %s", kernel->name, kernel->nodes,
                     code, text);
}

lepton_status lepton_execute(lepton_session *session) {
  lepton_frame frame = {
      .symbols = session->symbols,
      .inputs = session->input_data,
      .outputs = session->output_data,
      .arena = session->arena.data,
      .weights = session->weights.data,
  };
  atomic_store(&session->failure.raised, false);
  session->failed_kernel = -1;
  /* A kernel hook may run a session of another model, so what was current is put back. */
  lepton_thread *outer = lepton_current_thread;
  lepton_current_thread = &session->thread_data[0];
  if (session->pool != NULL) lepton_pool_begin_run(session->pool);
  int32_t code = session->model->run(session, &frame);
  if (session->pool != NULL) lepton_pool_end_run(session->pool);
  lepton_current_thread = outer;
  return code == 0 ? LEPTON_OK : report_failure(session, code);
}
