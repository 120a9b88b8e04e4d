/* Sources: Intel 64 Software Developer's Manual, volume 2, CPUID, and volume 1, 13.3 (XGETBV); AMD64 Architecture
 * Programmer's Manual, volume 3, appendix E; Linux arch/{arm,arm64}/include/uapi/asm/hwcap.h; names from Linux
 * arch/x86/include/asm/cpufeatures.h and arch/{arm,arm64}/kernel. */
#include "cpu_features.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "error.h"

#if defined(__x86_64__)

#include <cpuid.h>

enum { EAX, EBX, ECX, EDX };

/* Registers that the operating system must save: the bits of XCR0. */
enum { NO_STATE = 0, AVX_STATE = 0x06, AVX512_STATE = 0xe6 };

typedef struct {
  const char *name;
  uint32_t leaf, subleaf;
  int reg, bit;
  uint32_t state;
} feature;

static const feature features_known[] = {
    {"sse", 1, 0, EDX, 25, NO_STATE},
    {"sse2", 1, 0, EDX, 26, NO_STATE},
    {"pni", 1, 0, ECX, 0, NO_STATE}, /* SSE3 */
    {"ssse3", 1, 0, ECX, 9, NO_STATE},
    {"fma", 1, 0, ECX, 12, AVX_STATE},
    {"cx16", 1, 0, ECX, 13, NO_STATE},
    {"sse4_1", 1, 0, ECX, 19, NO_STATE},
    {"sse4_2", 1, 0, ECX, 20, NO_STATE},
    {"movbe", 1, 0, ECX, 22, NO_STATE},
    {"popcnt", 1, 0, ECX, 23, NO_STATE},
    {"aes", 1, 0, ECX, 25, NO_STATE},
    {"xsave", 1, 0, ECX, 26, NO_STATE},
    {"avx", 1, 0, ECX, 28, AVX_STATE},
    {"f16c", 1, 0, ECX, 29, AVX_STATE},
    {"bmi1", 7, 0, EBX, 3, NO_STATE},
    {"avx2", 7, 0, EBX, 5, AVX_STATE},
    {"bmi2", 7, 0, EBX, 8, NO_STATE},
    {"avx512f", 7, 0, EBX, 16, AVX512_STATE},
    {"avx512dq", 7, 0, EBX, 17, AVX512_STATE},
    {"avx512ifma", 7, 0, EBX, 21, AVX512_STATE},
    {"avx512cd", 7, 0, EBX, 28, AVX512_STATE},
    {"avx512bw", 7, 0, EBX, 30, AVX512_STATE},
    {"avx512vl", 7, 0, EBX, 31, AVX512_STATE},
    {"avx512vbmi", 7, 0, ECX, 1, AVX512_STATE},
    {"avx512_vbmi2", 7, 0, ECX, 6, AVX512_STATE},
    {"avx512_vnni", 7, 0, ECX, 11, AVX512_STATE},
    {"avx512_bitalg", 7, 0, ECX, 12, AVX512_STATE},
    {"avx512_vpopcntdq", 7, 0, ECX, 14, AVX512_STATE},
    {"avx512_fp16", 7, 0, EDX, 23, AVX512_STATE},
    {"avx_vnni", 7, 1, EAX, 4, AVX_STATE},
    {"avx512_bf16", 7, 1, EAX, 5, AVX512_STATE},
    {"lahf_lm", 0x80000001, 0, ECX, 0, NO_STATE},
    {"abm", 0x80000001, 0, ECX, 5, NO_STATE},
};

static uint32_t saved_states(void) {
  uint32_t registers[4];
  const uint32_t osxsave = UINT32_C(1) << 27;
  if (!__get_cpuid(1, &registers[EAX], &registers[EBX], &registers[ECX], &registers[EDX])) return 0;
  if (!(registers[ECX] & osxsave)) return 0;
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

static bool has_feature(const char *name) {
  for (size_t i = 0; i < sizeof features_known / sizeof *features_known; i++) {
    const feature *f = &features_known[i];
    if (strcmp(f->name, name) != 0) continue;
    uint32_t registers[4];
    if (!__get_cpuid_count(f->leaf, f->subleaf, &registers[EAX], &registers[EBX], &registers[ECX], &registers[EDX])) {
      return false;
    }
    return (registers[f->reg] >> f->bit & 1) && (saved_states() & f->state) == f->state;
  }
  return false;
}

#elif defined(__aarch64__) || defined(__arm__)

#include <sys/auxv.h>

#ifndef AT_HWCAP2
#define AT_HWCAP2 26
#endif

typedef struct {
  const char *name;
  unsigned long word;
  int bit;
} feature;

#if defined(__aarch64__)
static const feature features_known[] = {
    {"fp", AT_HWCAP, 0},        {"asimd", AT_HWCAP, 1},    {"aes", AT_HWCAP, 3},    {"crc32", AT_HWCAP, 7},
    {"atomics", AT_HWCAP, 8},   {"fphp", AT_HWCAP, 9},     {"asimdhp", AT_HWCAP, 10}, {"asimdrdm", AT_HWCAP, 12},
    {"asimddp", AT_HWCAP, 20},  {"sve", AT_HWCAP, 22},     {"asimdfhm", AT_HWCAP, 23}, {"sve2", AT_HWCAP2, 1},
    {"svei8mm", AT_HWCAP2, 9},  {"svebf16", AT_HWCAP2, 12}, {"i8mm", AT_HWCAP2, 13}, {"bf16", AT_HWCAP2, 14},
};
#else
static const feature features_known[] = {
    {"vfp", AT_HWCAP, 6},    {"neon", AT_HWCAP, 12},  {"vfpv3", AT_HWCAP, 13},
    {"vfpv4", AT_HWCAP, 16}, {"idiva", AT_HWCAP, 17}, {"idivt", AT_HWCAP, 18},
};
#endif

static bool has_feature(const char *name) {
  for (size_t i = 0; i < sizeof features_known / sizeof *features_known; i++) {
    if (strcmp(features_known[i].name, name) == 0) {
      return getauxval(features_known[i].word) >> features_known[i].bit & 1;
    }
  }
  return false;
}

#else

static const struct {
  const char *name;
} features_known[] = {{NULL}};

static bool has_feature(const char *name) {
  (void)name;
  return false;
}

#endif

lepton_status lepton_check_cpu_features(const char *const *features) {
  char missing[512] = "";
  size_t used = 0;
  for (; features != NULL && *features != NULL; features++) {
    if (has_feature(*features)) continue;
    int written = snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", *features);
    if (written < 0 || (size_t)written >= sizeof missing - used) break;
    used += (size_t)written;
  }
  if (used == 0) return LEPTON_OK;
  return lepton_fail(LEPTON_ERROR_CPU,
                     "this processor or its operating system lacks features that the model was compiled for: %s; "
                     "compile it for a target that this machine has",
                     missing);
}

size_t lepton_list_cpu_features(const char **names, size_t capacity) {
  size_t count = 0;
  for (size_t i = 0; i < sizeof features_known / sizeof *features_known && count < capacity; i++) {
    const char *name = features_known[i].name;
    if (name != NULL && has_feature(name)) names[count++] = name;
  }
  return count;
}
