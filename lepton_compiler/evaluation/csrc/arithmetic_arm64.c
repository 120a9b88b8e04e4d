/* Peak arithmetic of 64-bit ARM: Advanced SIMD, and its dot products where the processor has them. */
#include "probe.h"

#if defined(__aarch64__)

#include <arm_neon.h>

/* Latency 4 and up to 4 units (Arm Cortex-X and Neoverse V software optimisation guides); 32 registers. */
enum { CHAINS = 20 };

#define KERNEL(name, target_features) \
  __attribute__((target(target_features))) static void name(int64_t iterations)

#define FMLA(sum, a, b) vfmaq_f32(sum, a, b)
static void fp32_fmla(int64_t iterations) {
  LEPTON_PROBE_CHAINS(CHAINS, float32x4_t, vdupq_n_f32(0.5f), vdupq_n_f32(1e-9f), vdupq_n_f32(0.5f), FMLA);
}

#define BFDOT(sum, a, b) vbfdotq_f32(sum, a, b)
KERNEL(bf16_bfdot, "bf16") {
  bfloat16x8_t tiny = vreinterpretq_bf16_u16(vdupq_n_u16(0x3000));
  bfloat16x8_t half = vreinterpretq_bf16_u16(vdupq_n_u16(0x3f00));
  LEPTON_PROBE_CHAINS(CHAINS, float32x4_t, vdupq_n_f32(0.5f), tiny, half, BFDOT);
}

/* Products of the lower half in 16 bits, then pairs of them added to sums of 32 bits. */
#define SMULL(sum, a, b) vpadalq_s16(sum, vmull_s8(a, b))
static void int8_smull(int64_t iterations) {
  LEPTON_PROBE_CHAINS(CHAINS, int32x4_t, vdupq_n_s32(0), vdup_n_s8(1), vdup_n_s8(1), SMULL);
}

#define SDOT(sum, a, b) vdotq_s32(sum, a, b)
KERNEL(int8_sdot, "dotprod") {
  LEPTON_PROBE_CHAINS(CHAINS, int32x4_t, vdupq_n_s32(0), vdupq_n_s8(1), vdupq_n_s8(1), SDOT);
}

const lepton_probe_arithmetic lepton_probe_arithmetic_kernels[] = {
    {"float32", "fmla", "asimd", 2 * CHAINS * 4, fp32_fmla},
    {"bfloat16", "bfdot", "asimd bf16", 2 * CHAINS * 8, bf16_bfdot},
    {"int8", "smull, sadalp", "asimd", 2 * CHAINS * 8, int8_smull},
    {"int8", "sdot", "asimddp", 2 * CHAINS * 16, int8_sdot},
    {NULL, NULL, NULL, 0, NULL},
};

#endif
