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

/* One thread's share of a loop: tasks i, i + threads, ... of lane i. Its worker takes it, or the caller of the loop when
 * it has nothing else to do: a worker that the system runs late holds nobody up. */
typedef struct {
  _Alignas(LEPTON_ALIGNMENT) atomic_uint state; /* generation * 2, plus 1 once it is taken */
} lane;

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
  _Alignas(LEPTON_ALIGNMENT) atomic_uint unfinished_lanes; /* of the current loop; the caller sleeps on it */
  atomic_bool caller_sleeps;
  _Alignas(LEPTON_ALIGNMENT) atomic_uint barrier_round; /* tasks sleep on it */
  atomic_int barrier_arrived;
  atomic_bool failed;
  /* The current loop: written while no lane is free, read by who has taken one. */
  _Alignas(LEPTON_ALIGNMENT) lepton_task task;
  void *data;
  lepton_task_group group;
  /* Set once. */
  int32_t threads;
  int64_t spin_nanoseconds;
  lepton_thread *threads_data;
  lane *lanes;
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

/* Waits actively while *word == value, for a bounded time, and only while the run lasts. True where it changed. The
 * processor goes to any other thread that wants it, such as the one waited for, or another model's. */
static bool spin_while_equal(lepton_pool *pool, atomic_uint *word, uint32_t value) {
  int64_t deadline = 0, limit = pool->spin_nanoseconds;
  while (limit > 0 && atomic_load(&pool->run_active)) {
    for (int i = 0; i < PAUSES_BETWEEN_CLOCK_READS; i++) {
      if (atomic_load_explicit(word, memory_order_acquire) != value) return true;
      lepton_pause();
    }
    sched_yield();
    int64_t now = now_nanoseconds();
    if (deadline == 0) {
      deadline = now + limit;
    } else if (now > deadline) {
      break;
    }
  }
  return atomic_load(word) != value;
}

/* A sleeper counts itself before it looks at the word again, and who changes the word looks at the count afterwards:
 * with sequentially consistent operations one of the two sees the other. */
static uint32_t wait_for_generation(lepton_pool *pool, uint32_t seen) {
  if (!spin_while_equal(pool, &pool->generation, seen)) {
    atomic_fetch_add(&pool->sleeping_workers, 1);
    while (atomic_load(&pool->generation) == seen) lepton_futex_wait(&pool->generation, seen);
    atomic_fetch_sub(&pool->sleeping_workers, 1);
  }
  return atomic_load(&pool->generation);
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

static void run_lane(lepton_pool *pool, int32_t index) {
  for (int64_t task = index; task < pool->group.num_task; task += pool->threads) {
    if (pool->task((int)task, &pool->group, pool->data) != 0) fail_loop(pool);
  }
}

/* True for the one thread that may run the lane. A worker that comes late finds its lane taken, or offered again by a
 * later loop, and never looks at a loop that is over. */
static bool take_lane(lepton_pool *pool, int32_t index, uint32_t generation) {
  uint32_t offered = generation * 2;
  return atomic_compare_exchange_strong(&pool->lanes[index].state, &offered, offered + 1);
}

static void *worker_main(void *argument) {
  worker *self = argument;
  lepton_pool *pool = self->pool;
  lepton_current_thread = self->thread;
  self->thread->in_task = true;
  uint32_t generation = 0;
  for (;;) {
    generation = wait_for_generation(pool, generation);
    if (atomic_load(&pool->stopping)) return NULL;
    if (!take_lane(pool, self->index, generation)) continue;
    run_lane(pool, self->index);
    if (atomic_fetch_sub(&pool->unfinished_lanes, 1) == 1 && atomic_load(&pool->caller_sleeps)) {
      lepton_futex_wake_all(&pool->unfinished_lanes);
    }
  }
}

/* Safe with barriers: the caller's own lane ends only after all tasks have come to the last barrier. */
static void run_lanes_left_over(lepton_pool *pool, int32_t lane_count, uint32_t generation) {
  for (int32_t i = 1; i < lane_count && atomic_load(&pool->unfinished_lanes) > 0; i++) {
    if (atomic_load(&pool->lanes[i].state) != generation * 2 || !take_lane(pool, i, generation)) continue;
    run_lane(pool, i);
    atomic_fetch_sub(&pool->unfinished_lanes, 1);
  }
}

static void wait_for_lanes(lepton_pool *pool) {
  for (;;) {
    uint32_t unfinished = atomic_load(&pool->unfinished_lanes);
    if (unfinished == 0) return;
    if (spin_while_equal(pool, &pool->unfinished_lanes, unfinished)) continue;
    atomic_store(&pool->caller_sleeps, true);
    while ((unfinished = atomic_load(&pool->unfinished_lanes)) != 0) {
      lepton_futex_wait(&pool->unfinished_lanes, unfinished);
    }
    atomic_store(&pool->caller_sleeps, false);
  }
}

int lepton_pool_launch(lepton_pool *pool, lepton_task task, void *data, int32_t num_task) {
  int32_t tasks = num_task > 0 ? num_task : pool->threads;
  int32_t lane_count = tasks < pool->threads ? tasks : pool->threads;
  uint32_t generation = atomic_load(&pool->generation) + 1;
  pool->task = task;
  pool->data = data;
  pool->group = (lepton_task_group){pool, tasks};
  atomic_store(&pool->failed, false);
  atomic_store(&pool->barrier_arrived, 0);
  atomic_store(&pool->unfinished_lanes, (uint32_t)lane_count - 1);
  for (int32_t i = 1; i < lane_count; i++) {
    atomic_store_explicit(&pool->lanes[i].state, generation * 2, memory_order_release);
  }
  next_generation(pool);
  pool->threads_data[0].in_task = true;
  run_lane(pool, 0);
  run_lanes_left_over(pool, lane_count, generation);
  pool->threads_data[0].in_task = false;
  wait_for_lanes(pool);
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

/* Zeroed memory for an array of lanes or a pool, which lie on cache lines of their own. */
static void *allocate_zeroed(size_t bytes) {
  void *data = lepton_aligned_allocate(bytes);
  return data == NULL ? NULL : memset(data, 0, bytes);
}

lepton_status lepton_pool_create(int32_t threads, lepton_thread *threads_data, lepton_pool **out) {
  *out = NULL;
  lepton_pool *pool = allocate_zeroed(sizeof *pool);
  lane *lanes = allocate_zeroed((size_t)threads * sizeof *lanes);
  worker *workers = calloc((size_t)threads, sizeof *workers);
  if (pool == NULL || lanes == NULL || workers == NULL) {
    free(pool);
    free(lanes);
    free(workers);
    return lepton_fail(LEPTON_ERROR_MEMORY, "out of memory while starting %" PRId32 " threads", threads);
  }
  pool->threads = threads;
  pool->threads_data = threads_data;
  pool->lanes = lanes;
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
  free(pool->lanes);
  free(pool);
}
