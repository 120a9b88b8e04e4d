"""What convolutions over packed activations compute, laid out for ``targets/cpu/packed_convolution.py``.

A packed activation ``[n, C/v, *spatial, v]`` keeps the ``v`` channels of one vector together. With ``g = gcd(C, v)``:

    padded[n, cb, h, w, ci]     input with its border (stage left out where there is none)
    sums[n, ob, h, w, lane]     sum over c / g, kh, kw, c % g of padded[n, c / v, y, x, c % v] * w[ob, c, kh, kw, lane]
    output[n, ob, h, w, lane]   sums

Channels that fill up the last block are never summed: their count is no multiple of ``g``. A first layer reads its few
channels from the plain ``[n, c, *spatial]``.

bfloat16 numbers are summed in float32, two channels a step, with weights in pairs: ``[ob, C / 2, *kernel, lane]``. A
first layer takes two neighbours of a row a step: ``[ob, C, ..., ceil(kw / 2), lane]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from tvm import te, tirx

from lepton_compiler.core.tensor_expressions import te_compute, te_sum
from lepton_compiler.passes.lowering.convolution_computes import Window, with_border
from lepton_compiler.passes.lowering.row_major import Size, flatten, unflatten
from lepton_compiler.targets.cpu.bfloat16 import STORED_PAIRS, element_reader, pair_product


def packed_convolution(data: te.Tensor, weight: te.Tensor, window: Window, groups: int) -> te.Tensor:
    """Convolution of a packed activation; ``v`` divides the output channels of a group where there are several.

    Args:
        data: ``[batch, in_blocks, *spatial, v]``, float32 or stored bfloat16.
        weight: ``[out_blocks, in_channels / groups, *kernel, v]``, or ``[out_blocks, in_channels / groups / 2, ...]``
            of pairs of bfloat16.
        window: How the kernel moves.
        groups: Number of groups.

    Returns:
        ``[batch, out_blocks, *output, v]``, float32.
    """
    lanes, in_group = int(data.shape[-1]), int(weight.shape[1]) * (2 if weight.dtype == STORED_PAIRS else 1)
    together = math.gcd(in_group, lanes)
    blocks_in_group = int(weight.shape[0]) // groups

    def read(bordered: te.Tensor, n: tirx.Var, block: tirx.Var, chunk: tirx.Var, at: Sequence, part: tirx.Var):
        channel = chunk * together + (0 if groups == 1 else block // blocks_in_group * in_group)
        return bordered(n, channel // lanes, *at, channel % lanes + part)

    return _convolution(data, weight, window, data.shape[2:-1], together, read, groups)


def first_convolution(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """Convolution of a plain ``[batch, in_channels, *spatial]`` with few channels, into a packed activation.

    Args:
        data: ``[batch, in_channels, *spatial]``, float32 or stored bfloat16.
        weight: ``[out_blocks, in_channels, *kernel, v]``, or pairs of bfloat16 along the last axis of the kernel, which
            is filled up to an even size then.
        window: How the kernel moves; without dilation along the last axis where there are pairs.

    Returns:
        ``[batch, out_blocks, *output, v]``, float32.
    """
    if weight.dtype == STORED_PAIRS:
        return _first_convolution_of_pairs(data, weight, window)

    def read(bordered: te.Tensor, n: tirx.Var, block: tirx.Var, chunk: tirx.Var, at: Sequence, part: tirx.Var):
        return bordered(n, chunk + part, *at)

    return _convolution(data, weight, window, data.shape[2:], 1, read, 1)


def _first_convolution_of_pairs(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    output = tuple(window.output_size(i, size) for i, size in enumerate(data.shape[2:]))
    *before_last, last = window.padding_after
    # The element behind the last one of an odd row of taps is multiplied with zero.
    reach = replace(window, padding_after=(*before_last, last + window.kernel[-1] % 2))
    bordered = with_border(data, reach)
    channel = te.reduce_axis((0, weight.shape[1]), "channel")
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(weight.shape[2:-1])]

    def sums(n: tirx.Var, block: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, lane = index
        steps = (*window.dilation[:-1], 2)
        *at, x = (
            position * stride + tap * step
            for position, stride, tap, step in zip(place, window.strides, taps, steps, strict=True)
        )
        product = pair_product(
            bordered(n, channel, *at, x), bordered(n, channel, *at, x + 1), weight(block, channel, *taps, lane)
        )
        return te_sum(product, axis=[channel, *taps])

    shape = (data.shape[0], weight.shape[0], *output, weight.shape[-1])
    attrs = {"lepton.anchor": "packed_convolution", "lepton.groups": 1}
    accumulated = te_compute(shape, sums, name="convolution", attrs=attrs)
    return te_compute(shape, lambda *index: accumulated(*index), name="convolution_output")


def _convolution(
    data: te.Tensor, weight: te.Tensor, window: Window, spatial: Sequence[Size], together: int, read, groups: int
) -> te.Tensor:
    bordered = with_border(data, window, trailing=len(data.shape) - 2 - len(spatial))
    output = tuple(window.output_size(i, size) for i, size in enumerate(spatial))
    step = 2 if weight.dtype == STORED_PAIRS else 1
    steps = together // step
    chunk = te.reduce_axis((0, int(weight.shape[1]) // steps), "chunk")
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(window.kernel)]
    part = te.reduce_axis((0, steps), "part")

    def sums(n: tirx.Var, block: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, lane = index
        at = [position * window.strides[i] + taps[i] * window.dilation[i] for i, position in enumerate(place)]
        values = [read(bordered, n, block, chunk, at, part * step + i) for i in range(step)]
        factor = weight(block, chunk * steps + part, *taps, lane)
        product = values[0] * factor if step == 1 else pair_product(*values, factor)
        return te_sum(product, axis=[chunk, *taps, part])

    shape = (data.shape[0], weight.shape[0], *output, weight.shape[-1])
    attrs = {"lepton.anchor": "packed_convolution", "lepton.groups": groups}
    if not window.is_pointwise:
        accumulated = te_compute(shape, sums, name="convolution", attrs=attrs)
        return te_compute(shape, lambda *index: accumulated(*index), name="convolution_output")
    # Pixels in one row, so that a register tile may run across the borders of image rows.
    pixels = math.prod(output[1:], start=output[0])
    accumulated = te_compute(
        (data.shape[0], weight.shape[0], pixels, weight.shape[-1]),
        lambda n, block, pixel, lane: sums(n, block, *unflatten(pixel, output), lane),
        name="convolution",
        attrs=attrs,
    )
    return te_compute(
        shape,
        lambda n, block, *index: accumulated(n, block, flatten(index[:-1], output), index[-1]),
        name="convolution_output",
    )


def packed_depthwise(data: te.Tensor, weight: te.Tensor, window: Window) -> te.Tensor:
    """Depthwise convolution of a packed activation.

    Args:
        data: ``[batch, blocks, *spatial, v]``, float32 or stored bfloat16.
        weight: ``[blocks, *kernel, v]``.
        window: How the kernel moves.

    Returns:
        ``[batch, blocks, *output, v]``.
    """
    bordered = with_border(data, window, trailing=1, dtype="float32")
    read = element_reader(bordered)
    output = tuple(window.output_size(i, size) for i, size in enumerate(data.shape[2:-1]))
    taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(window.kernel)]

    def sums(n: tirx.Var, block: tirx.Var, *index: tirx.Var) -> tirx.Expr:
        *place, lane = index
        at = [position * window.strides[i] + taps[i] * window.dilation[i] for i, position in enumerate(place)]
        return te_sum(read(n, block, *at, lane) * weight(block, *taps, lane), axis=taps)

    shape = (*data.shape[:2], *output, weight.shape[-1])
    accumulated = te_compute(shape, sums, name="depthwise", attrs={"lepton.anchor": "packed_depthwise"})
    return te_compute(shape, lambda *index: accumulated(*index), name="depthwise_output")
