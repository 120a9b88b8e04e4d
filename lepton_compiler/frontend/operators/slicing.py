"""Parts of tensors: Slice, Split, Concat, Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import require_equal
from lepton_compiler.frontend.shape_values import simplify


@converter("Slice")
def slice_tensor(conversion: Conversion) -> relax.Expr:
    """Every ``step``-th element from ``start`` to ``end`` along some axes, with Python's negative indices."""
    x = conversion.tensor(0)
    shape = shape_of(x)
    starts, ends, axes, steps = _slice_arguments(conversion, len(shape))
    begin: list[Size] = [0] * len(shape)
    sizes, stride = list(shape), [1] * len(shape)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        begin[axis], sizes[axis] = _range(start, end, step, shape[axis])
        stride[axis] = step
    if all(b is a or (isinstance(a, int) and a == b) for a, b in zip(shape, sizes, strict=True)) and set(stride) == {1}:
        return x
    if all(isinstance(value, int) for value in (*begin, *sizes, *shape)) and min(stride) > 0:
        end = [b + (size - 1) * step + 1 if size else b for b, size, step in zip(begin, sizes, stride, strict=True)]
        cut = [axis for axis in range(len(shape)) if stride[axis] != 1 or sizes[axis] != shape[axis]]
        return relax.op.strided_slice(
            x, cut, [begin[a] for a in cut], [end[a] for a in cut], [stride[a] for a in cut], assume_inbound=True
        )
    return _gathered_slice(conversion, x, begin, sizes, stride)


def _slice_arguments(conversion: Conversion, rank: int) -> tuple[list[Size], list[Size], list[int], list[int]]:
    if conversion.opset < 10:
        starts, ends = conversion.attribute("starts"), conversion.attribute("ends")
        axes = conversion.attribute("axes", list(range(len(starts))))
        return starts, ends, [axis % rank for axis in axes], [1] * len(starts)
    starts, ends = conversion.sizes(1), conversion.sizes(2)
    axes = conversion.constant(3).reshape(-1).tolist() if conversion.has(3) else list(range(len(starts)))
    steps = conversion.constant(4).reshape(-1).tolist() if conversion.has(4) else [1] * len(starts)
    return starts, ends, [axis % rank for axis in axes], steps


def _range(start: Size, end: Size, step: int, size: Size) -> tuple[Size, Size]:
    """First index and number of elements of a slice along an axis of ``size`` elements."""
    if isinstance(size, int) and isinstance(start, int) and isinstance(end, int):
        chosen = range(*slice(start, None if step < 0 and end < -size else end, step).indices(size))
        return (chosen.start if len(chosen) else 0), len(chosen)
    low, high = (0, size) if step > 0 else (-1, size - 1)
    first = _limited(_from_back(start, size), low, high)
    last = _limited(_from_back(end, size), low, high)
    span = last - first if step > 0 else first - last
    count = simplify(tirx.max(tirx.floordiv(span + (abs(step) - 1), abs(step)), 0))
    return simplify(first), count


def _from_back(index: Size, size: Size) -> Size:
    if isinstance(index, int):
        # Exporters write a huge number for "to the end".
        if index >= np.iinfo(np.int32).max:
            return size
        return size + index if index < 0 else index
    negative = simplify(index < 0)
    if isinstance(negative, int | bool):
        return size + index if negative else index
    return tirx.Select(negative, index + size, index)


def _limited(index: Size, low: Size, high: Size) -> Size:
    return simplify(tirx.min(tirx.max(tirx.convert(index), tirx.convert(low)), tirx.convert(high)))


def _gathered_slice(
    conversion: Conversion, x: relax.Expr, begin: Sequence[Size], sizes: Sequence[Size], stride: Sequence[int]
) -> relax.Expr:
    def compute(data: te.Tensor, first: list[Any], shape: list[Any]) -> te.Tensor:
        return te_compute(
            shape,
            lambda *i: data(*(b + axis * step for b, axis, step in zip(first, i, stride, strict=True))),
            name="slice",
        )

    return conversion.call_te(compute, x, list(begin), list(sizes), name="slice")


@converter("Split")
def split(conversion: Conversion) -> list[relax.Expr]:
    """Parts along an axis: of given sizes, or equal ones of which the last may be smaller."""
    x = conversion.tensor(0)
    axis = conversion.attribute("axis", 0) % rank_of(x)
    size = shape_of(x)[axis]
    parts = len(conversion.output_names)
    sizes = conversion.attribute("split", None)
    if sizes is None and conversion.has(1):
        sizes = conversion.sizes(1)
    if sizes is None:
        if not isinstance(size, int):
            raise ConversionError(f"axis {axis} has the symbolic size {size} and no sizes to split it into are given")
        each = -(-size // parts)
        sizes = [each] * (parts - 1) + [size - each * (parts - 1)]
    if len(sizes) != parts:
        raise ConversionError(f"it has {parts} outputs, and sizes for {len(sizes)}")
    require_equal(conversion, f"the sum of the sizes that axis {axis} is split into", [sum(sizes)], [size])
    if parts == 1:
        return [x]
    points = np.cumsum(np.array(sizes[:-1], object)).tolist()
    if 0 in sizes or not all(isinstance(point, int) for point in points):
        return [_part(conversion, x, axis, start, count) for start, count in zip([0, *points], sizes, strict=True)]
    whole = conversion.emit(relax.op.split(x, points, axis))
    return [relax.TupleGetItem(whole, i) for i in range(parts)]


def _part(conversion: Conversion, x: relax.Expr, axis: int, start: Size, count: Size) -> relax.Expr:
    begin: list[Size] = [0] * rank_of(x)
    sizes = shape_of(x)
    begin[axis], sizes[axis] = start, count
    return _gathered_slice(conversion, x, begin, sizes, [1] * len(sizes))


@converter("Concat")
def concat(conversion: Conversion) -> relax.Expr:
    """Tensors behind each other along an axis."""
    tensors = conversion.tensors()
    axis = conversion.attribute("axis", 1) % rank_of(tensors[0])
    parts = [tensor for tensor in tensors if shape_of(tensor)[axis] != 0] or tensors[:1]
    if len(parts) == 1:
        return parts[0]
    common = [_common_size(parts, other) for other in range(rank_of(parts[0]))]
    aligned = [
        conversion.with_shape(part, [*common[:axis], shape_of(part)[axis], *common[axis + 1 :]]) for part in parts
    ]
    return relax.op.concat(aligned, axis)


def _common_size(parts: Sequence[relax.Expr], axis: int) -> Size:
    sizes = [shape_of(part)[axis] for part in parts]
    return next((size for size in sizes if isinstance(size, int)), sizes[0])


@converter("Pad")
def pad(conversion: Conversion) -> relax.Expr:
    """Elements added around, or cut off where the padding is negative."""
    x = conversion.tensor(0)
    rank = rank_of(x)
    before, after = _pads(conversion, rank)
    mode = conversion.attribute("mode", "constant")
    shape = [simplify(b + size + a) for b, size, a in zip(before, shape_of(x), after, strict=True)]
    if mode == "constant":
        return _constant_pad(conversion, x, before, after, shape)
    if mode not in ("reflect", "edge", "wrap"):
        raise ConversionError(f'unknown padding mode "{mode}"')

    def compute(data: te.Tensor, first: list[Any], sizes: list[Any]) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            axes = zip(i, first, data.shape, strict=True)
            return data(*(_source(mode, axis - begin, size) for axis, begin, size in axes))

        return te_compute(sizes, element, name=f"pad_{mode}")

    return conversion.call_te(compute, x, before, shape, name=f"pad_{mode}")


def _source(mode: str, index: Any, size: Any) -> Any:
    """The index inside of an axis that a padded position takes its value from."""
    if mode == "edge":
        return tirx.min(tirx.max(index, 0), size - 1)
    if mode == "wrap":
        return tirx.floormod(index, size)
    # Reflection repeats after there and back, without the ends twice.
    period = tirx.max(2 * size - 2, 1)
    place = tirx.floormod(index, period)
    return tirx.min(place, period - place) if not (isinstance(size, int) and size == 1) else 0


def _pads(conversion: Conversion, rank: int) -> tuple[list[Size], list[Size]]:
    if conversion.opset < 11:
        pads = list(conversion.attribute("pads", None) or conversion.attribute("paddings"))
    else:
        pads = conversion.sizes(1)
    axes = list(range(rank))
    if conversion.has(3):
        axes = [int(axis) % rank for axis in conversion.constant(3).reshape(-1)]
    before: list[Size] = [0] * rank
    after: list[Size] = [0] * rank
    for i, axis in enumerate(axes):
        before[axis], after[axis] = pads[i], pads[len(axes) + i]
    return before, after


def _constant_pad(
    conversion: Conversion, x: relax.Expr, before: list[Size], after: list[Size], shape: list[Size]
) -> relax.Expr:
    sizes = (*before, *after)
    fixed = all(isinstance(size, int) and size >= 0 for size in sizes)
    value = conversion.inputs[2] if conversion.opset >= 11 and conversion.has(2) else None
    if value is None:
        value = np.asarray(conversion.attribute("value", 0.0))
    if fixed and isinstance(value, np.ndarray) and dtype_of(x) == "float32":
        number = float(value.reshape(-1)[0])
        widths = [width for pair in zip(before, after, strict=True) for width in pair]
        return relax.op.nn.pad(x, widths, pad_value=number) if any(widths) else x
    filler = conversion.as_tensor(value.astype(dtype_of(x)) if isinstance(value, np.ndarray) else value)

    def compute(data: te.Tensor, fill: te.Tensor, first: list[Any], extent: list[Any]) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            place = [axis - begin for axis, begin in zip(i, first, strict=True)]
            inside = [tirx.all(p >= 0, p < size) for p, size in zip(place, data.shape, strict=True)]
            outside = fill(*(0,) * len(fill.shape))
            return tirx.if_then_else(tirx.all(*inside), data(*place), outside) if place else data()

        return te_compute(extent, element, name="pad", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, filler, before, shape, name="pad")
