#include "array.h"

#include <inttypes.h>
#include <string.h>

agent_code agent_read_array_type(agent_reader *reader, uint64_t limit, agent_array *array) {
  memset(array, 0, sizeof *array);
  array->dtype = agent_read_u8(reader);
  array->rank = agent_read_u8(reader);
  if (reader->failed) return agent_read_end(reader);
  uint32_t element_bytes = lepton_dtype_size(array->dtype);
  if (element_bytes == 0) return agent_fail(AGENT_ERROR_MALFORMED, "there is no element type %" PRId32, array->dtype);
  if (array->rank > LEPTON_MAX_RANK) {
    return agent_fail(AGENT_ERROR_LIMIT, "rank %" PRId32 " is above %d", array->rank, LEPTON_MAX_RANK);
  }
  for (int32_t i = 0; i < array->rank; i++) {
    uint64_t dim = agent_read_u64(reader);
    if (dim > INT64_MAX) return agent_fail(AGENT_ERROR_MALFORMED, "dimension %" PRId32 " is negative", i);
    array->dims[i] = (int64_t)dim;
  }
  if (reader->failed) return agent_read_end(reader);
  uint64_t bytes = (uint64_t)lepton_dense_bytes(array->dtype, array->dims, array->rank);
  if (bytes > limit || bytes > SIZE_MAX / 2) {
    return agent_fail(AGENT_ERROR_LIMIT, "an array of %" PRIu64 " bytes is above the limit of %" PRIu64, bytes, limit);
  }
  array->bytes = bytes;
  array->count = bytes / element_bytes;
  return AGENT_OK;
}

void agent_write_array_type(agent_writer *writer, const agent_array *array) {
  agent_write_u8(writer, (uint8_t)array->dtype);
  agent_write_u8(writer, (uint8_t)array->rank);
  for (int32_t i = 0; i < array->rank; i++) agent_write_u64(writer, (uint64_t)array->dims[i]);
}

bool agent_is_float(int32_t dtype) {
  return dtype == LEPTON_FLOAT32 || dtype == LEPTON_FLOAT64 || dtype == LEPTON_FLOAT16 || dtype == LEPTON_BFLOAT16;
}

static float float_of_bits(uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

static uint32_t bits_of_float(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}

static float half_to_float(uint16_t half) {
  uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 0x1f, fraction = half & 0x3ff;
  if (exponent == 0) {
    float magnitude = (float)fraction * 0x1p-24f;
    return sign ? -magnitude : magnitude;
  }
  if (exponent == 0x1f) return float_of_bits(sign | 0x7f800000 | fraction << 13);
  return float_of_bits(sign | (exponent + 112) << 23 | fraction << 13);
}

/* Drops `count` bits of `value`, rounding to nearest, ties to even. */
static uint32_t round_off(uint32_t value, int count) {
  uint32_t half = 1u << (count - 1), rest = value & ((1u << count) - 1), kept = value >> count;
  return kept + (rest > half || (rest == half && (kept & 1)));
}

static uint16_t float_to_half(float value) {
  uint32_t bits = bits_of_float(value), sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00);
  if (magnitude >= 0x47800000) return (uint16_t)(sign | 0x7c00); /* 2^16 and above */
  if (magnitude >= 0x38800000) return (uint16_t)(sign | round_off(magnitude - (112u << 23), 13));
  if (magnitude < 0x33000000) return (uint16_t)sign; /* below half of the smallest subnormal */
  int shift = 126 - (int)(magnitude >> 23);
  return (uint16_t)(sign | round_off((magnitude & 0x7fffff) | 0x800000, shift));
}

static uint16_t float_to_bfloat16(float value) {
  uint32_t bits = bits_of_float(value);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)round_off(bits, 16);
}

double agent_element(const agent_array *array, uint64_t index) {
  const void *data = array->data;
  switch (array->dtype) {
    case LEPTON_FLOAT32: return ((const float *)data)[index];
    case LEPTON_FLOAT64: return ((const double *)data)[index];
    case LEPTON_FLOAT16: return half_to_float(((const uint16_t *)data)[index]);
    case LEPTON_BFLOAT16: return float_of_bits((uint32_t)((const uint16_t *)data)[index] << 16);
    case LEPTON_INT8: return ((const int8_t *)data)[index];
    case LEPTON_INT16: return ((const int16_t *)data)[index];
    case LEPTON_INT32: return ((const int32_t *)data)[index];
    case LEPTON_INT64: return (double)((const int64_t *)data)[index];
    case LEPTON_UINT16: return ((const uint16_t *)data)[index];
    case LEPTON_UINT32: return ((const uint32_t *)data)[index];
    case LEPTON_UINT64: return (double)((const uint64_t *)data)[index];
    default: return ((const uint8_t *)data)[index]; /* uint8 and bool */
  }
}

void agent_set_float_element(const agent_array *array, uint64_t index, double value) {
  switch (array->dtype) {
    case LEPTON_FLOAT64: ((double *)array->data)[index] = value; break;
    case LEPTON_FLOAT32: ((float *)array->data)[index] = (float)value; break;
    case LEPTON_FLOAT16: ((uint16_t *)array->data)[index] = float_to_half((float)value); break;
    case LEPTON_BFLOAT16: ((uint16_t *)array->data)[index] = float_to_bfloat16((float)value); break;
    default: break;
  }
}
