"""Softmax, LogSoftmax and Hardmax; before version 13 they worked on a flattened matrix."""

from __future__ import annotations

import math
from collections.abc import Callable

from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import converter

_Function = Callable[[Conversion, relax.Expr, int], relax.Expr]


def _softmax(conversion: Conversion, x: relax.Expr, axis: int) -> relax.Expr:
    return _in_32_bits(relax.op.nn.softmax, x, axis)


def _log_softmax(conversion: Conversion, x: relax.Expr, axis: int) -> relax.Expr:
    return _in_32_bits(relax.op.nn.log_softmax, x, axis)


def _in_32_bits(function: Callable[[relax.Expr, int], relax.Expr], x: relax.Expr, axis: int) -> relax.Expr:
    """Sums of 16-bit exponentials would lose what makes them differ."""
    dtype = dtype_of(x)
    if dtype not in ("float16", "bfloat16"):
        return function(x, axis)
    return relax.op.astype(function(relax.op.astype(x, "float32"), axis), dtype)


def _hardmax(conversion: Conversion, x: relax.Expr, axis: int) -> relax.Expr:
    largest = conversion.emit(relax.op.argmax(x, axis, keepdims=True))

    def compute(data: te.Tensor, index: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            kept = (*i[:axis], 0, *i[axis + 1 :])
            return (index(*kept) == i[axis].astype("int64")).astype(data.dtype)

        return te_compute(data.shape, element, name="hardmax")

    return conversion.call_te(compute, x, largest, name="hardmax")


_FUNCTIONS: dict[str, _Function] = {"Softmax": _softmax, "LogSoftmax": _log_softmax, "Hardmax": _hardmax}


@converter(*_FUNCTIONS)
def flattened(conversion: Conversion) -> relax.Expr:
    """Over all axes from ``axis`` on together (up to version 12)."""
    x = conversion.tensor(0)
    rank = rank_of(x)
    axis = conversion.attribute("axis", 1) % rank if rank else 0
    function = _FUNCTIONS[conversion.op]
    shape = shape_of(x)
    if axis == rank - 1 or all(size == 1 for size in shape[axis + 1 :]):
        return function(conversion, x, axis)
    matrix = conversion.emit(relax.op.reshape(x, [math.prod(shape[:axis]), math.prod(shape[axis:])]))
    return relax.op.reshape(function(conversion, matrix, 1), shape)


@converter(*_FUNCTIONS, since=13)
def along_axis(conversion: Conversion) -> relax.Expr:
    """Along one axis."""
    x = conversion.tensor(0)
    axis = conversion.attribute("axis", -1) % rank_of(x)
    return _FUNCTIONS[conversion.op](conversion, x, axis)
