/* Element types inside of the runtime. */
#ifndef LEPTON_DTYPE_H
#define LEPTON_DTYPE_H

#include "lepton.h"

/* As lepton_dtype_name and lepton_dtype_bytes. Calls among the runtime's own parts never go through exported functions:
 * in a program that links one model and loads another they would end in the wrong library. */
const char *lepton_dtype_text(int32_t dtype);
uint32_t lepton_dtype_size(int32_t dtype);

/* Bytes of a dense tensor of a valid dtype and non-negative dimensions; INT64_MAX where they can't be represented. */
int64_t lepton_dense_bytes(int32_t dtype, const int64_t *dims, int32_t rank);

#endif
