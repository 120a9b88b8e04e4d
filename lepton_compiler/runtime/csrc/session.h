/* What a session consists of. */
#ifndef LEPTON_SESSION_H
#define LEPTON_SESSION_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "buffer.h"
#include "error.h"
#include "model.h"
#include "output_buffer.h"
#include "thread_pool.h"
#include "weights.h"

/* The first failure of a run; several threads may report one. */
typedef struct {
  atomic_bool raised;
  lepton_status status;
  char text[LEPTON_ERROR_TEXT_BYTES / 2];
} lepton_failure;

struct lepton_session {
  const lepton_model *model;
  pthread_mutex_t lock; /* held by every call that changes the session */
  lepton_weights weights;

  atomic_int threads;        /* wanted */
  int32_t prepared_threads;  /* entries of thread_data: those that the last run had */
  lepton_thread *thread_data;
  lepton_pool *pool; /* NULL with one thread */

  lepton_kernel_hook hook;
  void *hook_user;

  /* Of the current run. The arrays are allocated once. */
  int64_t *symbols;         /* values, -1 while unknown */
  int64_t *output_dims;     /* of all outputs, one after the other */
  lepton_tensor *results;   /* what the outputs will be; their data is what kernels write to */
  void **input_data;        /* what kernels read */
  void **output_data;       /* what kernels write */
  lepton_buffer *input_copies;
  lepton_output_buffer *output_buffers;
  lepton_buffer arena;
  lepton_failure failure;
  int32_t failed_kernel; /* -1 where none failed */
};

/* Takes the lock; LEPTON_ERROR_BUSY where this thread has it already. */
lepton_status lepton_session_lock(lepton_session *session);
void lepton_session_unlock(lepton_session *session);

/* Records why the run fails; only the first call of a run counts. Any thread. */
void lepton_session_raise(lepton_session *session, lepton_status status, const char *text);

/* execute.c: starts the threads that are wanted, with their workspaces, where they do not run yet. */
lepton_status lepton_prepare_threads(lepton_session *session);

/* execute.c: calls the model's kernels once. */
lepton_status lepton_execute(lepton_session *session);

/* execute.c: ends the threads and frees their memory. */
void lepton_release_threads(lepton_session *session);

/* arguments.c: checks the inputs against the model and writes symbols and results (without data). */
lepton_status lepton_resolve(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                             const lepton_tensor *outputs, int32_t output_count);

/* bindings.c: where kernels read and write; copies what is not aligned. */
lepton_status lepton_bind_buffers(lepton_session *session, const lepton_tensor *inputs, const lepton_tensor *outputs);

/* bindings.c: hands the results over to the caller's tensors. */
void lepton_deliver_outputs(lepton_session *session, lepton_tensor *outputs);

#endif
