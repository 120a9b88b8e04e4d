"""CumSum and CumProd: one thread a row, in the order of the axis."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from tvm import relax, te, tirx
from tvm.script.ir_builder import tirx as T

from lepton_compiler.core.tensor_expressions import te_written
from lepton_compiler.frontend.conversion import Conversion, rank_of
from lepton_compiler.frontend.operators.registry import converter


@converter("CumSum", "CumProd")
def running(conversion: Conversion) -> relax.Expr:
    """Running sums or products along an axis, optionally from the end or without the element itself."""
    x = conversion.tensor(0)
    axis = int(np.asarray(conversion.constant(1)).reshape(-1)[0]) % rank_of(x)
    multiply = conversion.op == "CumProd"
    exclusive, reverse = bool(conversion.attribute("exclusive", 0)), bool(conversion.attribute("reverse", 0))

    def compute(data: te.Tensor) -> te.Tensor:
        return running_values(data, axis, multiply, exclusive, reverse)

    return conversion.call_te(compute, x, name=conversion.op.lower())


def running_values(data: te.Tensor, axis: int, multiply: bool, exclusive: bool, reverse: bool) -> te.Tensor:
    """``result[i] = data[0] op ... op data[i]`` along ``axis``; ``exclusive`` leaves ``data[i]`` out."""
    size = data.shape[axis]
    inner = math.prod(data.shape[axis + 1 :])
    rows = math.prod(data.shape[:axis]) * inner
    first = tirx.const(int(multiply), data.dtype)

    def write(elements: Any, results: Any) -> None:
        with T.parallel(0, rows) as row, T.serial(0, size) as step:
            start = row // inner * (inner * size) + row % inner
            place = start + (size - 1 - step if reverse else step) * inner
            before = place + inner if reverse else place - inner
            element = elements[before] if exclusive else elements[place]
            with T.If(step == 0):
                with T.Then():
                    results[place] = first if exclusive else element
                with T.Else():
                    results[place] = results[before] * element if multiply else results[before] + element

    return te_written("scan", [data], data.shape, data.dtype, write)
