"""Sizes computed from symbols become symbols of their own, where a function reads those symbols nowhere else.

    [n, (h + 1) // 4 - 1, w + 1]  ->  [n, size0, size1]

TVM's arithmetic of loops fails on products of such sizes ("is not divisible by"), of which it does not even know that
they are positive. A kernel takes the new symbols from its tensors' shapes like any others. A function that reads ``h``
elsewhere, as a sliding window does, keeps all sizes that follow from it, so that no relation between sizes is lost.
"""

from __future__ import annotations

from tvm import tirx
from tvm.ir import Var
from tvm_ffi import structural_equal, structural_map, structural_walk


def name_sizes(func: tirx.PrimFunc) -> tirx.PrimFunc:
    """The same function over sizes with names."""
    computed = _computed_sizes(func)
    while computed:
        named = _with_names(func, computed)
        rest = _symbols_read(named)
        kept = [size for size in computed if not rest & _symbols(size)]
        if len(kept) == len(computed):
            return named
        computed = kept
    return func


def _computed_sizes(func: tirx.PrimFunc) -> list[tirx.Expr]:
    """The different sizes of parameters that are neither numbers nor symbols."""
    found: list[tirx.Expr] = []
    for size in _sizes(func):
        if not isinstance(size, tirx.IntImm | Var) and not any(structural_equal(size, other) for other in found):
            found.append(size)
    return found


def _with_names(func: tirx.PrimFunc, computed: list[tirx.Expr]) -> tirx.PrimFunc:
    names = [tirx.Var(f"size{number}", "int64") for number in range(len(computed))]

    def rename(expression: tirx.Expr) -> tirx.Expr:
        matches = (name for size, name in zip(computed, names, strict=True) if structural_equal(size, expression))
        return next(matches, expression)

    return structural_map(func, (tuple({type(size) for size in computed}), rename))


def _symbols_read(func: tirx.PrimFunc) -> set[Var]:
    """Variables in the body and in the shapes of parameters; a parameter that is only passed is not read."""
    found: set[Var] = set()
    structural_walk(func.body, (Var, found.add))
    for size in _sizes(func):
        found |= _symbols(size)
    return found


def _sizes(func: tirx.PrimFunc) -> list[tirx.Expr]:
    return [size for parameter in func.params for size in getattr(parameter.ty, "shape", ())]


def _symbols(size: tirx.Expr) -> set[Var]:
    return set(tirx.analysis.undefined_vars(size))
