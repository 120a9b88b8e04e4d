"""Strided views: an operand that reshapes, transposes, slices and scales a tensor, read in place, not written out.

permute_dims(reshape(x, [1, n, h, d]), [0, 2, 1, 3]) * c   =   c times x, read with the strides [.., d, h * d, 1]
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from tvm import relax, tirx

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.passes.canonicalize.constant_arrays import array_of
from lepton_compiler.passes.main_graph import MainGraph

_MOST_ELEMENTS = 1 << 28


@dataclass(frozen=True)
class StridedView:
    """An operand as elements of another tensor.

    Attributes:
        base: The tensor in memory.
        offset: Place of the first element in it.
        strides: Distance of neighbours along each axis of the operand, in elements.
        factor: What each element is multiplied by.
        names: The nodes that are read through, the first of them first.
    """

    base: relax.Expr
    offset: int
    strides: tuple[int, ...]
    factor: float
    names: tuple[str, ...] = ()


def static_shape(expr: relax.Expr) -> tuple[int, ...] | None:
    """The extents of a tensor, None where one is symbolic or the shape is unknown."""
    if not isinstance(expr.ty, relax.TensorType) or expr.ty.shape is None:
        return None
    extents = expr.ty.shape.values
    return tuple(int(e) for e in extents) if all(isinstance(e, tirx.IntImm) for e in extents) else None


def scalar_scale(call: relax.Expr | None) -> tuple[relax.Expr, float] | None:
    """``x`` and ``c`` where a call computes ``x * c`` or ``x / c`` with a constant of one element."""
    name = operator_name(call) if call is not None else None
    if name == "relax.multiply":
        for x, other in (call.args, call.args[::-1]):
            array = array_of(other)
            if array is not None and array.size == 1 and x.ty.ndim == call.ty.ndim:
                return x, float(array.reshape(()))
    if name == "relax.divide":
        array = array_of(call.args[1])
        if array is not None and array.size == 1 and array.any() and call.args[0].ty.ndim == call.ty.ndim:
            return call.args[0], 1.0 / float(array.reshape(()))
    return None


def strided_view(graph: MainGraph, operand: relax.Expr) -> StridedView:
    """The operand as a view of what stands as far above it as possible; at worst of itself."""
    chain: list[tuple[relax.Call, float]] = []
    names: list[str] = []
    base = operand
    while (step := _step(graph.definition(base))) is not None:
        source, call, factor = step
        chain.append((call, factor))
        names.append(base.name)
        base = source
    for length in range(len(chain), 0, -1):
        source = chain[length - 1][0]
        start = scalar_scale(source)
        view = _view(start[0] if start is not None else source.args[0], chain[:length])
        if view is not None:
            return replace(view, names=tuple(reversed(names[:length])))
    view = _view(operand, [])
    assert view is not None
    return view


def _step(call: relax.Expr | None) -> tuple[relax.Expr, relax.Call, float] | None:
    """What a view or a scaling reads, the call, and its factor."""
    if not isinstance(call, relax.Call):
        return None
    scaled = scalar_scale(call)
    if scaled is not None:
        return scaled[0], call, scaled[1]
    if operator_name(call) in ("relax.reshape", "relax.permute_dims", "relax.strided_slice"):
        return call.args[0], call, 1.0
    return None


def _view(base: relax.Expr, chain: list[tuple[relax.Call, float]]) -> StridedView | None:
    """The view that ``chain``, whose last call reads ``base``, makes of it; None where it would have to copy."""
    shape = static_shape(base)
    if shape is None or np.prod(shape, dtype=np.int64) > _MOST_ELEMENTS:
        return None
    whole = np.empty(shape, np.int8)
    part: np.ndarray | None = whole
    factor = 1.0
    for call, scale in reversed(chain):
        factor *= scale
        part = _moved(part, call) if scalar_scale(call) is None else part
        if part is None or not np.may_share_memory(part, whole):
            return None
    start = part.__array_interface__["data"][0] - whole.__array_interface__["data"][0]
    return StridedView(base, start, part.strides, factor)


def _moved(array: np.ndarray, call: relax.Call) -> np.ndarray | None:
    name = operator_name(call)
    if name == "relax.reshape":
        target = static_shape(call)
        return None if target is None else array.reshape(target)
    if name == "relax.permute_dims":
        return array.transpose(None if call.attrs.axes is None else [int(axis) for axis in call.attrs.axes])
    if len(call.args) < 5 or not all(isinstance(argument, relax.Tuple) for argument in call.args[1:5]):
        return None
    axes, begins, ends, steps = ([int(item.value) for item in argument.fields] for argument in call.args[1:5])
    index = [slice(None)] * array.ndim
    for axis, begin, end, step in zip(axes, begins, ends, steps, strict=True):
        if step <= 0 or begin < 0 or end < 0:
            return None
        index[axis] = slice(begin, end, step)
    return array[tuple(index)]
