/* Lepton: run a compiled model from C or C++.
 *
 * A compiled model is one shared library that exports the functions below and needs the C library alone. Link it, or
 * load it with dlopen and look the functions up; several models can be loaded in one process with RTLD_LOCAL.
 *
 *   lepton_session *session;
 *   if (lepton_open(LEPTON_API_VERSION, &session) != LEPTON_OK) die(lepton_last_error());
 *   lepton_tensor input = {pixels, LEPTON_FLOAT32, 4, {1, 3, 224, 224}, sizeof pixels};
 *   lepton_tensor output = {0};
 *   if (lepton_run(session, &input, 1, &output, 1) != LEPTON_OK) die(lepton_last_error());
 *   use(output.data, output.shape, output.rank);
 *   lepton_close(session);
 *
 * Threads. Any number of sessions may run at once, each with threads of its own. Calls on one session from several
 * threads are allowed and wait for each other. lepton_close must be the last call on its session. A session does not
 * survive fork: open one in the child.
 *
 * Errors. Functions return LEPTON_OK or what went wrong; lepton_last_error() then says in words which input, what was
 * expected and what was given. A failed call leaves the session usable.
 */
#ifndef LEPTON_H
#define LEPTON_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define LEPTON_API __attribute__((visibility("default")))
#else
#define LEPTON_API
#endif

/* Version of this header. A library accepts every version up to its own. */
#define LEPTON_API_VERSION 1

/* Highest number of dimensions of an input or output. */
#define LEPTON_MAX_RANK 8

/* Highest number of threads of a session. */
#define LEPTON_MAX_THREADS 1024

/* Buffers that start at a multiple of this many bytes are used in place; others are copied. */
#define LEPTON_ALIGNMENT 64

typedef enum {
  LEPTON_OK = 0,
  LEPTON_ERROR_ARGUMENT = 1, /* a NULL pointer, an index or a count that is out of range */
  LEPTON_ERROR_VERSION = 2,  /* the program was built for a newer lepton.h, or the library's parts do not match */
  LEPTON_ERROR_DTYPE = 3,    /* an element type is not the model's */
  LEPTON_ERROR_SHAPE = 4,    /* a rank or dimension does not fit the model, or two inputs contradict each other */
  LEPTON_ERROR_SIZE = 5,     /* a buffer's size does not fit its shape, or a size can't be represented */
  LEPTON_ERROR_MEMORY = 6,   /* out of memory */
  LEPTON_ERROR_CPU = 7,      /* the processor lacks a feature that the model was compiled for */
  LEPTON_ERROR_WEIGHTS = 8,  /* the weights file beside the library is missing or is not this model's */
  LEPTON_ERROR_THREADS = 9,  /* the system refused a thread */
  LEPTON_ERROR_KERNEL = 10,  /* a kernel reported an error */
  LEPTON_ERROR_BUSY = 11,    /* called from the session's own kernel hook */
  LEPTON_ERROR_VALUE = 12    /* an input holds values that the model can't work with, such as an index out of range */
} lepton_status;

typedef enum {
  LEPTON_FLOAT32 = 1,
  LEPTON_FLOAT64 = 2,
  LEPTON_FLOAT16 = 3,
  LEPTON_BFLOAT16 = 4,
  LEPTON_INT8 = 5,
  LEPTON_INT16 = 6,
  LEPTON_INT32 = 7,
  LEPTON_INT64 = 8,
  LEPTON_UINT8 = 9,
  LEPTON_UINT16 = 10,
  LEPTON_UINT32 = 11,
  LEPTON_UINT64 = 12,
  LEPTON_BOOL = 13 /* one byte, 0 or 1 */
} lepton_dtype;

typedef struct lepton_session lepton_session;

/* A tensor in memory: dense, row-major (the last dimension varies fastest), in the machine's byte order. */
typedef struct {
  void *data;                     /* inputs are only read */
  int32_t dtype;                  /* lepton_dtype */
  int32_t rank;                   /* number of dimensions; 0 for a scalar */
  int64_t shape[LEPTON_MAX_RANK]; /* the first `rank` are used */
  uint64_t bytes;                 /* size of the buffer */
} lepton_tensor;

/* An input or output as the model declares it. The texts belong to the library. */
typedef struct {
  const char *name;
  int32_t dtype; /* lepton_dtype */
  int32_t rank;
  int64_t dims[LEPTON_MAX_RANK];         /* -1 where the size is symbolic */
  const char *dim_text[LEPTON_MAX_RANK]; /* "3", a symbol such as "batch", or in outputs "batch * 4" */
} lepton_tensor_info;

/* One kernel call, in order of execution. The texts belong to the library. */
typedef struct {
  const char *name;
  const char *nodes; /* model nodes that it computes, joined by '+' */
} lepton_kernel_info;

/* Memory in bytes. */
typedef struct {
  uint64_t weights_bytes;
  uint64_t arena_bytes;     /* intermediate tensors: held now, or for fixed shapes what the first run will take */
  uint64_t workspace_bytes; /* scratch of all threads */
  uint64_t buffer_bytes;    /* copies of inputs and outputs that the session holds now */
} lepton_memory_info;

/* Called after each kernel on the thread that called lepton_run. It must not call functions of its own session. */
typedef void (*lepton_kernel_hook)(void *user, int32_t kernel_index, uint64_t nanoseconds);

/* Opens a session. Pass LEPTON_API_VERSION. On failure *out is NULL. */
LEPTON_API lepton_status lepton_open(uint32_t api_version, lepton_session **out);

/* Ends the session's threads and frees its memory, buffers of outputs included. NULL is allowed. */
LEPTON_API void lepton_close(lepton_session *session);

/* What went wrong in the last failed call on this thread; "" if none did. Valid until the next failure. */
LEPTON_API const char *lepton_last_error(void);

/* "LEPTON_ERROR_SHAPE" and so on; "unknown status" for a value outside of the enumeration. */
LEPTON_API const char *lepton_status_name(lepton_status status);

/* "float32" and so on; "unknown dtype" for a value outside of lepton_dtype. */
LEPTON_API const char *lepton_dtype_name(int32_t dtype);

/* Bytes of one element; 0 for a value outside of lepton_dtype. */
LEPTON_API uint32_t lepton_dtype_bytes(int32_t dtype);

/* Numbers of inputs, outputs, symbolic dimensions and kernels; 0 if session is NULL. */
LEPTON_API int32_t lepton_input_count(const lepton_session *session);
LEPTON_API int32_t lepton_output_count(const lepton_session *session);
LEPTON_API int32_t lepton_symbol_count(const lepton_session *session);
LEPTON_API int32_t lepton_kernel_count(const lepton_session *session);

LEPTON_API lepton_status lepton_input(const lepton_session *session, int32_t index, lepton_tensor_info *out);
LEPTON_API lepton_status lepton_output(const lepton_session *session, int32_t index, lepton_tensor_info *out);
LEPTON_API lepton_status lepton_kernel(const lepton_session *session, int32_t index, lepton_kernel_info *out);

/* Name of a symbolic dimension; NULL if there is none of that index. */
LEPTON_API const char *lepton_symbol(const lepton_session *session, int32_t index);

/* The JSON manifest that the library carries, not terminated by a zero byte; *data is NULL if it carries none. */
LEPTON_API lepton_status lepton_manifest(const uint8_t **data, uint64_t *bytes);

/* 32 bytes that identify the library: the SHA-256 of its file with these bytes taken as zero. */
LEPTON_API const uint8_t *lepton_digest(void);

LEPTON_API lepton_status lepton_memory(lepton_session *session, lepton_memory_info *out);

/* Number of threads that run kernels, the caller's included. 0 chooses the processors that the process may run on,
 * which is also the default. Threads start with the next run and sleep between runs. */
LEPTON_API lepton_status lepton_set_threads(lepton_session *session, int32_t threads);
LEPTON_API int32_t lepton_threads(const lepton_session *session);

/* Calls `hook` with `user` after every kernel of later runs; NULL ends it. Timing costs nothing while it is unset. */
LEPTON_API lepton_status lepton_set_kernel_hook(lepton_session *session, lepton_kernel_hook hook, void *user);

/* Resolves the outputs of a run without running: writes dtype, rank, shape and bytes of each of `outputs`, and leaves
 * their data alone. Of the inputs only dtype, rank and shape are read. */
LEPTON_API lepton_status lepton_output_shapes(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                                              lepton_tensor *outputs, int32_t output_count);

/* Runs the model.
 *
 * All inputs and outputs are given, in the model's order. An input's dtype, rank, shape and bytes must fit the model
 * and each other. An output whose data is NULL, or the pointer that the session wrote there before, is written to a
 * buffer of the session that lives until the next run or lepton_close; any other must point to at least as many bytes
 * as the result needs, and `bytes` says how many there are. Dtype, rank, shape and bytes of the outputs are set to
 * those of the result; a run that fails leaves them alone. Addresses that the session wrote stay its own until
 * lepton_close: any of them may be passed again for the same output, also after a run that failed or that moved the
 * result elsewhere. Outputs may overlap inputs, but not each other. Threads that share a session give buffers of their
 * own: the session's would be overwritten by each other's runs. */
LEPTON_API lepton_status lepton_run(lepton_session *session, const lepton_tensor *inputs, int32_t input_count,
                                    lepton_tensor *outputs, int32_t output_count);

#ifdef __cplusplus
}
#endif

#endif
