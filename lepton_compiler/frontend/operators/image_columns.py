"""Col2Im, AffineGrid and DeformConv: where pixels of images come from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.bounded_indices import clamped
from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.convolution import add_channel_bias
from lepton_compiler.frontend.operators.registry import converter, run_time_converter
from lepton_compiler.frontend.run_time_checks import (
    all_of,
    contradicts,
    require_at_most,
    require_declared,
    require_equal,
    require_values,
)


@run_time_converter("Col2Im", inputs=(1,))
def declared_col2im(conversion: Conversion) -> relax.Expr:
    """Col2Im into an image of the declared shape."""
    image = list(conversion.declared_shape()[2:])
    require_declared(conversion, 1, image)
    return _col2im(conversion, image)


@converter("Col2Im")
def col2im(conversion: Conversion) -> relax.Expr:
    """Sums sliding blocks, given as columns, back into an image."""
    return _col2im(conversion, [int(size) for size in conversion.constant(1).reshape(-1)])


def _col2im(conversion: Conversion, image: list[int]) -> relax.Expr:
    columns = conversion.tensor(0)
    batch, rows, positions = shape_of(columns)
    axes = len(image)
    block = _block_shape(conversion, image)
    dilations = conversion.attribute("dilations", [1] * axes)
    strides = conversion.attribute("strides", [1] * axes)
    pads = conversion.attribute("pads", [0] * (2 * axes))
    counts = [
        (image[i] + pads[i] + pads[axes + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1 for i in range(axes)
    ]
    channels = rows // math.prod(block)
    require_equal(conversion, "the number of blocks", [positions], [math.prod(counts)])
    require_equal(conversion, "the number of rows", [rows], [channels * math.prod(block)])

    def compute(data: te.Tensor) -> te.Tensor:
        taps = [te.reduce_axis((0, size), f"tap{i}") for i, size in enumerate(block)]

        def element(n: tirx.Var, c: tirx.Var, *place: tirx.Var) -> Any:
            row, column, inside = c, tirx.const(0, "int64"), []
            for i in range(axes):
                distance = place[i] + pads[i] - taps[i] * dilations[i]
                start = tirx.floordiv(distance, strides[i])
                inside += [distance >= 0, tirx.floormod(distance, strides[i]) == 0, start < counts[i]]
                row, column = row * block[i] + taps[i], column * counts[i] + start
            return te.sum(
                tirx.if_then_else(tirx.all(*inside), data(n, row, column), tirx.const(0, data.dtype)), axis=taps
            )

        return te_compute((batch, channels, *image), element, name="col2im")

    return conversion.call_te(compute, columns, name="col2im")


def _block_shape(conversion: Conversion, image: Sequence[int]) -> list[int]:
    """Input 2; where it is known only when the model runs, the one shape that fits the columns, if there is one."""
    if not isinstance(conversion.inputs[2], relax.Expr):
        return [int(size) for size in conversion.constant(2).reshape(-1)]
    _, rows, positions = shape_of(conversion.tensor(0))
    channels = conversion.declared_shape()[1]
    size = rows // channels
    axes = len(image)
    dilations = conversion.attribute("dilations", [1] * axes)
    strides = conversion.attribute("strides", [1] * axes)
    pads = conversion.attribute("pads", [0] * (2 * axes))

    def count(block: Sequence[int]) -> int:
        spans = [
            (image[i] + pads[i] + pads[axes + i] - dilations[i] * (block[i] - 1) - 1) // strides[i] + 1
            for i in range(axes)
        ]
        return math.prod(spans) if min(spans) > 0 else 0

    fitting = [block for block in _factorizations(size, axes) if count(block) == positions]
    if len(fitting) != 1:
        raise ConversionError(
            f"its block shape is known only when the model runs, and {len(fitting)} shapes may be meant"
        )
    require_declared(conversion, 2, fitting[0])
    return fitting[0]


def _factorizations(product: int, factors: int) -> list[list[int]]:
    if factors == 1:
        return [[product]]
    divisors = [d for d in range(1, product + 1) if product % d == 0]
    return [[d, *rest] for d in divisors for rest in _factorizations(product // d, factors - 1)]


@run_time_converter("AffineGrid", inputs=(1,))
def declared_affine_grid(conversion: Conversion) -> relax.Expr:
    """AffineGrid of the declared shape."""
    batch, *sizes, _ = conversion.declared_shape()
    size = conversion.tensor(1)
    require_equal(conversion, "the length of input 1", shape_of(size), [len(sizes) + 2])
    require_equal(conversion, "the number of transformations", shape_of(conversion.tensor(0))[:1], [batch])

    def holds(values: Any) -> Any:
        return all_of(values[place] == wanted for place, wanted in ((0, batch), *enumerate(sizes, 2)))

    require_values(conversion, contradicts(1), holds, size)
    return _affine_grid(conversion, sizes)


@converter("AffineGrid")
def affine_grid(conversion: Conversion) -> relax.Expr:
    """Sampling positions from affine transformations: ``theta @ (x, y, [z,] 1)`` for every pixel."""
    batch, _, *sizes = (int(size) for size in conversion.constant(1).reshape(-1))
    require_equal(conversion, "the number of transformations", shape_of(conversion.tensor(0))[:1], [batch])
    return _affine_grid(conversion, sizes)


def _affine_grid(conversion: Conversion, sizes: list[int]) -> relax.Expr:
    theta = conversion.tensor(0)
    corners = bool(conversion.attribute("align_corners", 0))
    dtype = dtype_of(theta)
    axes = len(sizes)

    def coordinate(index: tirx.Var, size: int) -> tirx.Expr:
        steps = max(size - 1, 1) if corners else size
        first = -1.0 if corners else -1.0 + 1.0 / size
        return tirx.Cast(dtype, index) * tirx.const(2.0 / steps, dtype) + tirx.const(first, dtype)

    def compute(matrix: te.Tensor) -> te.Tensor:
        def element(n: tirx.Var, *i: tirx.Var) -> tirx.Expr:
            *place, row = i
            result = matrix(n, row, axes)
            # The last axis of the image is x.
            for column, (index, size) in enumerate(zip(reversed(place), reversed(sizes), strict=True)):
                result = result + matrix(n, row, column) * coordinate(index, size)
            return result

        return te_compute((matrix.shape[0], *sizes, axes), element, name="affine_grid")

    return conversion.call_te(compute, theta, name="affine_grid")


@converter("DeformConv")
def deform_conv(conversion: Conversion) -> relax.Expr:
    """Convolution whose taps are moved by an offset each and weighted by a mask (two spatial axes)."""
    x, weight, offset = (conversion.tensor(i) for i in (0, 1, 2))
    if rank_of(x) != 4:
        raise ConversionError("deformable convolution of other than two spatial axes can't be compiled")
    strides = conversion.attribute("strides", [1, 1])
    dilations = conversion.attribute("dilations", [1, 1])
    pads = conversion.attribute("pads", [0, 0, 0, 0])
    groups, offset_groups = conversion.attribute("group", 1), conversion.attribute("offset_group", 1)
    mask = [conversion.tensor(4)] if conversion.has(4) else []
    require_equal(conversion, "the channels of the input", [shape_of(x)[1]], [shape_of(weight)[1] * groups])
    taps = math.prod(shape_of(weight)[2:]) * offset_groups
    batch, _, *places = shape_of(offset)
    wanted = [shape_of(x)[0], 2 * taps, *places]
    require_equal(conversion, "the shape of the offsets", shape_of(offset), wanted)
    for tensor in mask:
        require_equal(conversion, "the shape of the mask", shape_of(tensor), [batch, taps, *places])

    def compute(data: te.Tensor, kernel: te.Tensor, moves: te.Tensor, *masks: te.Tensor) -> te.Tensor:
        columns = _deformed_taps(data, moves, masks, kernel.shape[2:], strides, dilations, pads, offset_groups)
        c, kh, kw = (te.reduce_axis((0, size), name) for size, name in zip(kernel.shape[1:], "cyx", strict=True))
        per_group = kernel.shape[0] // groups

        def element(n: tirx.Var, o: tirx.Var, y: tirx.Var, z: tirx.Var) -> Any:
            channel = o // per_group * kernel.shape[1] + c
            return te.sum(columns(n, channel, kh, kw, y, z) * kernel(o, c, kh, kw), axis=[c, kh, kw])

        shape = (data.shape[0], kernel.shape[0], moves.shape[2], moves.shape[3])
        return te_compute(shape, element, name="deform_conv")

    result = conversion.call_te(compute, x, weight, offset, *mask, name="deform_conv")
    return add_channel_bias(conversion, result, 3)


def _deformed_taps(
    data: te.Tensor,
    moves: te.Tensor,
    masks: Sequence[te.Tensor],
    kernel: Sequence[tirx.Expr],
    strides: Sequence[int],
    dilations: Sequence[int],
    pads: Sequence[int],
    offset_groups: int,
) -> te.Tensor:
    """``taps[n, c, kh, kw, y, x]``: the input where each tap of the kernel reads it, between pixels bilinearly."""
    batch, channels, *_ = data.shape
    kernel_h, kernel_w = kernel
    per_group = channels // offset_groups

    def tap(n: tirx.Var, c: tirx.Var, kh: tirx.Var, kw: tirx.Var, y: tirx.Var, x: tirx.Var) -> tirx.Expr:
        number = c // per_group * (kernel_h * kernel_w) + kh * kernel_w + kw
        row = tirx.Cast(data.dtype, y * strides[0] - pads[0] + kh * dilations[0]) + moves(n, number * 2, y, x)
        column = tirx.Cast(data.dtype, x * strides[1] - pads[1] + kw * dilations[1]) + moves(n, number * 2 + 1, y, x)
        value = _bilinear(data, n, c, row, column)
        return value * masks[0](n, number, y, x) if masks else value

    shape = (batch, channels, kernel_h, kernel_w, moves.shape[2], moves.shape[3])
    return te_compute(shape, tap, name="deformed_taps", tag=topi.tag.INJECTIVE)


def _bilinear(data: te.Tensor, n: tirx.Var, c: tirx.Var, row: tirx.Expr, column: tirx.Expr) -> tirx.Expr:
    """The four neighbours, weighted by their distance; those outside of the image count as 0."""
    total = tirx.const(0.0, data.dtype)
    one = tirx.const(1.0, data.dtype)
    for down in (0, 1):
        for right in (0, 1):
            y, x = (
                tirx.floor(row) + tirx.const(float(down), data.dtype),
                tirx.floor(column) + tirx.const(float(right), data.dtype),
            )
            weight = (one - tirx.abs(row - y)) * (one - tirx.abs(column - x))
            place = [tirx.Cast("int64", y), tirx.Cast("int64", x)]
            inside = [tirx.all(p >= 0, p < size) for p, size in zip(place, data.shape[2:], strict=True)]
            total = total + tirx.if_then_else(
                tirx.all(*inside), data(n, c, *place) * weight, tirx.const(0.0, data.dtype)
            )
    return total


@converter("TensorScatter")
def tensor_scatter(conversion: Conversion) -> relax.Expr:
    """A cache with new entries written from a place on that each example gives, around its end if circular."""
    cache, update = conversion.tensor(0), conversion.tensor(1)
    axis = conversion.attribute("axis", -2) % rank_of(cache)
    have, want = shape_of(update), shape_of(cache)
    require_at_most(conversion, "the update", have[axis : axis + 1], want[axis : axis + 1])
    require_equal(conversion, "the shape of the update", have, [*want[:axis], have[axis], *want[axis + 1 :]])
    if conversion.has(2):
        require_equal(conversion, "the number of places", shape_of(conversion.tensor(2)), want[:1])
    circular = conversion.attribute("mode", "linear") == "circular"
    starts = conversion.tensor(2) if conversion.has(2) else conversion.as_tensor(np.zeros(1, np.int64))
    first_only = not conversion.has(2)

    def compute(old: te.Tensor, new: te.Tensor, places: te.Tensor) -> te.Tensor:
        size, count = old.shape[axis], new.shape[axis]
        wide = tirx.Cast("int64", size)

        def element(*i: tirx.Var) -> tirx.Expr:
            # Without the clamp, the difference could overflow; what starts beyond the cache writes nothing.
            start = places(0 if first_only else i[0])
            start = tirx.floormod(tirx.Cast("int64", start), wide) if circular else clamped(start, -count, size)
            distance = tirx.Cast("int64", i[axis]) - start
            if circular:
                distance = tirx.floormod(distance, wide)
            written = tirx.all(distance >= 0, distance < count)
            return tirx.if_then_else(written, new(*i[:axis], distance, *i[axis + 1 :]), old(*i))

        return te_compute(old.shape, element, name="tensor_scatter", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, cache, update, starts, name="tensor_scatter")
