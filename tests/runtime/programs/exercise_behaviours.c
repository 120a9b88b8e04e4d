/* Everything that kernels do with the runtime, right and wrong, from several sessions and threads at once. Linked with
 * models/behaviours.c. */
#include <pthread.h>

#include "check.h"

enum { CALLERS = 3, ROUNDS = 8, BEHAVIOURS = 14 };

static const struct {
  lepton_status status;
  const char *piece;
} expected[BEHAVIOURS] = {
    [4] = {LEPTON_ERROR_KERNEL, "the first task gave up"},
    [6] = {LEPTON_ERROR_MEMORY, "out of memory: a kernel's workspace"},
    [7] = {LEPTON_ERROR_KERNEL, "does not own"},
    [8] = {LEPTON_ERROR_KERNEL, "left two blocks behind"},
    [9] = {LEPTON_ERROR_KERNEL, "ValueError: expected 4 rows, given 5"},
    [10] = {LEPTON_ERROR_KERNEL, "code 7: it gave no reason"},
    [11] = {LEPTON_ERROR_KERNEL, "the last task gave up"},
    [12] = {LEPTON_ERROR_KERNEL, "more tasks than threads"},
};

static void behave(lepton_session *session, int32_t behaviour) {
  lepton_tensor input = {&behaviour, LEPTON_INT32, 1, {1}, sizeof behaviour};
  int64_t seen[8]; /* not the session's buffer, which another thread's run would write to */
  lepton_tensor output = {.data = seen, .bytes = sizeof seen};
  lepton_status status = lepton_run(session, &input, 1, &output, 1);
  CHECK(status == expected[behaviour].status);
  /* Barriers and workspaces count what is wrong in the second number. */
  if (behaviour == 3 || behaviour == 5) CHECK(seen[1] == 0);
  if (status != LEPTON_OK) CHECK(strstr(lepton_last_error(), expected[behaviour].piece) != NULL);
}

static void *use_own_and_shared(void *shared) {
  lepton_session *own;
  CHECK(lepton_open(LEPTON_API_VERSION, &own) == LEPTON_OK);
  for (int32_t round = 0; round < ROUNDS; round++) {
    CHECK(lepton_set_threads(own, round % 4 + 1) == LEPTON_OK);
    for (int32_t behaviour = 0; behaviour < BEHAVIOURS; behaviour++) {
      behave(own, behaviour);
      behave(shared, behaviour);
    }
    CHECK(lepton_set_threads(shared, round % 3 + 1) == LEPTON_OK);
  }
  lepton_close(own);
  return NULL;
}

static void call_own_session(void *session, int32_t index, uint64_t nanoseconds) {
  (void)index, (void)nanoseconds;
  CHECK_ERROR(lepton_set_threads(session, 1), LEPTON_ERROR_BUSY, "kernel hook");
}

static void *run_in_hook_thread(void *other) {
  behave(other, 0);
  return NULL;
}

static void call_other_session(void *other, int32_t index, uint64_t nanoseconds) {
  (void)index, (void)nanoseconds;
  behave(other, 5);
  pthread_t thread;
  CHECK(pthread_create(&thread, NULL, run_in_hook_thread, other) == 0);
  CHECK(pthread_join(thread, NULL) == 0);
}

static void hooks(lepton_session *session) {
  lepton_session *other;
  CHECK(lepton_open(LEPTON_API_VERSION, &other) == LEPTON_OK);
  CHECK(lepton_set_kernel_hook(session, call_own_session, session) == LEPTON_OK);
  behave(session, 5);
  CHECK(lepton_set_kernel_hook(session, call_other_session, other) == LEPTON_OK);
  behave(session, 5);
  CHECK(lepton_set_kernel_hook(session, NULL, NULL) == LEPTON_OK);
  behave(session, 5);
  lepton_close(other);
}

int main(void) {
  lepton_session *shared;
  CHECK(lepton_open(LEPTON_API_VERSION, &shared) == LEPTON_OK);
  pthread_t callers[CALLERS];
  for (int i = 0; i < CALLERS; i++) CHECK(pthread_create(&callers[i], NULL, use_own_and_shared, shared) == 0);
  for (int i = 0; i < CALLERS; i++) CHECK(pthread_join(callers[i], NULL) == 0);
  hooks(shared);
  lepton_close(shared);
  lepton_close(NULL);
  puts("done");
  return 0;
}
