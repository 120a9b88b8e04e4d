"""Elements by index: Gather, GatherElements, GatherND, OneHot, ReverseSequence."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.bounded_indices import clamped, inside
from lepton_compiler.frontend.conversion import (
    Conversion,
    ConversionError,
    rank_of,
    shape_of,
    tensor_constant,
)
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import require_equal, require_indices, require_within


@converter("Gather")
def gather(conversion: Conversion) -> relax.Expr:
    """Slices of an axis, by an index tensor of any rank."""
    x = conversion.tensor(0)
    axis = conversion.attribute("axis", 0) % rank_of(x)
    size = shape_of(x)[axis]
    value = conversion.inputs[1]
    if isinstance(value, np.ndarray) and isinstance(size, int):
        wrong = value[(value < -size) | (value >= size)]
        if wrong.size:
            raise ConversionError(f"index {wrong[0]} lies outside of axis {axis}, which has {size} elements")
        return relax.op.take(x, tensor_constant(np.where(value < 0, value + size, value).astype(value.dtype)), axis)

    require_indices(conversion, 1, [size])

    def compute(data: te.Tensor, indices: te.Tensor) -> te.Tensor:
        count = len(indices.shape)

        def element(*i: tirx.Var) -> tirx.Expr:
            place = inside(indices(*i[axis : axis + count]), data.shape[axis])
            return data(*i[:axis], place, *i[axis + count :])

        shape = [*data.shape[:axis], *indices.shape, *data.shape[axis + 1 :]]
        return te_compute(shape, element, name="gather", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, conversion.tensor(1), name="gather")


@converter("GatherElements")
def gather_elements(conversion: Conversion) -> relax.Expr:
    """``y[i, j] = x[index[i, j], j]`` along an axis."""
    x = conversion.tensor(0)
    axis = conversion.attribute("axis", 0) % rank_of(x)
    require_within(conversion, shape_of(conversion.tensor(1)), shape_of(x), axis)
    require_indices(conversion, 1, [shape_of(x)[axis]])

    def compute(data: te.Tensor, indices: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            return data(*i[:axis], inside(indices(*i), data.shape[axis]), *i[axis + 1 :])

        return te_compute(indices.shape, element, name="gather_elements", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, conversion.tensor(1), name="gather_elements")


@converter("GatherND")
def gather_nd(conversion: Conversion) -> relax.Expr:
    """Slices of ``x`` at index vectors, which are the last axis of the index tensor."""
    x, indices = conversion.tensor(0), conversion.tensor(1)
    batch = conversion.attribute("batch_dims", 0)
    depth = shape_of(indices)[-1]
    if not isinstance(depth, int):
        raise ConversionError("the length of an index vector must be fixed")
    sizes, counts = shape_of(x), shape_of(indices)
    if batch + depth > len(sizes) or batch >= len(counts):
        raise ConversionError(f"{batch} batch axes and index vectors of {depth} elements address {len(sizes)} axes")
    require_equal(conversion, "the batch axes of the indices", counts[:batch], sizes[:batch])
    require_indices(conversion, 1, sizes[batch : batch + depth])

    def compute(data: te.Tensor, index: te.Tensor) -> te.Tensor:
        outer = index.shape[:-1]

        def element(*i: tirx.Var) -> tirx.Expr:
            lead, rest = i[: len(outer)], i[len(outer) :]
            place = [inside(index(*lead, k), data.shape[batch + k]) for k in range(depth)]
            return data(*i[:batch], *place, *rest)

        shape = (*outer, *data.shape[batch + depth :])
        return te_compute(shape, element, name="gather_nd", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, indices, name="gather_nd")


@converter("OneHot")
def one_hot(conversion: Conversion) -> relax.Expr:
    """``values[1]`` where an index equals the position along the new axis, else ``values[0]``."""
    indices, values = conversion.tensor(0), conversion.tensor(2)
    require_equal(conversion, "the number of values", shape_of(values), [2])
    depth = conversion.sizes(1)[0]
    axis = conversion.attribute("axis", -1) % (rank_of(indices) + 1)

    def compute(index: te.Tensor, choice: te.Tensor, size: Any) -> te.Tensor:
        shape = [*index.shape[:axis], size, *index.shape[axis:]]

        def element(*i: tirx.Var) -> tirx.Expr:
            wanted = index(*i[:axis], *i[axis + 1 :]).astype("int64")
            hit = tirx.any(wanted == i[axis], wanted + size == i[axis])
            return tirx.Select(hit, choice(1), choice(0))

        return te_compute(shape, element, name="one_hot")

    size = tirx.IntImm("int64", depth) if isinstance(depth, int) else depth
    return conversion.call_te(compute, indices, values, size, name="one_hot")


@converter("ReverseSequence")
def reverse_sequence(conversion: Conversion) -> relax.Expr:
    """The first elements of each sequence in reverse order; how many is given for each."""
    x, lengths = conversion.tensor(0), conversion.tensor(1)
    time, batch = conversion.attribute("time_axis", 0), conversion.attribute("batch_axis", 1)
    require_equal(conversion, "the number of lengths", shape_of(lengths), [shape_of(x)[batch]])

    def compute(data: te.Tensor, length: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            count = clamped(length(i[batch]), 0, data.shape[time])
            place = list(i)
            place[time] = tirx.Select(i[time] < count, count - 1 - i[time], i[time])
            return data(*place)

        return te_compute(data.shape, element, name="reverse_sequence")

    return conversion.call_te(compute, x, lengths, name="reverse_sequence")
