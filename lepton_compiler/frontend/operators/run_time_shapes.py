"""Reshape, Expand, Tile, Squeeze, Split, Range... whose target shape is an input, known only when the model runs.

The model's declared output shape says the result's shape; what else the input decides is read by the kernel. A run
whose input contradicts the declared shape fails.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.bounded_indices import clamped, is_inside, wrapped
from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import find_converter, run_time_converter
from lepton_compiler.frontend.run_time_checks import (
    all_of,
    contradicts,
    require_declared,
    require_equal,
    require_values,
    reshaped,
)


@run_time_converter("Reshape", "Squeeze", "Unsqueeze", inputs=(1,))
def declared_reshape(conversion: Conversion) -> relax.Expr:
    """The same elements in the declared shape."""
    shape = list(conversion.declared_shape())
    x = conversion.tensor(0)
    if conversion.op == "Reshape":
        _require_target(conversion, shape_of(x), shape)
    else:
        _require_axes(conversion, shape_of(x), shape)
    moved = reshaped(conversion, x, shape)
    if 0 in shape:
        # Relax would read the 0 as "keep this size".
        return conversion.call_te(topi.full, shape, dtype_of(x), 0, name="reshape")
    return moved


def _require_target(conversion: Conversion, old: Sequence[Size], new: Sequence[int]) -> None:
    """The target shape names the declared sizes, of which it may leave one open and keep some."""
    keeps = not conversion.attribute("allowzero", 0)
    target = conversion.tensor(1)
    require_equal(conversion, "the length of input 1", [math.prod(shape_of(target))], [len(new)])

    def holds(wanted: Any, sizes: Sequence[Any]) -> Any:
        opened: Any = tirx.const(0, "int64")
        conditions = []
        for i, size in enumerate(new):
            kept = tirx.all(wanted[i] == 0, sizes[i] == size) if keeps and i < len(sizes) else tirx.const(False, "bool")
            opened = opened + tirx.Cast("int64", wanted[i] == -1)
            conditions.append(tirx.any(wanted[i] == size, wanted[i] == -1, kept))
        return all_of([*conditions, opened <= 1])

    require_values(conversion, contradicts(1), holds, target, list(old))


def _require_axes(conversion: Conversion, old: Sequence[Size], new: Sequence[int]) -> None:
    """The axes are one of the sets that lead from the one shape to the other."""
    small, large = (new, old) if conversion.op == "Squeeze" else (old, new)
    count = len(large) - len(small)
    axes = conversion.tensor(1)
    require_equal(conversion, "the number of axes", [math.prod(shape_of(axes))], [count])
    sets = [
        chosen
        for chosen in itertools.combinations(range(len(large)), max(count, 0))
        if _is_without(large, chosen, small)
    ]

    def holds(named: Any) -> Any:
        return names_one_of(named, count, len(large), sets)

    require_values(conversion, contradicts(1), holds, axes)


def _is_without(large: Sequence[Size], axes: Sequence[int], small: Sequence[Size]) -> bool:
    """Whether a shape can be another one without axes of size 1; symbolic sizes can be any."""
    rest = [size for axis, size in enumerate(large) if axis not in axes]
    pairs = [*zip(rest, small, strict=True), *((large[axis], 1) for axis in axes)]
    return all(a == b for a, b in pairs if isinstance(a, int) and isinstance(b, int))


def names_one_of(named: Any, count: int, rank: int, sets: Iterable[Sequence[int]]) -> Any:
    """Whether ``count`` elements are the axes of one of the sets; negative ones count from the end."""
    mask: Any = tirx.const(0, "int64")
    conditions = []
    for i in range(count):
        axis = wrapped(named[i], rank)
        conditions.append(is_inside(axis, rank))
        mask = mask | (tirx.const(1, "int64") << clamped(axis, 0, rank - 1))
    fits: Any = tirx.const(False, "bool")
    for axes in sets:
        fits = tirx.any(fits, mask == tirx.const(sum(1 << axis for axis in axes), "int64"))
    return all_of([*conditions, fits])


@run_time_converter("Expand", inputs=(1,))
def declared_expand(conversion: Conversion) -> relax.Expr:
    """Broadcasts to the declared shape."""
    x, wanted = conversion.tensor(0), conversion.tensor(1)
    new = list(conversion.declared_shape())
    count = math.prod(shape_of(wanted))
    if not isinstance(count, int) or max(count, rank_of(x)) != len(new):
        raise ConversionError(f"a target of {count} sizes contradicts the declared shape {new}")
    tail = new[len(new) - rank_of(x) :]
    x = conversion.with_shape(x, [size if size == 1 else to for size, to in zip(shape_of(x), tail, strict=True)])
    old = [1] * (len(new) - rank_of(x)) + shape_of(x)

    def holds(sizes: Any) -> Any:
        first = len(new) - count
        fits = []
        for i, (have, size) in enumerate(zip(old[first:], new[first:], strict=True)):
            fits.append(sizes[i] == size if have == 1 else tirx.any(sizes[i] == size, sizes[i] == 1))
        return all_of(fits)

    require_values(conversion, contradicts(1), holds, wanted)
    return relax.op.broadcast_to(x, new)


@run_time_converter("Tile", inputs=(1,))
def declared_tile(conversion: Conversion) -> relax.Expr:
    """Repeats the input until the declared shape is full."""
    shape = conversion.declared_shape()
    repeats, old = conversion.tensor(1), shape_of(conversion.tensor(0))
    require_equal(conversion, "the number of repetitions", [math.prod(shape_of(repeats))], [len(old)])

    def holds(counts: Any, sizes: Sequence[Any]) -> Any:
        # The bound keeps the product from overflowing.
        return all_of(
            tirx.all(counts[i] >= 0, tirx.any(counts[i] <= new, sizes[i] == 0), counts[i] * sizes[i] == new)
            for i, new in enumerate(shape)
        )

    require_values(conversion, contradicts(1), holds, repeats, list(old))

    def compute(data: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            return data(*(tirx.floormod(index, size) for index, size in zip(i, data.shape, strict=True)))

        return te_compute(shape, element, name="tile", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, conversion.tensor(0), name="tile")


@run_time_converter("ConstantOfShape", inputs=(0,))
def declared_constant(conversion: Conversion) -> relax.Expr:
    """The declared shape filled with one value."""
    value = conversion.attribute("value", np.zeros(1, np.float32)).reshape(-1)[0]
    shape = list(conversion.declared_shape())
    require_declared(conversion, 0, shape)
    return conversion.call_te(topi.full, shape, str(value.dtype), value.item(), name="constant_of_shape")


@run_time_converter("Range", inputs=(0, 1, 2))
def declared_range(conversion: Conversion) -> relax.Expr:
    """``start``, ``start + delta``, ... as many as are declared."""
    shape = conversion.declared_shape()

    def holds(start: Any, limit: Any, delta: Any) -> Any:
        first, end, step = (tirx.Cast("float64", tensor[0]) for tensor in (start, limit, delta))
        count = tirx.ceil((end - first) / step)
        none = tirx.const(0.0, "float64")
        return tirx.all(step != none, tirx.max(count, none) == tirx.const(float(shape[0]), "float64"))

    require_values(conversion, contradicts(0, 1, 2), holds, *conversion.tensors())

    def compute(start: te.Tensor, delta: te.Tensor) -> te.Tensor:
        first, step = (tensor(*(0,) * len(tensor.shape)) for tensor in (start, delta))
        return te_compute(shape, lambda i: first + tirx.Cast(start.dtype, i) * step, name="range")

    return conversion.call_te(compute, conversion.tensor(0), conversion.tensor(2), name="range")


@run_time_converter("Split", inputs=(1,))
def declared_split(conversion: Conversion) -> list[relax.Expr]:
    """Parts along an axis with the sizes that are declared for the outputs."""
    axis = conversion.attribute("axis", 0)
    sizes = [conversion.declared_shape(i)[axis] for i in range(len(conversion.output_names))]
    require_declared(conversion, 1, sizes)
    return convert_known(conversion, {1: np.array(sizes, np.int64)})


@run_time_converter("CenterCropPad", inputs=(1,))
def declared_center_crop_pad(conversion: Conversion) -> relax.Expr:
    """The middle of every axis, cut or filled with zeros to the declared size."""
    shape = conversion.declared_shape()
    x = conversion.tensor(0)
    require_declared(conversion, 1, [shape[axis] for axis in conversion.attribute("axes", list(range(len(shape))))])
    # Where a difference is odd, cropping and padding both leave the smaller half in front.
    begin = [
        (size - old) // 2 if size >= old else -((old - size) // 2)
        for size, old in zip(shape, shape_of(x), strict=True)
        if _is_number(old)
    ]
    if len(begin) != rank_of(x):
        raise ConversionError("its input's shape must be known when the model is compiled")

    def compute(data: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            place = [index - first for index, first in zip(i, begin, strict=True)]
            inside = [tirx.all(p >= 0, p < size) for p, size in zip(place, data.shape, strict=True)]
            return tirx.if_then_else(tirx.all(*inside), data(*place), tirx.const(0, data.dtype))

        return te_compute(shape, element, name="center_crop_pad", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, name="center_crop_pad")


def _is_number(size: object) -> bool:
    if not isinstance(size, int):
        raise ConversionError("its input's shape must be known when the model is compiled")
    return True


@run_time_converter("OneHot", inputs=(1,))
def declared_one_hot(conversion: Conversion) -> relax.Expr:
    """A new axis of the declared size, "on" where the index is and "off" elsewhere."""
    indices = conversion.tensor(0)
    shape = conversion.declared_shape()
    axis = conversion.attribute("axis", -1) % len(shape)
    require_declared(conversion, 1, [shape[axis]])
    require_equal(conversion, "the number of values", shape_of(conversion.tensor(2)), [2])

    def compute(places: te.Tensor, values: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            wanted = places(*i[:axis], *i[axis + 1 :])
            wanted = as_index(wanted)
            # Negative indices count from the end; what lies outside is nowhere.
            negative = wanted < tirx.const(0, "int64")
            wanted = tirx.Select(negative, wanted + shape[axis], wanted)
            return tirx.Select(wanted == as_index(i[axis]), values(1), values(0))

        return te_compute(shape, element, name="one_hot", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, indices, conversion.tensor(2), name="one_hot")


@run_time_converter("TopK", inputs=(1,))
def declared_top_k(conversion: Conversion) -> list[relax.Expr]:
    """As many of the largest or smallest elements as are declared."""
    count = conversion.declared_shape()[conversion.attribute("axis", -1)]
    require_declared(conversion, 1, [count])
    return convert_known(conversion, {1: np.array([count], np.int64)})


@run_time_converter("MaxUnpool", inputs=(2,))
def declared_max_unpool(conversion: Conversion) -> list[relax.Expr]:
    """Maxima back in their places, in a tensor of the declared shape."""
    require_declared(conversion, 2, conversion.declared_shape())
    return convert_known(conversion, {2: np.array(conversion.declared_shape(), np.int64)})


def convert_known(conversion: Conversion, inputs: dict[int, np.ndarray]) -> list[relax.Expr]:
    """What the ordinary converter gives when some inputs have known values."""
    converter = find_converter("", conversion.op, conversion.opset)
    if converter is None:
        raise ConversionError(f"there is no converter for {conversion.op} with known inputs")
    return converter(conversion.with_inputs(inputs))  # type: ignore[return-value]


def scalar_at(tensor: te.Tensor, index: int = 0) -> tirx.Expr:
    """Element ``index`` of a vector; the value of a tensor without dimensions."""
    return tensor(index) if len(tensor.shape) else tensor()


def as_index(value: tirx.Expr) -> tirx.Expr:
    """An integer element as the type of loop variables."""
    return tirx.Cast("int64", value)
