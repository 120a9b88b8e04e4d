/* Peak arithmetic of x86-64: the instructions of each level, from SSE2 to AVX-512.
 *
 * Chains: at least latency times units of the processors of Intel's and AMD's optimisation manuals (4 cycles and 2
 * units for most of these, 6 and 2 for vdpbf16ps), and no more than the registers hold. */
#include "probe.h"

#if defined(__x86_64__)

#include <immintrin.h>

enum { CHAINS = 12, CHAINS_512 = 16, SSE_CHAINS = 7 };

#define KERNEL(name, target_features) \
  __attribute__((target(target_features))) static void name(int64_t iterations)

/* Without fused multiply-add, multiplications and additions use units of their own, so they chain separately. */

KERNEL(fp32_sse, "sse2") {
  __m128 products[SSE_CHAINS], sums[SSE_CHAINS];
  __m128 a = _mm_set1_ps(1.0f), b = _mm_set1_ps(0.0f);
  LEPTON_PROBE_OPAQUE(a);
  LEPTON_PROBE_OPAQUE(b);
  _Pragma("clang loop unroll(full)") for (int i = 0; i < SSE_CHAINS; i++) {
    products[i] = sums[i] = _mm_set1_ps(0.5f);
    LEPTON_PROBE_OPAQUE(products[i]);
    LEPTON_PROBE_OPAQUE(sums[i]);
  }
  for (; iterations > 0; iterations--) {
    _Pragma("clang loop unroll(full)") for (int i = 0; i < SSE_CHAINS; i++) {
      products[i] = _mm_mul_ps(products[i], a);
      sums[i] = _mm_add_ps(sums[i], b);
    }
  }
  _Pragma("clang loop unroll(full)") for (int i = 0; i < SSE_CHAINS; i++) {
    LEPTON_PROBE_OPAQUE(products[i]);
    LEPTON_PROBE_OPAQUE(sums[i]);
  }
}

#define FMA_256(sum, a, b) _mm256_fmadd_ps(a, b, sum)
KERNEL(fp32_fma, "avx2,fma") {
  LEPTON_PROBE_CHAINS(CHAINS, __m256, _mm256_set1_ps(0.5f), _mm256_set1_ps(1e-9f), _mm256_set1_ps(0.5f), FMA_256);
}

#define FMA_512(sum, a, b) _mm512_fmadd_ps(a, b, sum)
KERNEL(fp32_avx512, "avx512f") {
  LEPTON_PROBE_CHAINS(CHAINS_512, __m512, _mm512_set1_ps(0.5f), _mm512_set1_ps(1e-9f), _mm512_set1_ps(0.5f), FMA_512);
}

#define BF16_512(sum, a, b) _mm512_dpbf16_ps(sum, a, b)
KERNEL(bf16_avx512, "avx512f,avx512bf16") {
  __m512bh tiny = (__m512bh)_mm512_set1_epi16(0x3000), half = (__m512bh)_mm512_set1_epi16(0x3f00);
  LEPTON_PROBE_CHAINS(CHAINS_512, __m512, _mm512_set1_ps(0.5f), tiny, half, BF16_512);
}

#define INT8_128(sum, a, b) _mm_add_epi32(sum, _mm_madd_epi16(_mm_maddubs_epi16(a, b), _mm_set1_epi16(1)))
KERNEL(int8_ssse3, "ssse3") {
  LEPTON_PROBE_CHAINS(8, __m128i, _mm_setzero_si128(), _mm_set1_epi8(1), _mm_set1_epi8(1), INT8_128);
}

#define INT8_256(sum, a, b) _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), _mm256_set1_epi16(1)))
KERNEL(int8_avx2, "avx2") {
  LEPTON_PROBE_CHAINS(8, __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), _mm256_set1_epi8(1), INT8_256);
}

#define DOT_256(sum, a, b) _mm256_dpbusd_avx_epi32(sum, a, b)
KERNEL(int8_avx_vnni, "avx2,avxvnni") {
  LEPTON_PROBE_CHAINS(CHAINS, __m256i, _mm256_setzero_si256(), _mm256_set1_epi8(1), _mm256_set1_epi8(1), DOT_256);
}

#define DOT_512(sum, a, b) _mm512_dpbusd_epi32(sum, a, b)
KERNEL(int8_avx512_vnni, "avx512f,avx512vnni") {
  LEPTON_PROBE_CHAINS(CHAINS_512, __m512i, _mm512_setzero_si512(), _mm512_set1_epi8(1), _mm512_set1_epi8(1), DOT_512);
}

const lepton_probe_arithmetic lepton_probe_arithmetic_kernels[] = {
    {"float32", "mulps, addps", "", 2 * SSE_CHAINS * 4, fp32_sse},
    {"float32", "vfmadd ymm", "avx2 fma", 2 * CHAINS * 8, fp32_fma},
    {"float32", "vfmadd zmm", "avx512f", 2 * CHAINS_512 * 16, fp32_avx512},
    {"bfloat16", "vdpbf16ps zmm", "avx512f avx512_bf16", 2 * CHAINS_512 * 32, bf16_avx512},
    {"int8", "pmaddubsw, pmaddwd, paddd", "ssse3", 2 * 8 * 16, int8_ssse3},
    {"int8", "vpmaddubsw, vpmaddwd, vpaddd ymm", "avx2", 2 * 8 * 32, int8_avx2},
    {"int8", "vpdpbusd ymm", "avx2 avx_vnni", 2 * CHAINS * 32, int8_avx_vnni},
    {"int8", "vpdpbusd zmm", "avx512f avx512_vnni", 2 * CHAINS_512 * 64, int8_avx512_vnni},
    {NULL, NULL, NULL, 0, NULL},
};

#endif
