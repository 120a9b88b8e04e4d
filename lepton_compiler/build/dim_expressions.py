"""Sizes: integers, or integer expressions in the model's symbols; how they are evaluated, and written as C."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import tvm_ffi
from tvm import tirx

from lepton_compiler.core.errors import InternalError

Size = int | tirx.Expr

_C_OPERATORS: dict[type, str] = {
    tirx.Add: "({} + {})",
    tirx.Sub: "({} - {})",
    tirx.Mul: "({} * {})",
    tirx.Div: "({} / {})",
    tirx.Mod: "({} % {})",
    tirx.FloorDiv: "floor_div({}, {})",
    tirx.FloorMod: "floor_mod({}, {})",
    tirx.Min: "min_of({}, {})",
    tirx.Max: "max_of({}, {})",
    tirx.EQ: "({} == {})",
    tirx.NE: "({} != {})",
    tirx.LT: "({} < {})",
    tirx.LE: "({} <= {})",
    tirx.GT: "({} > {})",
    tirx.GE: "({} >= {})",
    tirx.And: "({} && {})",
    tirx.Or: "({} || {})",
}

_TEXT_OPERATORS = {
    tirx.Add: "{} + {}",
    tirx.Sub: "{} - {}",
    tirx.Mul: "{} * {}",
    tirx.Div: "{} / {}",
    tirx.Mod: "{} % {}",
    tirx.FloorDiv: "{} // {}",
    tirx.FloorMod: "{} % {}",
    tirx.Min: "min({}, {})",
    tirx.Max: "max({}, {})",
}

_PYTHON_OPERATORS = {
    tirx.Add: lambda a, b: a + b,
    tirx.Sub: lambda a, b: a - b,
    tirx.Mul: lambda a, b: a * b,
    # C's division: towards zero.
    tirx.Div: lambda a, b: abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1),
    tirx.Mod: lambda a, b: abs(a) % abs(b) * (-1 if a < 0 else 1),
    tirx.FloorDiv: lambda a, b: a // b,
    tirx.FloorMod: lambda a, b: a % b,
    tirx.Min: min,
    tirx.Max: max,
    tirx.EQ: lambda a, b: int(a == b),
    tirx.NE: lambda a, b: int(a != b),
    tirx.LT: lambda a, b: int(a < b),
    tirx.LE: lambda a, b: int(a <= b),
    tirx.GT: lambda a, b: int(a > b),
    tirx.GE: lambda a, b: int(a >= b),
    tirx.And: lambda a, b: int(bool(a) and bool(b)),
    tirx.Or: lambda a, b: int(bool(a) or bool(b)),
}

C_HELPERS = """\
static inline int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }
static inline int64_t floor_mod(int64_t a, int64_t b) { return a - floor_div(a, b) * b; }
static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
"""
"""What the C text of ``to_c`` calls; one of them may go unused in a model."""


def plain_shape(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Turns TVM's integer immediates into Python integers."""
    return tuple(int(dim) if isinstance(dim, int | tirx.IntImm) else dim for dim in shape)


def substitute(expression: tirx.Expr, values: Mapping[tirx.Var, tirx.Expr]) -> tirx.Expr:
    """Replaces variables."""
    return tvm_ffi.structural_map(expression, (tirx.Var, lambda var: values.get(var, var)))


def evaluate(size: Size, values: Mapping[tirx.Var, int]) -> int:
    """The number that ``size`` has for these values of the symbols.

    Raises:
        InternalError: The expression holds an operator that sizes don't have, or a variable without a value.
    """
    if isinstance(size, int | tirx.IntImm):
        return int(size)
    if isinstance(size, tirx.Var) and size in values:
        return values[size]
    if isinstance(size, tirx.Cast):
        return evaluate(size.value, values)
    if isinstance(size, tirx.Not):
        return int(not evaluate(size.a, values))
    if isinstance(size, tirx.Select):
        return evaluate(size.true_value if evaluate(size.condition, values) else size.false_value, values)
    chosen = _if_then_else(size)
    if chosen is not None:
        return evaluate(chosen[1] if evaluate(chosen[0], values) else chosen[2], values)
    operator = _PYTHON_OPERATORS.get(type(size))
    if operator is None:
        raise InternalError(f"a size that can't be evaluated: {size}")
    return operator(evaluate(size.a, values), evaluate(size.b, values))


def to_c(size: Size, names: Mapping[tirx.Var, str]) -> str:
    """C expression of type ``int64_t``; ``names`` are the symbols' C names.

    Raises:
        InternalError: The expression holds an operator that sizes don't have, or an unknown variable.
    """
    if isinstance(size, int | tirx.IntImm):
        return f"INT64_C({int(size)})"
    if isinstance(size, tirx.Var) and size in names:
        return names[size]
    if isinstance(size, tirx.Cast):
        return to_c(size.value, names)
    if isinstance(size, tirx.Not):
        return f"(!{to_c(size.a, names)})"
    choice = (size.condition, size.true_value, size.false_value) if isinstance(size, tirx.Select) else None
    choice = choice or _if_then_else(size)
    if choice is not None:
        condition, true, false = (to_c(part, names) for part in choice)
        return f"({condition} ? {true} : {false})"
    template = _C_OPERATORS.get(type(size))
    if template is None:
        raise InternalError(f"a size that can't be written as C: {size}")
    return template.format(to_c(size.a, names), to_c(size.b, names))


def to_text(size: Size) -> str:
    """What people read: ``"batch * 4"``."""
    if isinstance(size, int | tirx.IntImm):
        return str(int(size))
    if isinstance(size, tirx.Var):
        return size.name
    template = _TEXT_OPERATORS.get(type(size))
    if template is None:
        return str(size)
    parts = [to_text(size.a), to_text(size.b)]
    if template[0] == "{":
        parts = [f"({part})" if " " in part and part[0] != "(" else part for part in parts]
    return template.format(*parts)


def _if_then_else(size: Size) -> tuple[tirx.Expr, tirx.Expr, tirx.Expr] | None:
    operator = getattr(size, "op", None)
    if getattr(operator, "name", None) == "tirx.if_then_else":
        return tuple(size.args)  # type: ignore[return-value,union-attr]
    return None
