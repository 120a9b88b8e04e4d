"""Sums and means over many elements, taken in stages, so that no chain of additions is long.

    sum over 4194304 elements   ->   2048 sums of 2048 elements, and the sum of these
    sum over axes 0, 2 and 3    ->   over axes 2 and 3, then over axis 0

The rounding error of a chain of float32 additions grows with its length, and where all terms have one sign it does not
average out: a million times 0.1 in one chain is 1 % off. The stages also run in parallel, which one chain can't.
No operator lives here; converters share it. Higham, "The Accuracy of Floating Point Summation", 1993, section 2.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, Size, dtype_of, shape_of
from lepton_compiler.frontend.operators.activation_functions import scalar

_LONGEST_CHAIN = 1024
"""Additions in a row that are left as they are."""
_CHAINS_OF_A_ROW = 16
"""Fewest chains in which the schedule of row reductions takes a sum along the last axes: four vectors of four lanes."""
_SHORTEST_ROW = 64
"""Elements from which on a sum over everything is worth a view as one row."""

_Operator = Callable[..., relax.Expr]


def staged_sum(conversion: Conversion, x: relax.Expr, axes: Sequence[int], keepdims: bool) -> relax.Expr:
    """The sum along ``axes``, which are in order and not empty."""
    return _in_stages(conversion, relax.op.sum, x, axes, keepdims)


def staged_mean(conversion: Conversion, x: relax.Expr, axes: Sequence[int], keepdims: bool) -> relax.Expr:
    """The mean along ``axes``, which are in order and not empty."""
    return _in_stages(conversion, relax.op.mean, x, axes, keepdims)


def _in_stages(
    conversion: Conversion, operator: _Operator, x: relax.Expr, axes: Sequence[int], keepdims: bool
) -> relax.Expr:
    x = conversion.emit(x)
    shape = shape_of(x)
    if "float" not in dtype_of(x) or not _is_worth_stages(shape, axes):
        return operator(x, list(axes), keepdims=keepdims)
    runs = _runs(shape, axes)
    if axes[0] >= 2 and len(runs) == 2:
        # Batch and channels stay apart, so that a convolution's layout can go through to the sums.
        runs = [*((size, False) for size in shape[: axes[0]]), runs[-1]]
    if len(runs) == 1 and runs[0][1]:
        # A row in front, so that the sum is one along rows.
        runs = [(1, False), *runs]
    result = conversion.emit(relax.op.reshape(x, [size for size, _ in runs]))
    for axis in reversed(range(len(runs))):
        if runs[axis][1]:
            result = conversion.emit(_along(conversion, operator, result, axis))
    return relax.op.reshape(result, [1 if a in axes else n for a, n in enumerate(shape) if keepdims or a not in axes])


def _is_worth_stages(shape: Sequence[Size], axes: Sequence[int]) -> bool:
    sizes = [shape[axis] for axis in axes]
    count = math.prod(sizes) if all(isinstance(size, int) for size in sizes) else None
    if len(axes) == len(shape):
        return count is None or count >= _SHORTEST_ROW
    is_suffix = list(axes) == list(range(len(shape) - len(axes), len(shape)))
    if count is None:
        return sum(summed for _, summed in _runs(shape, axes)) > 1
    return count > _limit(is_suffix)


def _limit(is_suffix: bool) -> int:
    return _LONGEST_CHAIN * (_CHAINS_OF_A_ROW if is_suffix else 1)


def _runs(shape: Sequence[Size], axes: Sequence[int]) -> list[tuple[Size, bool]]:
    """Neighbouring axes that are summed, and those that are not, each as one: its size, and whether it is summed."""
    runs: list[tuple[Size, bool]] = []
    for axis, size in enumerate(shape):
        summed = axis in axes
        if runs and runs[-1][1] == summed:
            runs[-1] = (runs[-1][0] * size, summed)
        else:
            runs.append((size, summed))
    return runs


def _along(conversion: Conversion, operator: _Operator, x: relax.Expr, axis: int) -> relax.Expr:
    """Sum or mean along one axis, which goes."""
    shape = shape_of(x)
    size = shape[axis]
    if not isinstance(size, int) or size <= _limit(axis == len(shape) - 1):
        return operator(x, [axis])
    piece = _balanced_divisor(size)
    if piece is None:
        return _in_two_parts(conversion, operator, x, axis, size)
    pieces = conversion.emit(relax.op.reshape(x, [*shape[:axis], size // piece, piece, *shape[axis + 1 :]]))
    return operator(conversion.emit(operator(pieces, [axis + 1])), [axis])


def _balanced_divisor(size: int) -> int | None:
    """The divisor of ``size`` next to its square root, None where there is none near it."""
    root = math.isqrt(size)
    return next((divisor for divisor in range(root, root // 8, -1) if size % divisor == 0), None)


def _in_two_parts(conversion: Conversion, operator: _Operator, x: relax.Expr, axis: int, size: int) -> relax.Expr:
    """Most of an axis whose size has no fitting divisor, and the rest of it."""
    whole = math.isqrt(size) ** 2
    parts = []
    for begin, end in ((0, whole), (whole, size)):
        part = conversion.emit(relax.op.strided_slice(x, [axis], [begin], [end]))
        result = conversion.emit(_along(conversion, operator, part, axis))
        weight = (end - begin) / size if operator is relax.op.mean else 1.0
        parts.append(relax.op.multiply(result, scalar(weight, x)) if weight != 1.0 else result)
    return relax.op.add(*parts)
