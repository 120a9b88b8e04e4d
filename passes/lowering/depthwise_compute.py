"""What a depthwise convolution computes, laid out for ``targets/cpu/depthwise_convolution.py``.

    planes[n, c, h, w]      input with its border
    sums[n, o, h, w]        sum over kh, kw of planes[n, o // m, h * stride + kh, w * stride + kw] * weight[o, kh, kw]
    output[n, o, h, w]      sums[n, o, h, w]

``w`` of ``sums`` is filled up to whole vectors, for which ``planes`` has enough columns. ``m`` is the channel
multiplier.
"""

from __future__ import annotations

from tvm import te, tirx

from lepton_compiler.core.tensor_expressions import te_compute, te_sum
from lepton_compiler.passes.lowering.convolution_computes import Window


def depthwise_convolution(data: te.Tensor, weight: te.Tensor, window: Window, lanes: int) -> te.Tensor:
    """Depthwise convolution over one or more spatial axes; the last one is vectorised.

    Args:
        data: ``[batch, channels, *spatial]``.
        weight: ``[channels * multiplier, *kernel]``.
        window: How the kernel moves; no input dilation.
        lanes: Vector lanes, to which the width of the sums is filled up.

    Returns:
        ``[batch, channels * multiplier, *output]``.
    """
    multiplier = int(weight.shape[0]) // int(data.shape[1])
    output = [window.output_size(i, size) for i, size in enumerate(data.shape[2:])]
    width = (output[-1] + lanes - 1) // lanes * lanes
    planes = _planes(data, window, width)
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(window.kernel)]

    def sums(n: tirx.Var, o: tirx.Var, *place: tirx.Var) -> tirx.Expr:
        at = [position * window.strides[i] + taps[i] * window.dilation[i] for i, position in enumerate(place)]
        return te_sum(planes(n, o // multiplier, *at) * weight(o, *taps), axis=taps)

    attrs = {"lepton.anchor": "depthwise_convolution", "lepton.stride": window.strides[-1]}
    shape = (data.shape[0], weight.shape[0], *output[:-1])
    accumulated = te_compute((*shape, width), sums, name="depthwise", attrs=attrs)
    return te_compute((*shape, output[-1]), lambda *index: accumulated(*index), name="depthwise_output")


def _planes(data: te.Tensor, window: Window, width: tirx.Expr) -> te.Tensor:
    """The bordered input; its width is a multiple of the stride and enough for ``width`` outputs."""
    last = len(window.kernel) - 1
    stride = window.strides[last]
    reach = (window.kernel[last] - 1) * window.dilation[last]
    rows = [window.bordered_size(i, data.shape[2 + i]) for i in range(last)]

    def value(n: tirx.Var, c: tirx.Var, *place: tirx.Var) -> tirx.Expr:
        offsets = [position - window.padding_before[i] for i, position in enumerate(place)]
        inside = []
        for i, offset in enumerate(offsets):
            if window.padding_before[i]:
                inside.append(offset >= 0)
            if window.padding_after[i] or i == last:
                inside.append(offset < data.shape[2 + i])
        return tirx.if_then_else(tirx.all(*inside), data(n, c, *offsets), tirx.const(0, data.dtype))

    return te_compute((*data.shape[:2], *rows, (width + reach // stride) * stride), value, name="planes")
