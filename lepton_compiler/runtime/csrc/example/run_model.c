/* Runs a compiled model on this machine: needs the model's library, lepton.h and the C library.
 *
 *   cc -std=c99 -O2 -I.. run_model.c -o run_model -ldl
 *   ./run_model ./model.so                                inputs filled with a ramp
 *   ./run_model -i pixels=image.raw -o out ./model.so     an input from a file, outputs to out_0.raw, out_1.raw, ...
 *   ./run_model -d batch=4 -t 2 -r 100 ./model.so         a symbolic size, two threads, a hundred timed runs
 *
 * Compiled with -DLEPTON_LINKED it is linked with one model and takes no library:
 *
 *   cc -std=c99 -O2 -I.. -DLEPTON_LINKED run_model.c ./model.so -o run_model
 *
 * Raw files hold the elements one after the other in the machine's byte order. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "lepton.h"

#ifndef LEPTON_LINKED
#include <dlfcn.h>
#endif

#define OPTIONS "[-i INPUT=FILE]... [-d SYMBOL=SIZE]... [-o PREFIX] [-t THREADS] [-r RUNS]"
#ifdef LEPTON_LINKED
#define USAGE "usage: run_model " OPTIONS
enum { LIBRARY_ARGUMENTS = 0 };
#else
#define USAGE "usage: run_model " OPTIONS " LIBRARY"
enum { LIBRARY_ARGUMENTS = 1 };
#endif

enum { MAX_SETTINGS = 64 };

/* The functions of lepton.h that this program calls. */
typedef struct {
  lepton_status (*open)(uint32_t, lepton_session **);
  void (*close)(lepton_session *);
  const char *(*last_error)(void);
  const char *(*dtype_name)(int32_t);
  uint32_t (*dtype_bytes)(int32_t);
  int32_t (*input_count)(const lepton_session *);
  int32_t (*output_count)(const lepton_session *);
  lepton_status (*input)(const lepton_session *, int32_t, lepton_tensor_info *);
  lepton_status (*output)(const lepton_session *, int32_t, lepton_tensor_info *);
  lepton_status (*set_threads)(lepton_session *, int32_t);
  lepton_status (*run)(lepton_session *, const lepton_tensor *, int32_t, lepton_tensor *, int32_t);
} functions;

/* NAME=VALUE from the command line. */
typedef struct {
  const char *name, *value;
} setting;

typedef struct {
  const char *library, *output_prefix;
  int threads, runs, file_count, size_count;
  setting files[MAX_SETTINGS], sizes[MAX_SETTINGS];
} arguments;

static void die(const char *format, ...) {
  va_list values;
  va_start(values, format);
  fputs("run_model: ", stderr);
  vfprintf(stderr, format, values);
  fputc('\n', stderr);
  va_end(values);
  exit(2);
}

static void *allocate(size_t bytes) {
  void *data = NULL;
  if (posix_memalign(&data, LEPTON_ALIGNMENT, bytes > 0 ? bytes : 1) != 0) die("out of memory: %zu bytes", bytes);
  return data;
}

static void add_setting(setting *settings, int *count, char *text) {
  char *separator = strrchr(text, '=');
  if (separator == NULL) die("\"%s\" is not of the form NAME=VALUE", text);
  if (*count == MAX_SETTINGS) die("more than %d settings of one kind", MAX_SETTINGS);
  *separator = '\0';
  settings[*count].name = text;
  settings[(*count)++].value = separator + 1;
}

static const char *find_setting(const setting *settings, int count, const char *name) {
  for (int i = 0; i < count; i++) {
    if (strcmp(settings[i].name, name) == 0) return settings[i].value;
  }
  return NULL;
}

static int64_t parse_count(const char *text, const char *what) {
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (errno != 0 || end == text || *end != '\0' || value < 1) die("%s must be a number from 1 up, not \"%s\"", what, text);
  return value;
}

static int parse_int(const char *text, const char *what) {
  int64_t value = parse_count(text, what);
  if (value > 1000000) die("%s is too large: %s", what, text);
  return (int)value;
}

static arguments parse_arguments(int argc, char **argv) {
  arguments result;
  memset(&result, 0, sizeof result);
  result.runs = 10;
  int option;
  while ((option = getopt(argc, argv, "i:d:o:t:r:")) != -1) {
    switch (option) {
      case 'i': add_setting(result.files, &result.file_count, optarg); break;
      case 'd': add_setting(result.sizes, &result.size_count, optarg); break;
      case 'o': result.output_prefix = optarg; break;
      case 't': result.threads = parse_int(optarg, "the number of threads"); break;
      case 'r': result.runs = parse_int(optarg, "the number of runs"); break;
      default: die("%s", USAGE);
    }
  }
  if (optind + LIBRARY_ARGUMENTS != argc) die("%s", USAGE);
  result.library = argv[optind]; /* NULL, the end of argv, where it is linked */
  return result;
}

#ifdef LEPTON_LINKED

static functions find_functions(const char *library) {
  (void)library;
  return (functions){
      lepton_open,        lepton_close,        lepton_last_error, lepton_dtype_name, lepton_dtype_bytes,
      lepton_input_count, lepton_output_count, lepton_input,      lepton_output,     lepton_set_threads,
      lepton_run,
  };
}

#else

static functions find_functions(const char *path) {
  static const struct {
    const char *name;
    size_t offset;
  } entries[] = {
      {"lepton_open", offsetof(functions, open)},
      {"lepton_close", offsetof(functions, close)},
      {"lepton_last_error", offsetof(functions, last_error)},
      {"lepton_dtype_name", offsetof(functions, dtype_name)},
      {"lepton_dtype_bytes", offsetof(functions, dtype_bytes)},
      {"lepton_input_count", offsetof(functions, input_count)},
      {"lepton_output_count", offsetof(functions, output_count)},
      {"lepton_input", offsetof(functions, input)},
      {"lepton_output", offsetof(functions, output)},
      {"lepton_set_threads", offsetof(functions, set_threads)},
      {"lepton_run", offsetof(functions, run)},
  };
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) die("%s", dlerror());
  functions result;
  for (size_t i = 0; i < sizeof entries / sizeof *entries; i++) {
    void *function = dlsym(library, entries[i].name);
    if (function == NULL) die("%s", dlerror());
    memcpy((char *)&result + entries[i].offset, &function, sizeof function);
  }
  return result;
}

#endif

static void check(const functions *lepton, lepton_status status) {
  if (status != LEPTON_OK) die("%s", lepton->last_error());
}

static void print_tensor(const functions *lepton, const char *kind, int32_t index, const lepton_tensor_info *info) {
  printf("%s %" PRId32 " %s %s [", kind, index, info->name, lepton->dtype_name(info->dtype));
  for (int32_t d = 0; d < info->rank; d++) printf("%s%s", d > 0 ? ", " : "", info->dim_text[d]);
  printf("]\n");
}

/* 1.0 times 2 to the power of minus `shift`, as bits of a float with that exponent bias and mantissa width. */
static uint64_t power_bits(int shift, int bias, int mantissa_bits) {
  return (uint64_t)(bias - shift) << mantissa_bits;
}

/* Element `index` of an input without a file: powers of two for floats; 0 and 1, which are valid indices and flags, for
 * integers. */
static uint64_t ramp(int32_t dtype, uint64_t index) {
  int shift = (int)(index % 7);
  switch (dtype) {
    case LEPTON_FLOAT32: return power_bits(shift, 127, 23);
    case LEPTON_FLOAT64: return power_bits(shift, 1023, 52);
    case LEPTON_FLOAT16: return power_bits(shift, 15, 10);
    case LEPTON_BFLOAT16: return power_bits(shift, 127, 7);
    default: return index % 2;
  }
}

static void fill_with_ramp(lepton_tensor *tensor, uint32_t element_bytes) {
  for (uint64_t i = 0; i < tensor->bytes / element_bytes; i++) {
    uint64_t bits = ramp(tensor->dtype, i);
    uint8_t value8 = (uint8_t)bits;
    uint16_t value16 = (uint16_t)bits;
    uint32_t value32 = (uint32_t)bits;
    const void *value = element_bytes == 1   ? (const void *)&value8
                        : element_bytes == 2 ? (const void *)&value16
                        : element_bytes == 4 ? (const void *)&value32
                                             : (const void *)&bits;
    memcpy((char *)tensor->data + i * element_bytes, value, element_bytes);
  }
}

static void read_file(const char *path, const char *name, lepton_tensor *tensor) {
  FILE *file = fopen(path, "rb");
  if (file == NULL) die("%s: %s", path, strerror(errno));
  size_t count = fread(tensor->data, 1, (size_t)tensor->bytes, file);
  if (count != tensor->bytes || fgetc(file) != EOF) {
    die("%s: input %s needs exactly %" PRIu64 " bytes", path, name, tensor->bytes);
  }
  fclose(file);
}

static lepton_tensor make_input(const functions *lepton, const arguments *given, const lepton_tensor_info *info) {
  lepton_tensor tensor;
  memset(&tensor, 0, sizeof tensor);
  tensor.dtype = info->dtype;
  tensor.rank = info->rank;
  tensor.bytes = lepton->dtype_bytes(info->dtype);
  for (int32_t d = 0; d < info->rank; d++) {
    const char *size = info->dims[d] < 0 ? find_setting(given->sizes, given->size_count, info->dim_text[d]) : NULL;
    tensor.shape[d] = info->dims[d] >= 0 ? info->dims[d] : size != NULL ? parse_count(size, info->dim_text[d]) : 1;
    if (tensor.shape[d] > 0 && tensor.bytes > (uint64_t)INT64_MAX / (uint64_t)tensor.shape[d]) {
      die("input %s is too large", info->name);
    }
    tensor.bytes *= (uint64_t)tensor.shape[d];
  }
  if (tensor.bytes > SIZE_MAX / 2) die("input %s is too large", info->name);
  tensor.data = allocate((size_t)tensor.bytes);
  const char *path = find_setting(given->files, given->file_count, info->name);
  if (path != NULL) {
    read_file(path, info->name, &tensor);
  } else {
    fill_with_ramp(&tensor, lepton->dtype_bytes(info->dtype));
  }
  return tensor;
}

/* A misspelt name would otherwise leave its input at the ramp without a word. */
static void check_names(const functions *lepton, lepton_session *session, const arguments *given) {
  for (int i = 0; i < given->file_count; i++) {
    int found = 0;
    for (int32_t j = 0; j < lepton->input_count(session) && !found; j++) {
      lepton_tensor_info info;
      check(lepton, lepton->input(session, j, &info));
      found = strcmp(info.name, given->files[i].name) == 0;
    }
    if (!found) die("the model has no input \"%s\"", given->files[i].name);
  }
}

static void write_output(const char *prefix, int32_t index, const lepton_tensor *tensor) {
  char path[4096];
  int length = snprintf(path, sizeof path, "%s_%" PRId32 ".raw", prefix, index);
  if (length < 0 || (size_t)length >= sizeof path) die("the prefix of the outputs is too long");
  FILE *file = fopen(path, "wb");
  if (file == NULL) die("%s: %s", path, strerror(errno));
  if (fwrite(tensor->data, 1, (size_t)tensor->bytes, file) != tensor->bytes || fclose(file) != 0) {
    die("%s can't be written: %s", path, strerror(errno));
  }
  printf("wrote %s:", path);
  for (int32_t d = 0; d < tensor->rank; d++) printf(" %" PRId64, tensor->shape[d]);
  printf("\n");
}

static double now_ms(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec * 1e3 + (double)time.tv_nsec / 1e6;
}

int main(int argc, char **argv) {
  arguments given = parse_arguments(argc, argv);
  functions lepton = find_functions(given.library);
  lepton_session *session;
  check(&lepton, lepton.open(LEPTON_API_VERSION, &session));
  if (given.threads > 0) check(&lepton, lepton.set_threads(session, given.threads));

  check_names(&lepton, session, &given);
  int32_t input_count = lepton.input_count(session), output_count = lepton.output_count(session);
  lepton_tensor *inputs = calloc((size_t)input_count + 1, sizeof *inputs);
  lepton_tensor *outputs = calloc((size_t)output_count + 1, sizeof *outputs);
  if (inputs == NULL || outputs == NULL) die("out of memory");
  lepton_tensor_info info;
  for (int32_t i = 0; i < input_count; i++) {
    check(&lepton, lepton.input(session, i, &info));
    print_tensor(&lepton, "input", i, &info);
    inputs[i] = make_input(&lepton, &given, &info);
  }
  for (int32_t i = 0; i < output_count; i++) {
    check(&lepton, lepton.output(session, i, &info));
    print_tensor(&lepton, "output", i, &info);
  }

  double best_ms = 0;
  for (int run = 0; run < given.runs; run++) {
    double start = now_ms();
    /* Data is NULL at first, so the session keeps the outputs; in later runs it finds its own buffers there. */
    check(&lepton, lepton.run(session, inputs, input_count, outputs, output_count));
    double elapsed = now_ms() - start;
    if (run == 0 || elapsed < best_ms) best_ms = elapsed;
  }
  printf("best of %d runs: %.3f ms\n", given.runs, best_ms);
  for (int32_t i = 0; i < output_count && given.output_prefix != NULL; i++) {
    write_output(given.output_prefix, i, &outputs[i]);
  }

  for (int32_t i = 0; i < input_count; i++) free(inputs[i].data);
  free(inputs);
  free(outputs);
  lepton.close(session);
  return 0;
}
