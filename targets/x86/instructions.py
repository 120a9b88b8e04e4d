"""Instructions of x86 that LLVM does not choose by itself, as functions in LLVM IR that are inlined into kernels.

    lepton_dot_bf16x16(sums, pair, weights)     vdpbf16ps: sums[i] + pair[0] * weights[i][0] + pair[1] * weights[i][1]

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, VDPBF16PS. It rounds to nearest even and
takes subnormal numbers for zero, whatever the control register says.
"""

from __future__ import annotations

_DOT_BF16_LANES = (4, 8, 16)
_DOT_BF16 = """
declare <{lanes} x float> @llvm.x86.avx512bf16.dpbf16ps.{bits}(<{lanes} x float>, <{both} x bfloat>, <{both} x bfloat>)
define linkonce_odr <{lanes} x float> @lepton_dot_bf16x{lanes}(
    <{lanes} x float> %sums, i32 %pair, <{lanes} x i32> %weights) alwaysinline
    "target-features"="+avx512bf16,+avx512f,+avx512bw,+avx512vl" {{
  %first = insertelement <{lanes} x i32> poison, i32 %pair, i32 0
  %pairs = shufflevector <{lanes} x i32> %first, <{lanes} x i32> poison, <{lanes} x i32> zeroinitializer
  %left = bitcast <{lanes} x i32> %pairs to <{both} x bfloat>
  %right = bitcast <{lanes} x i32> %weights to <{both} x bfloat>
  %result = call <{lanes} x float> @llvm.x86.avx512bf16.dpbf16ps.{bits}(
      <{lanes} x float> %sums, <{both} x bfloat> %left, <{both} x bfloat> %right)
  ret <{lanes} x float> %result
}}
"""


def dot_bfloat16(lanes: int) -> str | None:
    """The dot product of pairs of bfloat16 into ``lanes`` float32 sums; None where no instruction has as many."""
    if lanes not in _DOT_BF16_LANES:
        return None
    return _DOT_BF16.format(lanes=lanes, both=2 * lanes, bits=32 * lanes)
