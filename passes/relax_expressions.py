"""Relax expressions: the variables that they read, substitution, and types compared as arithmetic."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import tvm
import tvm_ffi
from tvm import relax

from lepton_compiler.core.errors import InternalError


def same_type(left: relax.Type, right: relax.Type) -> bool:
    """Whether two types are equal, dimensions compared as arithmetic: ``n * 2`` is ``2 * n``."""
    if tvm_ffi.structural_equal(left, right):
        return True
    if not (isinstance(left, relax.TensorType) and isinstance(right, relax.TensorType)):
        return False
    return left.dtype == right.dtype and same_shape(left.shape, right.shape)


def same_shape(left: relax.Expr | None, right: relax.Expr | None) -> bool:
    """Whether two known shapes are provably equal."""
    if not (isinstance(left, relax.ShapeExpr) and isinstance(right, relax.ShapeExpr)):
        return False
    if len(left.values) != len(right.values):
        return False
    analyzer = tvm.sym.Analyzer()
    return all(analyzer.can_prove_equal(a, b) for a, b in zip(left.values, right.values, strict=True))


def substitute(expr: relax.Expr, new_of_old: dict[relax.Var, relax.Expr]) -> relax.Expr:
    """``expr`` with variables replaced; items taken out of a known tuple become the item.

    Raises:
        InternalError: The expression is control flow, which no import makes.
    """
    if isinstance(expr, relax.Var):
        return new_of_old.get(expr, expr)
    if isinstance(expr, relax.Call):
        args = [substitute(arg, new_of_old) for arg in expr.args]
        if _are_same(args, expr.args):
            return expr
        return relax.Call(expr.op, args, expr.attrs, expr.ty_args, expr.span, expr.ty)
    if isinstance(expr, relax.Tuple):
        fields = [substitute(field, new_of_old) for field in expr.fields]
        return expr if _are_same(fields, expr.fields) else relax.Tuple(fields)
    if isinstance(expr, relax.TupleGetItem):
        source = substitute(expr.tuple_value, new_of_old)
        if isinstance(source, relax.Tuple):
            return source.fields[expr.index]
        return expr if source.same_as(expr.tuple_value) else relax.TupleGetItem(source, expr.index)
    if isinstance(expr, relax.If | relax.SeqExpr | relax.Function):
        raise InternalError(f"control flow inside of main can't be rewritten: {expr}")
    return expr


def _are_same(new: Sequence[relax.Expr], old: Sequence[relax.Expr]) -> bool:
    return all(a.same_as(b) for a, b in zip(new, old, strict=True))


def variables(expr: relax.Expr) -> Iterator[relax.Var]:
    """Tensor variables that ``expr`` reads, once for each time."""
    if isinstance(expr, relax.Var):
        yield expr
    elif isinstance(expr, relax.Call):
        for arg in expr.args:
            yield from variables(arg)
    elif isinstance(expr, relax.Tuple):
        for field in expr.fields:
            yield from variables(field)
    elif isinstance(expr, relax.TupleGetItem):
        yield from variables(expr.tuple_value)
