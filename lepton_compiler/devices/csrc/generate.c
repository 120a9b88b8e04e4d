#include "generate.h"

/* Number `index` of the stream: SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014;
 * constants of Vigna's splitmix64.c), whose state is a counter, so that every element is computed by itself. */
static uint64_t random_bits(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static void set_integer_element(const agent_array *array, uint64_t index, uint64_t bits) {
  switch (lepton_dtype_size(array->dtype)) {
    case 1: ((uint8_t *)array->data)[index] = (uint8_t)bits; break;
    case 2: ((uint16_t *)array->data)[index] = (uint16_t)bits; break;
    case 4: ((uint32_t *)array->data)[index] = (uint32_t)bits; break;
    default: ((uint64_t *)array->data)[index] = bits; break;
  }
}

void agent_generate(const agent_recipe *recipe, const agent_array *array) {
  if (agent_is_float(array->dtype)) {
    double extent = recipe->high - recipe->low;
    for (uint64_t i = 0; i < array->count; i++) {
      double unit = (double)(random_bits(recipe->seed, i) >> 11) * 0x1p-53;
      double offset = extent * unit;
      agent_set_float_element(array, i, recipe->low + offset);
    }
    return;
  }
  uint64_t low = (uint64_t)recipe->low_int, span = (uint64_t)recipe->high_int - low + 1;
  for (uint64_t i = 0; i < array->count; i++) {
    uint64_t bits = random_bits(recipe->seed, i);
    set_integer_element(array, i, low + (span == 0 ? bits : bits % span));
  }
}
