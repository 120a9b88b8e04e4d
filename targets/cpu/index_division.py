"""Divisions by symbolic sizes: floor division of what can't be negative -> plain division.

    (v // w, v % w)  ->  (truncdiv(v, w), truncmod(v, w))     v a sum of products of loop variables and sizes

TVM can't see that a symbolic size is positive and expands each floor division into a comparison with bindings. That is
slow, and where two places share such an index, the same variable is bound twice and LLVM code generation fails.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Var
from tvm.s_tir import SBlock
from tvm_ffi import structural_map, structural_walk


def divide_sizes(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """Replaces floor divisions and remainders by symbolic sizes wherever neither side can be negative."""
    counters = _non_negative_variables(func)

    def replace(division: tirx.FloorDiv | tirx.FloorMod) -> tirx.Expr:
        if isinstance(division.b, tirx.IntImm):
            return division
        if not (_is_non_negative(division.a, counters) and _is_non_negative(division.b, counters)):
            return division
        plain = tirx.truncdiv if isinstance(division, tirx.FloorDiv) else tirx.truncmod
        return plain(division.a, division.b)

    return func.with_body(structural_map(func.body, ((tirx.FloorDiv, tirx.FloorMod), replace)))


def _non_negative_variables(func: tirx.PrimFunc) -> set[Var]:
    """Loop variables, block variables, and the symbolic sizes of the parameters."""
    found: set[Var] = set()
    for parameter in func.params:
        for size in getattr(parameter.ty, "shape", ()):
            structural_walk(size, (Var, found.add))

    def note_axes(block: SBlock) -> None:
        found.update(axis.var for axis in block.iter_vars)

    structural_walk(func.body, [(tirx.For, lambda loop: found.add(loop.loop_var)), (SBlock, note_axes)])
    return found


def _is_non_negative(expression: tirx.Expr, variables: set[Var]) -> bool:
    """A proof by form: sums, products, quotients, remainders and extrema of what is not negative."""
    if isinstance(expression, tirx.IntImm):
        return int(expression) >= 0
    if isinstance(expression, Var):
        return expression in variables
    if isinstance(expression, tirx.Cast):
        return _is_non_negative(expression.value, variables)
    both = (tirx.Add, tirx.Mul, tirx.FloorDiv, tirx.FloorMod, tirx.Div, tirx.Mod, tirx.Min, tirx.Max)
    if isinstance(expression, both):
        return _is_non_negative(expression.a, variables) and _is_non_negative(expression.b, variables)
    return False
