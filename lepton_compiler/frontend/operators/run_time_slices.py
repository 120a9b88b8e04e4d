"""Slice, Pad and Trilu whose positions are inputs that are known only when the model runs.

The model declares the result's shape; where its elements come from is computed in the kernel.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.bounded_indices import clamped, is_inside, wrapped
from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import run_time_converter
from lepton_compiler.frontend.operators.run_time_shapes import as_index, scalar_at
from lepton_compiler.frontend.run_time_checks import all_of, contradicts, require_equal, require_values

# More elements than any axis has.
_FARTHEST = 1 << 48


@run_time_converter("Slice", inputs=(1, 2, 3, 4))
def run_time_slice(conversion: Conversion) -> relax.Expr:
    """Elements from ``start`` on along some axes; how many is declared."""
    shape = conversion.declared_shape()
    optional = [conversion.tensor(i) if conversion.has(i) else None for i in (3, 4)]
    given = [tensor for tensor in optional if tensor is not None]
    _require_lengths(conversion, optional)

    def compute(data: te.Tensor, starts: te.Tensor, *rest: te.Tensor) -> te.Tensor:
        tensors = iter(rest)
        axes, steps = (next(tensors) if tensor is not None else None for tensor in optional)

        def element(*i: tirx.Var) -> tirx.Expr:
            return data(*_sliced_place(i, data.shape, starts, axes, steps))

        return te_compute(shape, element, name="slice", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, conversion.tensor(0), conversion.tensor(1), *given, name="slice")


def _require_lengths(conversion: Conversion, optional: Sequence[relax.Expr | None]) -> None:
    """The slices must be as long as the model declares, and axes that are not named as long as they were."""
    new, old = conversion.declared_shape(), shape_of(conversion.tensor(0))
    count = shape_of(conversion.tensor(1))[0]
    require_equal(conversion, "the rank of the result", [len(new)], [len(old)])
    if not isinstance(count, int):
        raise ConversionError("the number of its axes must be known when the model is compiled")

    def holds(starts: Any, ends: Any, *rest: Any) -> Any:
        *tensors, sizes = rest
        given = iter(tensors)
        axes, steps = (next(given) if tensor is not None else None for tensor in optional)
        lengths: list[Any] = list(sizes)
        conditions = []
        for number in range(count):
            step = as_index(steps[number]) if steps is not None else tirx.const(1, "int64")
            named = wrapped(axes[number], len(old)) if axes is not None else tirx.const(number, "int64")
            conditions += [step != 0, is_inside(named, len(old))]
            for axis, size in enumerate(sizes):
                length = _sliced_length(starts[number], ends[number], step, tirx.Cast("int64", size))
                lengths[axis] = tirx.Select(named == axis, length, lengths[axis])
        return all_of([*conditions, *(length == size for length, size in zip(lengths, new, strict=True))])

    given = [tensor for tensor in optional if tensor is not None]
    tensors = [conversion.tensor(1), conversion.tensor(2), *given]
    require_values(conversion, contradicts(1, 2), holds, *tensors, list(old))


def _sliced_length(start: tirx.Expr, end: tirx.Expr, step: tirx.Expr, size: tirx.Expr) -> Any:
    """Number of elements of a slice along an axis of ``size``; a step of 0 counts as 1."""
    back = step < 0
    # A longer step than the axis takes one element as well, and could overflow.
    most = tirx.max(size, tirx.const(1, "int64"))
    stride = tirx.max(tirx.abs(clamped(step, -most, most)), tirx.const(1, "int64"))
    first = clamped(wrapped(start, size), 0, tirx.Select(back, size - 1, size))
    last = clamped(wrapped(end, size), tirx.Select(back, tirx.const(-1, "int64"), tirx.const(0, "int64")),
                   tirx.Select(back, size - 1, size))  # fmt: skip
    span = tirx.Select(back, first - last, last - first)
    return tirx.max(tirx.floordiv(span + stride - 1, stride), tirx.const(0, "int64"))


def _sliced_place(
    index: Sequence[tirx.Var],
    sizes: Sequence[tirx.Expr],
    starts: te.Tensor,
    axes: te.Tensor | None,
    steps: te.Tensor | None,
) -> list[tirx.Expr]:
    place: list[tirx.Expr] = list(index)
    for number in range(int(starts.shape[0])):
        for axis in range(len(sizes)) if axes is not None else [number]:
            size = tirx.Cast("int64", sizes[axis])
            # A step of a whole axis leaves it already; a longer one could overflow.
            step = clamped(steps(number), -size, size) if steps is not None else tirx.const(1, "int64")
            first = clamped(wrapped(starts(number), size), 0, tirx.Select(step < 0, size - 1, size))
            moved = clamped(first + tirx.Cast("int64", index[axis]) * step, 0, size - 1)
            if axes is None:
                place[axis] = moved
                continue
            named = as_index(axes(number))
            hit = tirx.any(named == axis, named == axis - len(sizes))
            place[axis] = tirx.Select(hit, moved, tirx.Cast("int64", place[axis]))
    return place


@run_time_converter("Pad", inputs=(1, 3))
def run_time_pad(conversion: Conversion) -> relax.Expr:
    """Elements around the input, as many in front as the input says."""
    shape = conversion.declared_shape()
    mode = conversion.attribute("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ConversionError(f'unknown padding mode "{mode}"')
    optional = [conversion.tensor(i) if conversion.has(i) else None for i in (2, 3)]
    given = [tensor for tensor in optional if tensor is not None]
    rank = rank_of(conversion.tensor(0))
    _require_padded(conversion, optional[1])

    def compute(data: te.Tensor, pads: te.Tensor, *rest: te.Tensor) -> te.Tensor:
        tensors = iter(rest)
        value, axes = (next(tensors) if tensor is not None else None for tensor in optional)
        before = [_padding_before(pads, axes, axis, rank) for axis in range(rank)]

        def element(*i: tirx.Var) -> tirx.Expr:
            place = [tirx.Cast("int64", index) - begin for index, begin in zip(i, before, strict=True)]
            sizes = [tirx.Cast("int64", size) for size in data.shape]
            if mode != "constant":
                return data(*(_mirrored(mode, p, size) for p, size in zip(place, sizes, strict=True)))
            inside = tirx.all(*(tirx.all(p >= 0, p < size) for p, size in zip(place, sizes, strict=True)))
            outside = scalar_at(value) if value is not None else tirx.const(0, data.dtype)
            return tirx.if_then_else(inside, data(*place), outside)

        return te_compute(shape, element, name=f"pad_{mode}", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, conversion.tensor(0), conversion.tensor(1), *given, name=f"pad_{mode}")


def _require_padded(conversion: Conversion, axes: relax.Expr | None) -> None:
    """What is added to each axis must make it as long as the model declares."""
    new, old = conversion.declared_shape(), shape_of(conversion.tensor(0))
    count = shape_of(axes)[0] if axes is not None else len(old)
    require_equal(conversion, "the rank of the result", [len(new)], [len(old)])
    require_equal(conversion, "the number of pads", shape_of(conversion.tensor(1)), [count * 2])
    if not isinstance(count, int):
        raise ConversionError("the number of its axes must be known when the model is compiled")

    def holds(pads: Any, *rest: Any) -> Any:
        *named, sizes = rest
        lengths: list[Any] = [tirx.Cast("int64", size) for size in sizes]
        conditions = []
        for number in range(count):
            added = _amount(pads[number]) + _amount(pads[number + count])
            place = wrapped(named[0][number], len(old)) if named else tirx.const(number, "int64")
            conditions.append(is_inside(place, len(old)))
            for axis in range(len(old)):
                lengths[axis] = lengths[axis] + tirx.Select(place == axis, added, tirx.const(0, "int64"))
        return all_of([*conditions, *(length == size for length, size in zip(lengths, new, strict=True))])

    given = [axes] if axes is not None else []
    require_values(conversion, contradicts(1), holds, conversion.tensor(1), *given, list(old))


def _padding_before(pads: te.Tensor, axes: te.Tensor | None, axis: int, rank: int) -> Any:
    if axes is None:
        return _amount(pads(axis))
    before: tirx.Expr = tirx.const(0, "int64")
    for number in range(int(axes.shape[0])):
        named = as_index(axes(number))
        before = tirx.Select(tirx.any(named == axis, named == axis - rank), _amount(pads(number)), before)
    return before


def _amount(padding: tirx.Expr) -> tirx.Expr:
    """A number of elements in front of which positions are counted without overflow."""
    return clamped(padding, -_FARTHEST, _FARTHEST)


def _mirrored(mode: str, index: tirx.Expr, size: tirx.Expr) -> Any:
    """The index inside of an axis that a padded position takes its value from."""
    if mode == "edge":
        return clamped(index, 0, size - 1)
    if mode == "wrap":
        return tirx.floormod(index, size)
    period = tirx.max(size * 2 - 2, tirx.const(1, "int64"))
    place = tirx.floormod(index, period)
    return tirx.min(tirx.min(place, period - place), size - 1)


@run_time_converter("Trilu", inputs=(1,))
def run_time_trilu(conversion: Conversion) -> relax.Expr:
    """Upper or lower triangles of matrices; which diagonal they end at is read by the kernel."""
    upper = bool(conversion.attribute("upper", 1))
    x = conversion.tensor(0)
    zero = tirx.const(0, dtype_of(x))

    def compute(data: te.Tensor, diagonal: te.Tensor) -> te.Tensor:
        shift = as_index(scalar_at(diagonal))

        def element(*i: tirx.Var) -> tirx.Expr:
            distance = tirx.Cast("int64", i[-1]) - tirx.Cast("int64", i[-2])
            return tirx.Select(distance >= shift if upper else distance <= shift, data(*i), zero)

        return te_compute(data.shape, element, name="trilu", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, conversion.tensor(1), name="trilu")
