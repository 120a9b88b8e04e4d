"""What matrix products compute, laid out for ``targets/cpu/matmul.py``.

With a constant right side, packed as ``[column_blocks, inner, lanes]``:

    sums[r, b, v] = sum over k of a[r, k] * w[b, k, v]          r counts the rows of all leading axes
    output[..., n] = sums[r(...), n // v, n % v]

With both sides at run time:

    sums[..., m, n] = sum over k of a[..., m, k] * b[..., k, n]   leading axes broadcast
    output = sums
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tvm import te, tirx

from lepton_compiler.core.tensor_expressions import te_compute, te_sum
from lepton_compiler.passes.lowering.row_major import Size, flatten, is_one, unflatten
from lepton_compiler.targets.cpu.bfloat16 import STORED_PAIRS, pair_product


def packed_dense(data: te.Tensor, weight: te.Tensor, columns: int) -> te.Tensor:
    """``data[..., inner]`` times packed weights; ``columns`` leaves out what packing added.

    Stored bfloat16 data is multiplied with weights in pairs, ``[column_blocks, inner / 2, lanes]``.

    Returns:
        ``[..., columns]``.
    """
    lanes = int(weight.shape[2])
    leading = list(data.shape[:-1])
    inner = te.reduce_axis((0, weight.shape[1]), "inner")
    rows = math.prod(leading[1:], start=leading[0])

    def sums(row: tirx.Var, block: tirx.Var, lane: tirx.Var) -> tirx.Expr:
        place, factor = unflatten(row, leading), weight(block, inner, lane)
        if weight.dtype == STORED_PAIRS:
            pair = data(*place, inner * 2), data(*place, inner * 2 + 1)
            return te_sum(pair_product(*pair, factor), axis=inner)
        return te_sum(data(*place, inner) * factor, axis=inner)

    shape = (rows, weight.shape[0], lanes)
    accumulated = te_compute(shape, sums, name="dense", attrs={"lepton.anchor": "dense"})

    def output(*index: tirx.Var) -> tirx.Expr:
        *place, column = index
        return accumulated(flatten(place, leading), column // lanes, column % lanes)

    return te_compute((*leading, columns), output, name="dense_output")


def batched_matmul(left: te.Tensor, right: te.Tensor, batch: Sequence[Size]) -> te.Tensor:
    """Product over the last two axes; leading axes broadcast to ``batch``.

    Returns:
        ``[*batch, left.shape[-2], right.shape[-1]]``.
    """
    inner = te.reduce_axis((0, left.shape[-1]), "inner")

    def sums(*index: tirx.Var) -> tirx.Expr:
        *place, row, column = index
        a = left(*broadcast_index(place, left.shape[:-2], batch), row, inner)
        b = right(*broadcast_index(place, right.shape[:-2], batch), inner, column)
        return te_sum(a * b, axis=inner)

    shape = (*batch, left.shape[-2], right.shape[-1])
    accumulated = te_compute(shape, sums, name="matmul", attrs={"lepton.anchor": "matmul"})
    return te_compute(shape, lambda *index: accumulated(*index), name="matmul_output")


def broadcast_index(place: Sequence[tirx.Expr], shape: Sequence[Size], result: Sequence[Size]) -> list[Size]:
    """Index into an operand of ``shape`` at ``place`` in ``result``; axes of size 1 and missing ones are repeated.

    An axis that is 1 in both keeps its variable: TVM takes a constant index for a broadcast, which it fuses behind no
    anchor.
    """
    missing = len(result) - len(shape)
    axes = zip(place[missing:], shape, result[missing:], strict=True)
    return [0 if is_one(size) and not is_one(whole) else index for index, size, whole in axes]
