"""What a Winograd convolution over packed activations computes, laid out for ``targets/cpu/winograd.py``.

    padded[n, cb, y, x, v]            the input, filled up to whole tiles
    half_data[n, cb, i, j, r, c, v]   sum over k of B^T[r, k] * padded[.., i * m + k, j * m + c, v]
    data[n, rc, cb, i, j, v]          sum over k of B^T[c, k] * half_data[.., r, k, v]
    sums[n, rc, ob, i, j, v]          sum over channels of data[n, rc, c / v, i, j, c % v] * weight[rc, ob, c, v]
    products                          sums
    half_result[n, ob, i, j, r, c, v] sum over k of A^T[r, k] * products[n, (k, c), ob, i, j, v]
    result[n, ob, i, j, r, c, v]      sum over k of A^T[c, k] * half_result[.., r, k, v]
    output[n, ob, y, x, v]            result[n, ob, y // m, x // m, y % m, x % m, v]

``i`` and ``j`` count tiles, ``r`` and ``c`` the places in one.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from tvm import te, tirx

from lepton_compiler.core.tensor_expressions import te_compute, te_sum
from lepton_compiler.passes.lowering.row_major import Size
from lepton_compiler.passes.winograd.transforms import KERNEL_SIZE, WinogradTransform
from lepton_compiler.targets.cpu.bfloat16 import element_reader

_FEWEST_TILES, _MOST_TILES = 4, 9
"""Sizes of a register tile that keep the multipliers busy."""


def winograd_convolution(
    data: te.Tensor, weight: te.Tensor, transform: WinogradTransform, before: tuple[int, int], after: tuple[int, int]
) -> te.Tensor:
    """A 3 by 3 convolution with stride 1 over a packed activation.

    Args:
        data: ``[batch, in_blocks, height, width, v]``, sizes but the batch known, float32 or stored bfloat16.
        weight: Transformed weights, ``[size * size, out_blocks, in_channels, v]``.
        transform: The algorithm.
        before: Zeros above and left of the input.
        after: Zeros below and right of it.

    Returns:
        ``[batch, out_blocks, *output, v]``.
    """
    m, size = transform.outputs, transform.size
    batch, blocks, *spatial, lanes = data.shape
    output = [extent + before[i] + after[i] - KERNEL_SIZE + 1 for i, extent in enumerate(spatial)]
    rows, columns = (-(-int(extent) // m) for extent in output)
    tiles = [rows, _even_columns(columns)]
    padded = _filled_up(data, before, [count * m + KERNEL_SIZE - 1 for count in tiles])
    half_data = te_compute(
        (batch, blocks, *tiles, size, size, lanes),
        lambda n, cb, i, j, r, c, v: _linear(transform.data, r, lambda k: padded(n, cb, i * m + k, j * m + c, v)),
        name="half_data",
    )
    turned = te_compute(
        (batch, size * size, blocks, *tiles, lanes),
        lambda n, rc, cb, i, j, v: _linear(
            transform.data, rc % size, lambda k: half_data(n, cb, i, j, rc // size, k, v)
        ),
        name="data",
    )
    products = _products(turned, weight)
    half_result = te_compute(
        (batch, weight.shape[1], *tiles, m, size, lanes),
        lambda n, ob, i, j, r, c, v: _linear(transform.result, r, lambda k: products(n, k * size + c, ob, i, j, v)),
        name="half_result",
    )
    result = te_compute(
        (batch, weight.shape[1], *tiles, m, m, lanes),
        lambda n, ob, i, j, r, c, v: _linear(transform.result, c, lambda k: half_result(n, ob, i, j, r, k, v)),
        name="result",
        attrs={"lepton.anchor": "winograd"},
    )
    return te_compute(
        (batch, weight.shape[1], *output, lanes),
        lambda n, ob, y, x, v: result(n, ob, y // m, x // m, y % m, x % m, v),
        name="winograd_output",
    )


def _even_columns(columns: int) -> int:
    """Tiles in a row, filled up until a register tile of a fitting number of them divides the row."""
    while columns > _MOST_TILES and not any(columns % size == 0 for size in range(_FEWEST_TILES, _MOST_TILES + 1)):
        columns += 1
    return columns


def _filled_up(data: te.Tensor, before: tuple[int, int], sizes: list[Size]) -> te.Tensor:
    batch, blocks, height, width, lanes = data.shape
    read = element_reader(data)

    def value(n: tirx.Var, cb: tirx.Var, y: tirx.Var, x: tirx.Var, v: tirx.Var) -> tirx.Expr:
        row, column = y - before[0], x - before[1]
        inside = tirx.all(row >= 0, row < height, column >= 0, column < width)
        return tirx.if_then_else(inside, read(n, cb, row, column, v), tirx.const(0, "float32"))

    return te_compute((batch, blocks, *sizes, lanes), value, name="padded")


def _products(turned: te.Tensor, weight: te.Tensor) -> te.Tensor:
    batch, places, _, *tiles, lanes = turned.shape
    channels = int(weight.shape[2])
    together = math.gcd(channels, int(lanes))
    chunk = te.reduce_axis((0, channels // together), "chunk")
    part = te.reduce_axis((0, together), "part")

    def sums(n: tirx.Var, rc: tirx.Var, ob: tirx.Var, i: tirx.Var, j: tirx.Var, v: tirx.Var) -> tirx.Expr:
        channel = chunk * together
        value = turned(n, rc, channel // lanes, i, j, channel % lanes + part)
        return te_sum(value * weight(rc, ob, channel + part, v), axis=[chunk, part])

    shape = (batch, places, weight.shape[1], *tiles, lanes)
    accumulated = te_compute(shape, sums, name="sums")
    return te_compute(shape, lambda *index: accumulated(*index), name="products")


def _linear(matrix: np.ndarray, row: tirx.Expr, item: Callable[[int], tirx.Expr]) -> tirx.Expr:
    """``sum over k of matrix[row, k] * item(k)``; where ``row`` is a number, only that row's terms are left."""
    cases = [_combination(coefficients, item) for coefficients in matrix]
    result = cases[-1]
    for number in range(len(cases) - 2, -1, -1):
        result = tirx.Select(row == number, cases[number], result)
    return result


def _combination(coefficients: np.ndarray, item: Callable[[int], tirx.Expr]) -> tirx.Expr:
    terms = [(float(factor), item(k)) for k, factor in enumerate(coefficients) if factor]
    # A leading positive term saves a negation.
    terms.sort(key=lambda term: term[0] < 0)
    total: tirx.Expr | None = None
    for factor, value in terms:
        term = value if abs(factor) == 1 else value * tirx.const(abs(factor), value.ty.dtype)
        if total is None:
            total = term if factor > 0 else -term
        else:
            total = total + term if factor > 0 else total - term
    assert total is not None
    return total
