/* Runs a compiled model and prints how often it asked for memory after its second run.
 *
 * count_allocations LIBRARY THREADS RUNS SIZE_OF_SYMBOLS
 *
 * This program's malloc and mmap stand in front of the C library's, also for the library that it opens. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lepton.h"

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);

static atomic_long count;

void *malloc(size_t bytes) {
  atomic_fetch_add(&count, 1);
  return __libc_malloc(bytes);
}
void *calloc(size_t items, size_t bytes) {
  atomic_fetch_add(&count, 1);
  return __libc_calloc(items, bytes);
}
void *realloc(void *data, size_t bytes) {
  atomic_fetch_add(&count, 1);
  return __libc_realloc(data, bytes);
}
void *aligned_alloc(size_t alignment, size_t bytes) {
  atomic_fetch_add(&count, 1);
  return __libc_memalign(alignment, bytes);
}
int posix_memalign(void **out, size_t alignment, size_t bytes) {
  atomic_fetch_add(&count, 1);
  *out = __libc_memalign(alignment, bytes);
  return *out == NULL;
}
void *mmap(void *address, size_t bytes, int protection, int flags, int file, off_t offset) {
  atomic_fetch_add(&count, 1);
  return (void *)syscall(SYS_mmap, address, bytes, protection, flags, file, offset);
}

static void *library;

static void *function(const char *name) {
  void *found = dlsym(library, name);
  if (found == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
  return found;
}

static void check(lepton_status status) {
  if (status == LEPTON_OK) return;
  fprintf(stderr, "%s\n", ((const char *(*)(void))function("lepton_last_error"))());
  exit(1);
}

static uint64_t elements(const lepton_tensor *tensor) {
  uint64_t product = 1;
  for (int32_t i = 0; i < tensor->rank; i++) product *= (uint64_t)tensor->shape[i];
  return product;
}

int main(int argc, char **argv) {
  if (argc != 5) return 2;
  library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  lepton_status (*open)(uint32_t, lepton_session **) = function("lepton_open");
  lepton_status (*set_threads)(lepton_session *, int32_t) = function("lepton_set_threads");
  lepton_status (*input)(const lepton_session *, int32_t, lepton_tensor_info *) = function("lepton_input");
  int32_t (*input_count)(const lepton_session *) = function("lepton_input_count");
  int32_t (*output_count)(const lepton_session *) = function("lepton_output_count");
  uint32_t (*dtype_bytes)(int32_t) = function("lepton_dtype_bytes");
  lepton_status (*run)(lepton_session *, const lepton_tensor *, int32_t, lepton_tensor *, int32_t) =
      function("lepton_run");
  lepton_session *session;
  check(open(LEPTON_API_VERSION, &session));
  check(set_threads(session, atoi(argv[2])));
  int32_t inputs = input_count(session), outputs = output_count(session);
  lepton_tensor given[16], results[16];
  memset(given, 0, sizeof given);
  memset(results, 0, sizeof results);
  if (inputs > 16 || outputs > 16) return 2;
  for (int32_t i = 0; i < inputs; i++) {
    lepton_tensor_info info;
    check(input(session, i, &info));
    given[i].dtype = info.dtype;
    given[i].rank = info.rank;
    for (int32_t d = 0; d < info.rank; d++) given[i].shape[d] = info.dims[d] < 0 ? atoi(argv[4]) : info.dims[d];
    given[i].bytes = elements(&given[i]) * dtype_bytes(info.dtype);
    given[i].data = calloc(1, given[i].bytes + 64);
  }
  for (int i = 0; i < 2; i++) check(run(session, given, inputs, results, outputs));
  /* A thread that a busy system starts late gets the memory of its thread-local variables only then. */
  usleep(200000);
  check(run(session, given, inputs, results, outputs));
  long before = atomic_load(&count);
  for (int i = 0; i < atoi(argv[3]); i++) check(run(session, given, inputs, results, outputs));
  printf("%ld allocations before, %ld in steady state\n", before, atomic_load(&count) - before);
  return 0;
}
