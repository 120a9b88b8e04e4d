#include "dtype.h"

#include <stddef.h>

#include "model.h"

typedef struct {
  uint32_t bytes;
  const char *name;
} dtype_entry;

static const dtype_entry dtypes[] = {
    [LEPTON_FLOAT32] = {4, "float32"},   [LEPTON_FLOAT64] = {8, "float64"}, [LEPTON_FLOAT16] = {2, "float16"},
    [LEPTON_BFLOAT16] = {2, "bfloat16"}, [LEPTON_INT8] = {1, "int8"},       [LEPTON_INT16] = {2, "int16"},
    [LEPTON_INT32] = {4, "int32"},       [LEPTON_INT64] = {8, "int64"},     [LEPTON_UINT8] = {1, "uint8"},
    [LEPTON_UINT16] = {2, "uint16"},     [LEPTON_UINT32] = {4, "uint32"},   [LEPTON_UINT64] = {8, "uint64"},
    [LEPTON_BOOL] = {1, "bool"},
};

static const dtype_entry *find(int32_t dtype) {
  if (dtype < 1 || (size_t)dtype >= sizeof dtypes / sizeof *dtypes) return NULL;
  return &dtypes[dtype];
}

const char *lepton_dtype_text(int32_t dtype) {
  const dtype_entry *entry = find(dtype);
  return entry == NULL ? "unknown dtype" : entry->name;
}

uint32_t lepton_dtype_size(int32_t dtype) {
  const dtype_entry *entry = find(dtype);
  return entry == NULL ? 0 : entry->bytes;
}

LEPTON_API const char *lepton_dtype_name(int32_t dtype) { return lepton_dtype_text(dtype); }

LEPTON_API uint32_t lepton_dtype_bytes(int32_t dtype) { return lepton_dtype_size(dtype); }

int64_t lepton_dense_bytes(int32_t dtype, const int64_t *dims, int32_t rank) {
  int64_t bytes = lepton_dtype_size(dtype);
  for (int32_t i = 0; i < rank; i++) {
    if (dims[i] == 0) return 0;
  }
  for (int32_t i = 0; i < rank; i++) bytes = lepton_size_mul(bytes, dims[i]);
  return bytes;
}
