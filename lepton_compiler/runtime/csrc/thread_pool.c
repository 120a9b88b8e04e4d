#define _GNU_SOURCE
#include "thread_pool.h"

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "error.h"
#include "futex.h"

/* How long a thread waits actively during a run before it sleeps: longer than most gaps between two kernels, shorter
 * than what a user would notice in the processor's load. */
#define SPIN_NANOSECONDS 100000
#define PAUSES_BETWEEN_CLOCK_READS 64

_Thread_local lepton_thread *lepton_current_thread;

typedef struct {
  lepton_pool *pool;
  lepton_thread *thread;
  int32_t index;
  pthread_t handle;
} worker;

/* Words that different threads write lie on different cache lines. */
struct lepton_pool {
  _Alignas(LEPTON_ALIGNMENT) atomic_uint generation; /* one more for every loop; workers sleep on it */
  atomic_int sleeping_workers;
  atomic_bool run_active;
  atomic_bool stopping;
  _Alignas(LEPTON_ALIGNMENT) atomic_uint busy_workers; /* of the current loop; the caller sleeps on it */
  atomic_bool caller_sleeps;
  _Alignas(LEPTON_ALIGNMENT) atomic_uint barrier_round; /* tasks sleep on it */
  atomic_int barrier_arrived;
  atomic_bool failed;
  /* The current loop: written before `generation`, read after it. */
  _Alignas(LEPTON_ALIGNMENT) lepton_task task;
  void *data;
  lepton_task_group group;
  /* Set once. */
  int32_t threads;
  int64_t spin_nanoseconds;
  lepton_thread *threads_data;
  worker *workers;
  int32_t worker_count;
};

int32_t lepton_available_processors(void) {
  for (int capacity = 1024; capacity <= 1 << 20; capacity *= 2) {
    cpu_set_t *set = CPU_ALLOC(capacity);
    if (set == NULL) return 1;
    size_t bytes = CPU_ALLOC_SIZE(capacity);
    /* Fails with EINVAL where the kernel knows more processors than the set has bits. */
    int count = sched_getaffinity(0, bytes, set) == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return count < LEPTON_MAX_THREADS ? count : LEPTON_MAX_THREADS;
  }
  return 1;
}

static int64_t now_nanoseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Waits actively while *word == value, for a bounded time, and only while the run lasts. True where it changed. */
static bool spin_while_equal(lepton_pool *pool, atomic_uint *word, uint32_t value) {
  int64_t deadline = 0;
  while (pool->spin_nanoseconds > 0 && atomic_load(&pool->run_active)) {
    for (int i = 0; i < PAUSES_BETWEEN_CLOCK_READS; i++) {
      if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
      lepton_pause();
    }
    int64_t now = now_nanoseconds();
    if (deadline == 0) {
      deadline = now + pool->spin_nanoseconds;
    } else if (now > deadline) {
      break;
    }
  }
  return atomic_load(word) != value;
}

/* A sleeper counts itself before it looks at the word again, and who changes the word looks at the count afterwards:
 * with sequentially consistent operations one of the two sees the other. */
static void wait_for_generation(lepton_pool *pool, uint32_t seen) {
  if (spin_while_equal(pool, &pool->generation, seen)) return;
  atomic_fetch_add(&pool->sleeping_workers, 1);
  while (atomic_load(&pool->generation) == seen) lepton_futex_wait(&pool->generation, seen);
  atomic_fetch_sub(&pool->sleeping_workers, 1);
}

static void next_generation(lepton_pool *pool) {
  atomic_fetch_add(&pool->generation, 1);
  if (atomic_load(&pool->sleeping_workers) > 0) lepton_futex_wake_all(&pool->generation);
}

/* Releases the tasks that wait at a barrier: they return the loop's failure. */
static void fail_loop(lepton_pool *pool) {
  atomic_store(&pool->failed, true);
  atomic_fetch_add(&pool->barrier_round, 1);
  lepton_futex_wake_all(&pool->barrier_round);
}

static void run_tasks_of(lepton_pool *pool, int32_t thread_index) {
  for (int64_t task = thread_index; task < pool->group.num_task; task += pool->threads) {
    if (pool->task((int)task, &pool->group, pool->data) != 0) fail_loop(pool);
  }
}

static void *worker_main(void *argument) {
  worker *self = argument;
  lepton_pool *pool = self->pool;
  lepton_current_thread = self->thread;
  self->thread->in_task = true;
  for (uint32_t seen = 0;; seen++) {
    wait_for_generation(pool, seen);
    if (atomic_load(&pool->stopping)) return NULL;
    run_tasks_of(pool, self->index);
    if (atomic_fetch_sub(&pool->busy_workers, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
      lepton_futex_wake_all(&pool->busy_workers);
    }
  }
}

static void wait_for_workers(lepton_pool *pool) {
  for (;;) {
    uint32_t busy = atomic_load(&pool->busy_workers);
    if (busy == 0) return;
    if (spin_while_equal(pool, &pool->busy_workers, busy)) continue;
    atomic_store(&pool->caller_sleeps, true);
    while ((busy = atomic_load(&pool->busy_workers)) != 0) lepton_futex_wait(&pool->busy_workers, busy);
    atomic_store(&pool->caller_sleeps, false);
  }
}

int lepton_pool_launch(lepton_pool *pool, lepton_task task, void *data, int32_t num_task) {
  pool->task = task;
  pool->data = data;
  pool->group = (lepton_task_group){pool, num_task > 0 ? num_task : pool->threads};
  atomic_store(&pool->failed, false);
  atomic_store(&pool->barrier_arrived, 0);
  atomic_store(&pool->busy_workers, (uint32_t)pool->worker_count);
  next_generation(pool);
  pool->threads_data[0].in_task = true;
  run_tasks_of(pool, 0);
  pool->threads_data[0].in_task = false;
  wait_for_workers(pool);
  return atomic_load(&pool->failed) ? -1 : 0;
}

int lepton_pool_barrier(lepton_pool *pool) {
  if (pool->group.num_task > pool->threads) return -1;
  uint32_t round = atomic_load(&pool->barrier_round);
  if (atomic_load(&pool->failed)) return -1;
  if (atomic_fetch_add(&pool->barrier_arrived, 1) + 1 == pool->group.num_task) {
    atomic_store(&pool->barrier_arrived, 0);
    atomic_fetch_add(&pool->barrier_round, 1);
    lepton_futex_wake_all(&pool->barrier_round);
  } else if (!spin_while_equal(pool, &pool->barrier_round, round)) {
    while (atomic_load(&pool->barrier_round) == round) lepton_futex_wait(&pool->barrier_round, round);
  }
  return atomic_load(&pool->failed) ? -1 : 0;
}

void lepton_pool_begin_run(lepton_pool *pool) { atomic_store(&pool->run_active, true); }

void lepton_pool_end_run(lepton_pool *pool) { atomic_store(&pool->run_active, false); }

static lepton_status start_workers(lepton_pool *pool) {
  /* The program's signals are its own threads' business. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  int error = 0;
  for (int32_t i = 0; i < pool->threads - 1 && error == 0; i++) {
    worker *next = &pool->workers[i];
    next->pool = pool;
    next->index = i + 1;
    next->thread = &pool->threads_data[i + 1];
    error = pthread_create(&next->handle, NULL, worker_main, next);
    if (error == 0) pool->worker_count++;
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  if (error == 0) return LEPTON_OK;
  return lepton_fail(LEPTON_ERROR_THREADS, "the system refused thread %" PRId32 " of %" PRId32 ": %s",
                     pool->worker_count + 2, pool->threads, strerror(error));
}

lepton_status lepton_pool_create(int32_t threads, lepton_thread *threads_data, lepton_pool **out) {
  *out = NULL;
  lepton_pool *pool = lepton_aligned_allocate(sizeof *pool);
  worker *workers = calloc((size_t)threads, sizeof *workers);
  if (pool == NULL || workers == NULL) {
    free(pool);
    free(workers);
    return lepton_fail(LEPTON_ERROR_MEMORY, "out of memory while starting %" PRId32 " threads", threads);
  }
  memset(pool, 0, sizeof *pool);
  pool->threads = threads;
  pool->threads_data = threads_data;
  pool->workers = workers;
  /* With more threads than processors, one that waits actively keeps another from its work. */
  pool->spin_nanoseconds = threads <= lepton_available_processors() ? SPIN_NANOSECONDS : 0;
  lepton_status status = start_workers(pool);
  if (status != LEPTON_OK) {
    lepton_pool_destroy(pool);
    return status;
  }
  *out = pool;
  return LEPTON_OK;
}

void lepton_pool_destroy(lepton_pool *pool) {
  if (pool == NULL) return;
  atomic_store(&pool->stopping, true);
  next_generation(pool);
  for (int32_t i = 0; i < pool->worker_count; i++) pthread_join(pool->workers[i].handle, NULL);
  free(pool->workers);
  free(pool);
}
