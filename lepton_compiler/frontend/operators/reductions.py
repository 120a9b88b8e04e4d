"""Reductions over axes: ReduceSum and its relatives, ArgMax and ArgMin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.staged_sums import staged_mean, staged_sum
from lepton_compiler.frontend.operators.wide_sums import in_float32

_Reduce = Callable[[Conversion, relax.Expr, list[int], bool], relax.Expr]


def _log_sum_exp(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    # The largest element is taken out, so that exp can't overflow.
    largest = relax.op.max(x, axes, keepdims=True)
    total = staged_sum(conversion, relax.op.exp(relax.op.subtract(x, largest)), axes, True)
    result = relax.op.add(relax.op.log(total), largest)
    return result if keepdims else relax.op.squeeze(result, axes)


def _log_sum(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    return relax.op.log(staged_sum(conversion, x, axes, keepdims))


def _sum_square(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    return staged_sum(conversion, relax.op.multiply(x, x), axes, keepdims)


def _l1(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    return staged_sum(conversion, relax.op.abs(x), axes, keepdims)


def _l2(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    return relax.op.sqrt(_sum_square(conversion, x, axes, keepdims))


def _boolean(reduce: Callable[..., relax.Expr]) -> Callable[[relax.Expr, list[int], bool], relax.Expr]:
    """Minimum and maximum, which TVM has no boolean form of."""

    def function(x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
        if dtype_of(x) != "bool":
            return reduce(x, axes, keepdims=keepdims)
        return relax.op.astype(reduce(relax.op.astype(x, "uint8"), axes, keepdims=keepdims), "bool")

    return function


_REDUCTIONS: dict[str, _Reduce] = {
    "ReduceSum": staged_sum,
    "ReduceMean": staged_mean,
    "ReduceProd": lambda conversion, x, axes, keepdims: relax.op.prod(x, axes, keepdims=keepdims),
    "ReduceLogSumExp": _log_sum_exp,
    "ReduceLogSum": _log_sum,
    "ReduceSumSquare": _sum_square,
    "ReduceL1": _l1,
    "ReduceL2": _l2,
}
# What each gives for no elements at all.
_EMPTY = {
    "ReduceSum": 0.0, "ReduceProd": 1.0, "ReduceMax": float("-inf"), "ReduceMin": float("inf"), "ReduceSumSquare": 0.0,
    "ReduceL1": 0.0, "ReduceL2": 0.0, "ReduceLogSum": float("-inf"), "ReduceLogSumExp": float("-inf"),
    "ReduceMean": float("nan"),
}  # fmt: skip


@converter(*_REDUCTIONS)
@in_float32
def reduce(conversion: Conversion) -> relax.Expr:
    """Combines the elements along some axes; all of them where none are named."""
    return _reduced(conversion)


@converter("ReduceMax", "ReduceMin")
def reduce_to_extreme(conversion: Conversion) -> relax.Expr:
    """The largest or smallest of the elements along some axes; of all of them where none are named."""
    return _reduced(conversion)


def _reduced(conversion: Conversion) -> relax.Expr:
    x = conversion.tensor(0)
    axes = _axes(conversion, rank_of(x))
    keepdims = bool(conversion.attribute("keepdims", 1))
    if not axes:
        return _over_nothing(conversion, x)
    if 0 in [shape_of(x)[axis] for axis in axes]:
        return _of_nothing(conversion, x, axes, keepdims)
    if conversion.op in ("ReduceMax", "ReduceMin"):
        return extreme(conversion, x, axes, keepdims, largest=conversion.op == "ReduceMax")
    return _REDUCTIONS[conversion.op](conversion, x, axes, keepdims)


def extreme(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool, largest: bool) -> relax.Expr:
    """Maximum or minimum along axes; TVM's start from a finite number, wrong where all floats are infinite."""
    if not dtype_of(x).startswith(("float", "bfloat")):
        return _boolean(relax.op.max if largest else relax.op.min)(x, axes, keepdims)
    reducer = te.comm_reducer(
        lambda a, b: tirx.max(a, b) if largest else tirx.min(a, b),
        lambda dtype: tirx.const(float("-inf" if largest else "inf"), dtype),
        name=conversion.op.lower(),
    )

    def compute(data: te.Tensor) -> te.Tensor:
        taps = {axis: te.reduce_axis((0, data.shape[axis]), f"k{axis}") for axis in axes}
        kept = [axis for axis in range(len(data.shape)) if keepdims or axis not in axes]

        def element(*i: tirx.Var) -> Any:
            place = dict(zip(kept, i, strict=True)) | taps
            return reducer(data(*(place[axis] for axis in range(len(data.shape)))), axis=list(taps.values()))

        return te_compute([1 if axis in axes else data.shape[axis] for axis in kept], element, name="extreme")

    return conversion.call_te(compute, x, name=conversion.op.lower())


def _axes(conversion: Conversion, rank: int) -> list[int]:
    given = conversion.attribute("axes", None)
    if given is None and conversion.has(1):
        given = conversion.constant(1).reshape(-1).tolist()
    if not given:
        return [] if conversion.attribute("noop_with_empty_axes", 0) else list(range(rank))
    return sorted({int(axis) % rank for axis in given})


def _over_nothing(conversion: Conversion, x: relax.Expr) -> relax.Expr:
    """No axis is reduced: every element is combined with itself alone."""
    functions: dict[str, Callable[[relax.Expr], relax.Expr]] = {
        "ReduceLogSum": relax.op.log,
        "ReduceSumSquare": lambda value: relax.op.multiply(value, value),
        "ReduceL1": relax.op.abs,
        "ReduceL2": relax.op.abs,
    }
    return functions.get(conversion.op, lambda value: value)(x)


def _of_nothing(conversion: Conversion, x: relax.Expr, axes: list[int], keepdims: bool) -> relax.Expr:
    """A reduced axis has size 0, where TVM's reductions leave memory as it was."""
    shape = [1 if axis in axes else size for axis, size in enumerate(shape_of(x)) if keepdims or axis not in axes]
    value = _EMPTY[conversion.op]
    dtype = dtype_of(x)
    if dtype == "bool":
        value = value > 0
    elif dtype.startswith(("int", "uint")) and value in (float("inf"), float("-inf")):
        limits = np.iinfo(dtype)
        value = limits.max if value > 0 else limits.min
    return conversion.filled(shape, value, dtype)


@converter("ArgMax", "ArgMin")
def arg_extreme(conversion: Conversion) -> relax.Expr:
    """Index of the largest or smallest element along an axis: of the first such, or of the last."""
    x = conversion.tensor(0)
    axis = conversion.attribute("axis", 0) % rank_of(x)
    keepdims = bool(conversion.attribute("keepdims", 1))
    operator = relax.op.argmax if conversion.op == "ArgMax" else relax.op.argmin
    if dtype_of(x) == "bool":
        x = conversion.emit(relax.op.astype(x, "uint8"))
    if not conversion.attribute("select_last_index", 0):
        return operator(x, axis, keepdims)
    size = shape_of(x)[axis]
    mirrored = operator(relax.op.flip(x, axis), axis, keepdims)
    return (
        conversion.call_te(
            lambda index, last: topi.subtract(last - 1, index), conversion.emit(mirrored), size, name="mirror_index"
        )
        if not isinstance(size, int)
        else relax.op.subtract(relax.const(size - 1, "int64"), mirrored)
    )
