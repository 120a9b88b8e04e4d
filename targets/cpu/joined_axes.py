"""Joins neighbouring axes of a block into one, so that a tile may run across their borders."""

from __future__ import annotations

from tvm import s_tir, tirx
from tvm.s_tir import Schedule
from tvm_ffi import structural_equal, structural_map

from lepton_compiler.targets.cpu.block_analysis import BlockInfo


def join_axes(sch: Schedule, info: BlockInfo, first: int, end: int) -> Schedule:
    """Replaces the axes ``first`` to ``end - 1`` of a block by one that counts their elements in row-major order.

    Returns:
        A new schedule of the function with simplified indices; handles of the old one are void, names are kept.
    """
    sizes = [sch.get(axis.loop).extent for axis in info.axes]
    joined = [i for i in range(first, end) if not (isinstance(sizes[i], tirx.IntImm) and int(sizes[i]) == 1)]

    def number(*index: tirx.Var) -> tuple[tirx.Expr, ...]:
        # Axes of size 1 are left out: TVM would not see through the divisions that they leave behind.
        row = tirx.IntImm(str(sizes[first].ty.dtype), 0)
        for i in joined:
            row = index[i] if i == joined[0] else row * sizes[i] + index[i]
        return (*index[:first], row, *index[end:])

    dtype = str(sizes[first].ty.dtype)
    sch.transform_block_layout(info.block, tirx.IndexMap.from_func(number, ndim=len(sizes), index_dtype=dtype))
    # What remains of "r // 30 * 30 + r % 30" would hide from compute_at which part of the sums a tile reads.
    module = s_tir.transform.StmtSimplify()(sch.mod)
    for var, function in module.functions.items():
        module.update_func(var, function.with_body(rejoin(function.body)))
    return Schedule(module, debug_mask="none", error_render_level="fast")


def rejoin(statement: tirx.Stmt) -> tirx.Stmt:
    """Replaces ``r // (q m) * m + r // q % m`` by ``r // q``, for any sizes ``q`` and ``m``.

    TVM's simplifier does this for numbers; of symbolic sizes it does not know that they are positive.
    """
    return structural_map(statement, (tirx.Add, _rejoin_sum))


def _rejoin_sum(total: tirx.Add) -> tirx.Expr:
    for product, remainder in ((total.a, total.b), (total.b, total.a)):
        if isinstance(product, tirx.Mul) and isinstance(remainder, tirx.FloorMod) and _belong(product, remainder):
            return remainder.a
    return total


def _belong(product: tirx.Mul, remainder: tirx.FloorMod) -> bool:
    """Whether a product is the divisor of a remainder times the quotient that belongs to it."""
    number, sizes = _divided(remainder.a)
    divisor = _factors(remainder.b)
    factors = _factors(product)
    for i, factor in enumerate(factors):
        if _are_equal([*factors[:i], *factors[i + 1 :]], divisor):
            same, all_sizes = _divided(factor)
            if structural_equal(number, same) and _are_equal(all_sizes, [*sizes, *divisor]):
                return True
    return False


def _divided(expression: tirx.Expr) -> tuple[tirx.Expr, list[tirx.Expr]]:
    """What is divided, and all sizes by which it is: ``v // w // (h k)`` is ``v`` by ``w``, ``h`` and ``k``."""
    if not isinstance(expression, tirx.FloorDiv):
        return expression, []
    number, sizes = _divided(expression.a)
    return number, [*sizes, *_factors(expression.b)]


def _factors(size: tirx.Expr) -> list[tirx.Expr]:
    return [*_factors(size.a), *_factors(size.b)] if isinstance(size, tirx.Mul) else [size]


def _are_equal(left: list[tirx.Expr], right: list[tirx.Expr]) -> bool:
    """Whether two lists hold the same sizes in any order."""
    rest = list(right)
    for size in left:
        match = next((i for i, other in enumerate(rest) if structural_equal(size, other)), None)
        if match is None:
            return False
        rest.pop(match)
    return not rest
