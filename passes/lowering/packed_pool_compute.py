"""What a maximum pool over packed activations computes, laid out for ``targets/cpu/packed_depthwise.py``.

    bordered[n, cb, y, x, v]    the input with minus infinity around it
    maxima[n, cb, h, w, v]      max over kh, kw of bordered[n, cb, h * s + kh, w * s + kw, v]

A pool is a depthwise convolution whose products are the elements and whose sums are maxima.
"""

from __future__ import annotations

from tvm import te, tirx

from lepton_compiler.core.tensor_expressions import te_compute, te_max
from lepton_compiler.passes.lowering.convolution_computes import Window, with_border


def packed_max_pool(data: te.Tensor, window: Window) -> te.Tensor:
    """Maximum pool of a packed activation.

    Args:
        data: ``[batch, blocks, *spatial, v]``.
        window: How the window moves.

    Returns:
        ``[batch, blocks, *output, v]``.
    """
    bordered = with_border(data, window, trailing=1, border=te.min_value(data.dtype))
    output = tuple(window.output_size(i, size) for i, size in enumerate(data.shape[2:-1]))
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(window.kernel)]

    def maximum(n: tirx.Var, block: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, lane = index
        at = [position * window.strides[i] + taps[i] * window.dilation[i] for i, position in enumerate(place)]
        return te_max(bordered(n, block, *at, lane), axis=taps)

    shape = (*data.shape[:2], *output, data.shape[-1])
    maxima = te_compute(shape, maximum, name="pool_max", attrs={"lepton.anchor": "packed_depthwise"})
    return te_compute(shape, lambda *index: maxima(*index), name="pool_output")
