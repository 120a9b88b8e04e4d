#include "error.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

static _Thread_local char last_error[LEPTON_ERROR_TEXT_BYTES];

LEPTON_API const char *lepton_last_error(void) { return last_error; }

lepton_status lepton_fail(lepton_status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(last_error, sizeof last_error, format, arguments);
  va_end(arguments);
  return status;
}

LEPTON_API const char *lepton_status_name(lepton_status status) {
  switch (status) {
    case LEPTON_OK: return "LEPTON_OK";
    case LEPTON_ERROR_ARGUMENT: return "LEPTON_ERROR_ARGUMENT";
    case LEPTON_ERROR_VERSION: return "LEPTON_ERROR_VERSION";
    case LEPTON_ERROR_DTYPE: return "LEPTON_ERROR_DTYPE";
    case LEPTON_ERROR_SHAPE: return "LEPTON_ERROR_SHAPE";
    case LEPTON_ERROR_SIZE: return "LEPTON_ERROR_SIZE";
    case LEPTON_ERROR_MEMORY: return "LEPTON_ERROR_MEMORY";
    case LEPTON_ERROR_CPU: return "LEPTON_ERROR_CPU";
    case LEPTON_ERROR_WEIGHTS: return "LEPTON_ERROR_WEIGHTS";
    case LEPTON_ERROR_THREADS: return "LEPTON_ERROR_THREADS";
    case LEPTON_ERROR_KERNEL: return "LEPTON_ERROR_KERNEL";
    case LEPTON_ERROR_BUSY: return "LEPTON_ERROR_BUSY";
    case LEPTON_ERROR_VALUE: return "LEPTON_ERROR_VALUE";
  }
  return "unknown status";
}

/* Appends to `text`, whose first `used` bytes are taken; returns the new length, at most capacity - 1. */
__attribute__((format(printf, 4, 5))) static size_t append(char *text, size_t capacity, size_t used,
                                                            const char *format, ...) {
  if (used + 1 >= capacity) return used;
  va_list arguments;
  va_start(arguments, format);
  int written = vsnprintf(text + used, capacity - used, format, arguments);
  va_end(arguments);
  if (written < 0) return used;
  size_t length = used + (size_t)written;
  return length < capacity ? length : capacity - 1;
}

void lepton_format_shape(char *text, size_t capacity, const int64_t *dims, int32_t rank) {
  size_t used = append(text, capacity, 0, "[");
  for (int32_t i = 0; i < rank; i++) used = append(text, capacity, used, "%s%" PRId64, i ? ", " : "", dims[i]);
  append(text, capacity, used, "]");
}

void lepton_format_dims(char *text, size_t capacity, const char *const *dim_text, int32_t rank) {
  size_t used = append(text, capacity, 0, "[");
  for (int32_t i = 0; i < rank; i++) used = append(text, capacity, used, "%s%s", i ? ", " : "", dim_text[i]);
  append(text, capacity, used, "]");
}
