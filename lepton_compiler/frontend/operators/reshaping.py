"""Operators that move no data or only repeat it: Reshape, Flatten, Squeeze, Unsqueeze, Transpose, Expand, Tile..."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import (
    Conversion,
    ConversionError,
    Size,
    Value,
    dtype_of,
    rank_of,
    shape_of,
    tensor_constant,
)
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import reshaped
from lepton_compiler.frontend.shape_values import same_size, simplify


@converter("Identity")
def identity(conversion: Conversion) -> Value | None:
    """``x`` itself; no binding is made."""
    return conversion.inputs[0]


@converter("Dropout")
def dropout(conversion: Conversion) -> list[Value | relax.Expr | None]:
    """``x`` itself, as it is outside of training; the mask keeps everything."""
    if len(conversion.inputs) > 2 and conversion.has(2) and bool(conversion.constant(2).reshape(-1)[0]):
        ratio = conversion.constant(1, np.asarray(0.5))
        if float(np.asarray(ratio).reshape(-1)[0]) != 0.0:
            raise ConversionError("dropout in training mode drops elements at random")
    results: list[Value | relax.Expr | None] = [conversion.inputs[0]]
    if conversion.wants(1):
        x = conversion.tensor(0)
        dtype = "bool" if conversion.opset >= 10 else dtype_of(x)
        results.append(conversion.filled(shape_of(x), 1, dtype))
    return results


@converter("Reshape")
def reshape(conversion: Conversion) -> relax.Expr:
    """The same elements in another shape; 0 keeps a size, -1 is what remains."""
    x = conversion.tensor(0)
    target = list(conversion.attribute("shape")) if conversion.opset < 5 else conversion.sizes(1)
    old = shape_of(x)
    if not conversion.attribute("allowzero", 0):
        target = [old[i] if _is(size, 0) else size for i, size in enumerate(target)]
    return reshaped(conversion, x, _complete(old, target))


def _is(size: Size, value: int) -> bool:
    return isinstance(size, int) and size == value


def _complete(old: list[Size], new: list[Size]) -> list[Size]:
    """``new`` with its -1 replaced by the size that keeps the number of elements."""
    open_axes = [axis for axis, size in enumerate(new) if _is(size, -1)]
    if not open_axes:
        return new
    rest = [size for size in new if not _is(size, -1)]
    # Sizes that stand on both sides cancel, so that a quotient of products stays a plain symbol.
    numerator = list(old)
    denominator = []
    for size in rest:
        match = next((i for i, other in enumerate(numerator) if same_size(size, other)), None)
        if match is None:
            denominator.append(size)
        else:
            numerator.pop(match)
    top, bottom = math.prod(numerator), math.prod(denominator)
    if isinstance(bottom, int) and bottom == 0:
        size: Size = 0
    elif isinstance(top, int) and isinstance(bottom, int):
        size = top // bottom
    else:
        size = simplify(tirx.floordiv(top, bottom)) if not _is(bottom, 1) else simplify(top)
    return [size if axis == open_axes[0] else other for axis, other in enumerate(new)]


@converter("Flatten")
def flatten(conversion: Conversion) -> relax.Expr:
    """A matrix: the axes before ``axis``, and those from it on."""
    x = conversion.tensor(0)
    shape = shape_of(x)
    axis = conversion.attribute("axis", 1)
    axis = axis + len(shape) if axis < 0 else axis
    return relax.op.reshape(x, [math.prod(shape[:axis]), math.prod(shape[axis:])])


@converter("Squeeze")
def squeeze(conversion: Conversion) -> relax.Expr:
    """Axes of size 1 removed."""
    x = conversion.tensor(0)
    shape = shape_of(x)
    axes = _axes(conversion, len(shape))
    if axes is None:
        axes = [axis for axis, size in enumerate(shape) if _is(size, 1)]
    wrong = [axis for axis in axes if isinstance(shape[axis], int) and shape[axis] != 1]
    if wrong:
        raise ConversionError(f"axis {wrong[0]} has size {shape[wrong[0]]}; only axes of size 1 can be removed")
    return reshaped(conversion, x, [size for axis, size in enumerate(shape) if axis not in axes])


@converter("Unsqueeze")
def unsqueeze(conversion: Conversion) -> relax.Expr:
    """Axes of size 1 inserted."""
    x = conversion.tensor(0)
    shape = shape_of(x)
    given = conversion.attribute("axes", None)
    given = conversion.constant(1).reshape(-1).tolist() if given is None else given
    rank = len(shape) + len(given)
    axes = {axis % rank for axis in given}
    sizes = iter(shape)
    return relax.op.reshape(x, [1 if axis in axes else next(sizes) for axis in range(rank)])


def _axes(conversion: Conversion, rank: int) -> list[int] | None:
    given = conversion.attribute("axes", None)
    if given is None and conversion.has(1):
        given = conversion.constant(1).reshape(-1).tolist()
    return None if given is None else [int(axis) % rank for axis in given]


@converter("Transpose")
def transpose(conversion: Conversion) -> Value | relax.Expr | None:
    """Axes in another order; reversed where none is given."""
    x = conversion.tensor(0)
    axes = conversion.attribute("perm", list(reversed(range(rank_of(x)))))
    return x if axes == sorted(axes) else relax.op.permute_dims(x, axes)


@converter("Expand")
def expand(conversion: Conversion) -> relax.Expr:
    """Broadcast to a shape; sizes of 1 in either give way to the other."""
    x = conversion.tensor(0)
    old, new = shape_of(x), conversion.sizes(1)
    rank = max(len(old), len(new))
    old = [1] * (rank - len(old)) + old
    new = [1] * (rank - len(new)) + new
    target = [_wider(conversion, a, b) for a, b in zip(old, new, strict=True)]
    if len(old) == rank_of(x) and all(same_size(a, b) for a, b in zip(old, target, strict=True)):
        return x
    return relax.op.broadcast_to(x, target)


def _wider(conversion: Conversion, have: Size, want: Size) -> Size:
    if _is(want, 1) or _is(want, -1) or same_size(have, want):
        return have
    if _is(have, 1):
        return want
    raise ConversionError(f"size {have} can't be broadcast to {want}")


@converter("Tile")
def tile(conversion: Conversion) -> relax.Expr:
    """The tensor repeated along its axes."""
    x = conversion.tensor(0)
    if conversion.opset < 6:
        repeats: list[Size] = [1] * rank_of(x)
        repeats[int(conversion.constant(2))] = int(conversion.constant(1))
    else:
        repeats = conversion.sizes(1)
    shape = [simplify(size * count) for size, count in zip(shape_of(x), repeats, strict=True)]

    def compute(data: te.Tensor, sizes: list[Size]) -> te.Tensor:
        return te_compute(
            sizes,
            lambda *i: data(*(tirx.floormod(axis, size) for axis, size in zip(i, data.shape, strict=True))),
            name="tile",
        )

    return x if all(_is(count, 1) for count in repeats) else conversion.call_te(compute, x, shape, name="tile")


@converter("ConstantOfShape")
def constant_of_shape(conversion: Conversion) -> relax.Expr:
    """A tensor of one value, whose shape follows from the inputs' shapes."""
    value = conversion.attribute("value", np.zeros(1, np.float32)).reshape(-1)[0]
    return conversion.filled(conversion.sizes(0), value.item(), str(value.dtype))


@converter("Range")
def value_range(conversion: Conversion) -> relax.Expr:
    """``start, start + delta, ...`` below ``limit``; its length follows from the inputs' shapes."""
    start, limit, delta = (conversion.sizes(i)[0] for i in range(3))
    dtype = conversion.element_type(0)
    if not dtype.startswith("int") or not isinstance(delta, int):
        raise ConversionError("a range with symbolic bounds must be of integers with a constant step")
    span = limit - start if delta > 0 else start - limit
    length = simplify(tirx.max(tirx.floordiv(span + (abs(delta) - 1), abs(delta)), 0))

    def compute(first: tirx.Expr, count: tirx.Expr) -> te.Tensor:
        return te_compute((count,), lambda i: (first + i * delta).astype(dtype), name="range")

    return conversion.call_te(compute, tirx.convert(start) if isinstance(start, int) else start, length, name="range")


@converter("EyeLike")
def eye_like(conversion: Conversion) -> relax.Expr:
    """Ones on a diagonal, in the shape of the input."""
    x = conversion.tensor(0)
    offset = conversion.attribute("k", 0)
    dtype = conversion.target_dtype("dtype") if "dtype" in conversion.attributes else dtype_of(x)

    def compute(data: te.Tensor) -> te.Tensor:
        return te_compute(data.shape, lambda i, j: (j - i == offset).astype(dtype), name="eye")

    return conversion.call_te(compute, x, name="eye")


@converter("Trilu")
def triangle(conversion: Conversion) -> relax.Expr:
    """The upper or lower triangle of the last two axes; zeros elsewhere."""
    x = conversion.tensor(0)
    upper = bool(conversion.attribute("upper", 1))
    offset = conversion.tensor(1) if conversion.has(1) else tensor_constant(np.zeros((), np.int64))

    def compute(data: te.Tensor, diagonal: te.Tensor) -> te.Tensor:
        place = (0,) * len(diagonal.shape)

        def element(*i: tirx.Var) -> tirx.Expr:
            distance = i[-1].astype("int64") - i[-2].astype("int64") - diagonal(*place)
            kept = distance >= 0 if upper else distance <= 0
            return tirx.Select(kept, data(*i), tirx.const(0, data.dtype))

        return te_compute(data.shape, element, name="triangle")

    return conversion.call_te(compute, x, offset, name="triangle")


@converter("DepthToSpace")
def depth_to_space(conversion: Conversion) -> relax.Expr:
    """Blocks of channels become blocks of pixels."""
    x = conversion.tensor(0)
    n, channels, height, width = shape_of(x)
    block = conversion.attribute("blocksize")
    depth = channels // (block * block)
    if conversion.attribute("mode", "DCR") == "DCR":
        blocks, order = [n, block, block, depth, height, width], [0, 3, 4, 1, 5, 2]
    else:
        blocks, order = [n, depth, block, block, height, width], [0, 1, 4, 2, 5, 3]
    moved = relax.op.permute_dims(reshaped(conversion, x, blocks), order)
    return relax.op.reshape(moved, [n, depth, height * block, width * block])


@converter("SpaceToDepth")
def space_to_depth(conversion: Conversion) -> relax.Expr:
    """Blocks of pixels become blocks of channels."""
    x = conversion.tensor(0)
    n, channels, height, width = shape_of(x)
    block = conversion.attribute("blocksize")
    rows, columns = _divided(height, block), _divided(width, block)
    blocks = reshaped(conversion, x, [n, channels, rows, block, columns, block])
    order = [0, 3, 5, 1, 2, 4] if conversion.attribute("mode", "DCR") == "DCR" else [0, 1, 3, 5, 2, 4]
    moved = relax.op.permute_dims(blocks, order)
    return relax.op.reshape(moved, [n, channels * block * block, rows, columns])


def _divided(size: Size, divisor: int) -> Size:
    return size // divisor if isinstance(size, int) else simplify(tirx.floordiv(size, divisor))
