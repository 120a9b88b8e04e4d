/* The threads of one session. They sleep between runs and wait briefly for the next kernel during one, where nobody else
 * wants the processors. */
#ifndef LEPTON_THREAD_POOL_H
#define LEPTON_THREAD_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "lepton.h"
#include "workspace.h"

/* What kernels know of the thread that they run on. */
typedef struct {
  _Alignas(LEPTON_ALIGNMENT) lepton_session *session;
  lepton_workspace workspace;
  bool in_task; /* inside of a parallel loop: a loop within it runs serially */
} lepton_thread;

/* The thread's entry while it works for a session, NULL otherwise. */
extern _Thread_local lepton_thread *lepton_current_thread;

/* TVMParallelGroupEnv: what a task learns of its loop. */
typedef struct {
  void *sync_handle; /* the pool, or NULL where the tasks run one after the other */
  int32_t num_task;
} lepton_task_group;

typedef int (*lepton_task)(int task, lepton_task_group *group, void *data);

typedef struct lepton_pool lepton_pool;

/* Number of processors that the process may run on, at least 1. */
int32_t lepton_available_processors(void);

/* Starts threads - 1 workers; worker i works as `threads_data[i]`, the caller of launches as the first. */
lepton_status lepton_pool_create(int32_t threads, lepton_thread *threads_data, lepton_pool **out);

/* Ends and joins the workers. NULL is allowed. */
void lepton_pool_destroy(lepton_pool *pool);

/* Between these two calls workers may wait actively for a while after each loop. */
void lepton_pool_begin_run(lepton_pool *pool);
void lepton_pool_end_run(lepton_pool *pool);

/* Runs tasks 0 to num_task - 1 (one a thread where it is 0) and waits for all: task i on thread i modulo their number,
 * or on the caller where that thread has not begun when the caller is done with its own. 0, or -1 where one failed. Only
 * the session's calling thread may launch, outside of tasks. */
int lepton_pool_launch(lepton_pool *pool, lepton_task task, void *data, int32_t num_task);

/* Waits in a task until all tasks of the loop have come here. -1 where one of them failed or they can't all be here. */
int lepton_pool_barrier(lepton_pool *pool);

#endif
