"""Reductions and running sums whose axes are an input that is known only when the model runs.

The declared output shape leaves a few sets of axes that could be meant. Each gets its kernel, and the kernel behind
them takes the elements of the one that the input names.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, ConversionError, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import run_time_converter
from lepton_compiler.frontend.operators.run_time_shapes import as_index, convert_known, names_one_of
from lepton_compiler.frontend.run_time_checks import contradicts, require_values

_LARGEST_CHOICE = 8


@run_time_converter(
    "ReduceSum", "ReduceMean", "ReduceProd", "ReduceMax", "ReduceMin", "ReduceLogSumExp", "ReduceLogSum",
    "ReduceSumSquare", "ReduceL1", "ReduceL2", inputs=(1,),
)  # fmt: skip
def reduce(conversion: Conversion) -> relax.Expr:
    """Combines the elements along the axes that the input names."""
    shape = shape_of(conversion.tensor(0))
    count = shape_of(conversion.tensor(1))[0]
    choices = [
        axes
        for axes in itertools.combinations(range(len(shape)), count if isinstance(count, int) else 0)
        if _reduced(shape, axes, bool(conversion.attribute("keepdims", 1))) == list(conversion.declared_shape())
    ]
    return chosen_by_axes(conversion, [(axes, np.array(axes, np.int64)) for axes in choices], 1)


def _reduced(shape: Sequence[object], axes: Sequence[int], keepdims: bool) -> list[object]:
    return [1 if axis in axes else size for axis, size in enumerate(shape) if keepdims or axis not in axes]


@run_time_converter("CumSum", "CumProd", inputs=(1,))
def running(conversion: Conversion) -> relax.Expr:
    """Running sums or products along the axis that the input names."""
    axes = range(rank_of(conversion.tensor(0)))
    return chosen_by_axes(conversion, [((axis,), np.array(axis, np.int64)) for axis in axes], 1)


def chosen_by_axes(
    conversion: Conversion, choices: Sequence[tuple[tuple[int, ...], np.ndarray]], index: int
) -> relax.Expr:
    """The result for the axes that input ``index`` names, among those that are possible."""
    if not 0 < len(choices) <= _LARGEST_CHOICE:
        raise ConversionError(
            f"its axes are known only when the model runs, and {len(choices)} sets of them may be meant"
        )
    tensor = conversion.tensor(index)
    count, ranks = math.prod(shape_of(tensor)), rank_of(conversion.tensor(0))
    if not isinstance(count, int):
        raise ConversionError("the number of its axes must be known when the model is compiled")
    sets = [axes for axes, _ in choices]
    require_values(conversion, contradicts(index), lambda named: names_one_of(named, count, ranks, sets), tensor)
    results = [convert_known(conversion, {index: value}) for _, value in choices]
    if len(results) == 1:
        return results[0]  # type: ignore[return-value]
    rank = rank_of(conversion.tensor(0))
    masks = [sum(1 << axis for axis in axes) for axes, _ in choices]

    def compute(axes: te.Tensor, *tensors: te.Tensor) -> te.Tensor:
        named = tirx.const(0, "int64")
        for i in range(int(axes.shape[0]) if len(axes.shape) else 1):
            axis = as_index(axes(i) if len(axes.shape) else axes())
            named = named + (tirx.const(1, "int64") << tirx.Select(axis < 0, axis + rank, axis))

        def element(*i: tirx.Var) -> tirx.Expr:
            value = tensors[0](*i)
            for mask, tensor in zip(masks[1:], tensors[1:], strict=True):
                value = tirx.Select(named == tirx.const(mask, "int64"), tensor(*i), value)
            return value

        return te_compute(tensors[0].shape, element, name="chosen_axes", tag=topi.tag.INJECTIVE)

    tensors = [conversion.emit(result) for result in results]  # type: ignore[arg-type]
    return conversion.call_te(compute, conversion.tensor(index), *tensors, name="chosen_axes")
