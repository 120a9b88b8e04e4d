"""ScatterElements, ScatterND and MaxUnpool: elements written where an index tensor says.

Indices that lie outside of the tensor write nothing and make the run fail. Where several updates meet, the last one in
memory order wins.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as T

from lepton_compiler.core.tensor_expressions import te_written
from lepton_compiler.frontend.bounded_indices import is_inside, wrapped
from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, shape_of
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import require_equal, require_indices, require_within

_Combine = Callable[[Any, Any], Any]
_COMBINE: dict[str, _Combine] = {
    "none": lambda old, new: new,
    "add": lambda old, new: old + new,
    "mul": lambda old, new: old * new,
    "min": tirx.min,
    "max": tirx.max,
}


def _combination(conversion: Conversion) -> _Combine:
    name = conversion.attribute("reduction", "none")
    if name not in _COMBINE:
        raise ConversionError(f'unknown reduction "{name}"')
    return _COMBINE[name]


@converter("ScatterElements", "Scatter")
def scatter_elements(conversion: Conversion) -> relax.Expr:
    """``y[index[i, j], j]`` is set to, or combined with, ``updates[i, j]``."""
    x, indices, updates = (conversion.tensor(i) for i in range(3))
    axis = conversion.attribute("axis", 0) % len(shape_of(x))
    require_equal(conversion, "the shape of the updates", shape_of(updates), shape_of(indices))
    require_within(conversion, shape_of(indices), shape_of(x), axis)
    require_indices(conversion, 1, [shape_of(x)[axis]])
    return _scattered(conversion, x, indices, updates, axis, _combination(conversion))


@converter("MaxUnpool")
def max_unpool(conversion: Conversion) -> relax.Expr:
    """Maxima back in the places that MaxPool found them at, in a tensor of zeros."""
    x, indices = conversion.tensor(0), conversion.tensor(1)
    require_equal(conversion, "the shape of the indices", shape_of(indices), shape_of(x))
    shape = conversion.sizes(2) if conversion.has(2) else _unpooled_shape(conversion, shape_of(x))
    require_indices(conversion, 1, [math.prod(shape)])
    zeros = conversion.emit(conversion.filled([math.prod(shape)], 0, dtype_of(x)))
    count = [math.prod(shape_of(x))]
    flat = [conversion.emit(relax.op.reshape(tensor, count)) for tensor in (indices, x)]
    result = conversion.emit(_scattered(conversion, zeros, *flat, 0, _COMBINE["none"]))
    return relax.op.reshape(result, shape)


def _unpooled_shape(conversion: Conversion, pooled: Sequence[Any]) -> list[Any]:
    kernel = conversion.attribute("kernel_shape")
    count = len(kernel)
    strides = conversion.attribute("strides", [1] * count)
    pads = conversion.attribute("pads", [0] * (2 * count))
    spatial = [(size - 1) * strides[i] + kernel[i] - pads[i] - pads[count + i] for i, size in enumerate(pooled[2:])]
    return [*pooled[:2], *spatial]


def _scattered(
    conversion: Conversion, x: relax.Expr, indices: relax.Expr, updates: relax.Expr, axis: int, combine: _Combine
) -> relax.Expr:
    if 0 in shape_of(indices):
        return x

    def compute(data: te.Tensor, places: te.Tensor, new: te.Tensor) -> te.Tensor:
        def body(old: Any, index: Any, update: Any, target: Any) -> None:
            _write_along_axis((data.shape, places.shape), (index, update, target), axis, combine)

        return _copy_and_write("scatter_elements", [data, places, new], body)

    return conversion.call_te(compute, x, indices, updates, name="scatter_elements")


def _write_along_axis(
    shapes: tuple[Sequence[Any], Sequence[Any]], buffers: tuple[Any, Any, Any], axis: int, combine: _Combine
) -> None:
    """All rows of the index tensor along ``axis``; two rows never write the same element."""
    sizes, counts = shapes
    index, update, target = buffers
    rows = _product([count for i, count in enumerate(counts) if i != axis])
    with T.parallel(0, rows) as row:
        source, start, rest = tirx.const(0, "int64"), tirx.const(0, "int64"), row
        for i in reversed([i for i in range(len(counts)) if i != axis]):
            coordinate, rest = tirx.floormod(rest, counts[i]), tirx.floordiv(rest, counts[i])
            source = source + coordinate * _product(counts[i + 1 :])
            start = start + coordinate * _product(sizes[i + 1 :])
        with T.serial(0, counts[axis]) as step:
            where = source + step * _product(counts[axis + 1 :])
            place = wrapped(index[where], sizes[axis])
            with T.If(is_inside(place, sizes[axis])), T.Then():
                element = start + place * _product(sizes[axis + 1 :])
                target[element] = combine(target[element], update[where])


@converter("ScatterND")
def scatter_nd(conversion: Conversion) -> relax.Expr:
    """Slices of ``x`` at index vectors are set to, or combined with, the updates."""
    x, indices, updates = (conversion.tensor(i) for i in range(3))
    depth = shape_of(indices)[-1]
    if not isinstance(depth, int):
        raise ConversionError("the length of an index vector must be fixed")
    sizes = shape_of(x)
    if depth > len(sizes):
        raise ConversionError(f"index vectors of {depth} elements address a tensor of {len(sizes)} axes")
    require_equal(conversion, "the shape of the updates", shape_of(updates), [*shape_of(indices)[:-1], *sizes[depth:]])
    require_indices(conversion, 1, sizes[:depth])
    combine = _combination(conversion)

    def compute(data: te.Tensor, places: te.Tensor, new: te.Tensor) -> te.Tensor:
        def body(old: Any, index: Any, update: Any, target: Any) -> None:
            _write_slices(data.shape, places.shape, (index, update, target), combine)

        return _copy_and_write("scatter_nd", [data, places, new], body)

    return conversion.call_te(compute, x, indices, updates, name="scatter_nd")


def _write_slices(
    sizes: Sequence[Any], counts: Sequence[Any], buffers: tuple[Any, Any, Any], combine: _Combine
) -> None:
    """One slice for each index vector, one after the other because several may name the same."""
    index, update, target = buffers
    depth = int(counts[-1])
    length = _product(sizes[depth:])
    with T.serial(0, _product(counts[:-1])) as number:
        places = [wrapped(index[number * depth + i], sizes[i]) for i in range(depth)]
        hits = [is_inside(place, size) for place, size in zip(places, sizes, strict=False)]
        with T.If(tirx.all(tirx.const(True, "bool"), *hits)), T.Then():
            start = tirx.const(0, "int64")
            for i, place in enumerate(places):
                start = start + place * _product(sizes[i + 1 :])
            with T.serial(0, length) as i:
                target[start + i] = combine(target[start + i], update[number * length + i])


def _copy_and_write(name: str, tensors: Sequence[te.Tensor], write: Callable[..., None]) -> te.Tensor:
    """A kernel that copies the first tensor to its result and then lets ``write`` change that."""
    data = tensors[0]

    def copy_and_write(*buffers: Any) -> None:
        with T.seq_scope():
            with T.parallel(0, _product(data.shape)) as i:
                buffers[-1][i] = buffers[0][i]
            write(*buffers)

    return te_written(name, tensors, data.shape, data.dtype, copy_and_write)


def _product(sizes: Sequence[Any]) -> Any:
    return math.prod(sizes, start=tirx.const(1, "int64"))
