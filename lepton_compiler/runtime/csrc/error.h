/* Error texts: one a thread, read by lepton_last_error. */
#ifndef LEPTON_ERROR_H
#define LEPTON_ERROR_H

#include <stddef.h>

#include "lepton.h"

#define LEPTON_ERROR_TEXT_BYTES 1024

/* Sets this thread's error text and returns `status`. */
__attribute__((format(printf, 2, 3))) lepton_status lepton_fail(lepton_status status, const char *format, ...);

/* Writes "[2, 3]" for the first `rank` of `dims`; cut short where `capacity` is too small. */
void lepton_format_shape(char *text, size_t capacity, const int64_t *dims, int32_t rank);

/* Writes "[batch, 3]" from the texts of the dimensions. */
void lepton_format_dims(char *text, size_t capacity, const char *const *dim_text, int32_t rank);

#endif
