"""Sizes: integers, or integer expressions in the model's symbols; how they are evaluated, and written as C."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence

import tvm
import tvm_ffi
from tvm import tirx

from lepton_compiler.core.errors import InternalError

Size = int | tirx.Expr

_C_OPERATORS: dict[type, str] = {
    tirx.Add: "saturating_add({}, {})",
    tirx.Sub: "saturating_sub({}, {})",
    tirx.Mul: "saturating_mul({}, {})",
    tirx.Div: "trunc_div({}, {})",
    tirx.Mod: "trunc_mod({}, {})",
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

# Sign and how tightly it binds.
_TEXT_OPERATORS: dict[type, tuple[str, int]] = {
    tirx.Add: ("+", 1),
    tirx.Sub: ("-", 1),
    tirx.Mul: ("*", 2),
    tirx.Div: ("/", 2),
    tirx.Mod: ("%", 2),
    tirx.FloorDiv: ("//", 2),
    tirx.FloorMod: ("%", 2),
}
_TEXT_FUNCTIONS: dict[type, str] = {tirx.Min: "min", tirx.Max: "max"}

_INT64_MAX = (1 << 63) - 1
_INT64_MIN = -(1 << 63)


def _saturated(value: int) -> int:
    return max(_INT64_MIN, min(value, _INT64_MAX))


def _trunc_div(a: int, b: int) -> int:
    return _saturated(abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)) if b else 0


def _trunc_mod(a: int, b: int) -> int:
    return abs(a) % abs(b) * (-1 if a < 0 else 1) if b else 0


_PYTHON_OPERATORS = {
    tirx.Add: lambda a, b: _saturated(a + b),
    tirx.Sub: lambda a, b: _saturated(a - b),
    tirx.Mul: lambda a, b: _saturated(a * b),
    tirx.Div: _trunc_div,
    tirx.Mod: _trunc_mod,
    tirx.FloorDiv: lambda a, b: _saturated(a // b) if b else 0,
    tirx.FloorMod: lambda a, b: a % b if b else 0,
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
static inline int64_t saturating_add(int64_t a, int64_t b) {
  int64_t sum;
  return __builtin_add_overflow(a, b, &sum) ? (b < 0 ? INT64_MIN : INT64_MAX) : sum;
}
static inline int64_t saturating_sub(int64_t a, int64_t b) {
  int64_t difference;
  return __builtin_sub_overflow(a, b, &difference) ? (b < 0 ? INT64_MAX : INT64_MIN) : difference;
}
static inline int64_t saturating_mul(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? ((a < 0) == (b < 0) ? INT64_MAX : INT64_MIN) : product;
}
static inline int64_t trunc_div(int64_t a, int64_t b) {
  if (b == 0) return 0;
  return b == -1 ? saturating_sub(0, a) : a / b;
}
static inline int64_t trunc_mod(int64_t a, int64_t b) { return b == 0 || b == -1 ? 0 : a % b; }
static inline int64_t floor_div(int64_t a, int64_t b) {
  return trunc_div(a, b) - (trunc_mod(a, b) != 0 && (a < 0) != (b < 0));
}
static inline int64_t floor_mod(int64_t a, int64_t b) {
  int64_t rest = trunc_mod(a, b);
  return rest != 0 && (rest < 0) != (b < 0) ? rest + b : rest;
}
static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
"""
"""What the C text of ``to_c`` calls: defined for all values, because sizes come from whoever runs the model. Results
that do not fit saturate, and a division by zero gives zero. Some may go unused in a model."""


def plain_shape(shape: Sequence[Size]) -> tuple[Size, ...]:
    """Turns TVM's integer immediates into Python integers."""
    return tuple(int(dim) if isinstance(dim, int | tirx.IntImm) else dim for dim in shape)


def substitute(expression: tirx.Expr, values: Mapping[tirx.Var, tirx.Expr]) -> tirx.Expr:
    """Replaces variables."""
    return tvm_ffi.structural_map(expression, (tirx.Var, lambda var: values.get(var, var)))


def bind_sizes(parameters: Sequence[tirx.Var], arguments: Sequence[Sequence[Size] | Size]) -> dict[tirx.Var, tirx.Expr]:
    """What a kernel's own symbols are where it is called.

    Args:
        parameters: The kernel's parameters: buffers whose shapes are symbols and sizes, and scalars.
        arguments: For each parameter the buffer's shape in the caller's symbols, or the scalar's value.
    """
    bound: dict[tirx.Var, tirx.Expr] = {}
    for parameter, argument in zip(parameters, arguments, strict=True):
        is_buffer = tirx.is_buffer_var(parameter)
        pairs = zip(parameter.shape, argument, strict=True) if is_buffer else [(parameter, argument)]
        for mine, given in pairs:
            if isinstance(mine, tirx.Var):
                bound.setdefault(mine, tirx.const(given, "int64") if isinstance(given, int) else given)
    return bound


def same_product(left: Sequence[Size], right: Sequence[Size]) -> bool:
    """Whether the products of these sizes are equal for all values of their symbols, as far as that is provable."""
    (one, factors), (other, unmatched) = _factors(left), _factors(right)
    analyzer = tvm.sym.Analyzer()
    # TVM multiplies sums out and then does not see that two products are the same: common factors go first.
    rest = []
    for factor in factors:
        match = next((i for i, candidate in enumerate(unmatched) if analyzer.can_prove_equal(factor, candidate)), None)
        if match is None:
            rest.append(factor)
        else:
            unmatched.pop(match)
    products = [
        functools.reduce(tirx.Mul, sizes, tirx.const(number, "int64"))
        for number, sizes in ((one, rest), (other, unmatched))
    ]
    return bool(analyzer.can_prove_equal(*products))


def _factors(sizes: Iterable[Size]) -> tuple[int, list[tirx.Expr]]:
    """The numbers among the factors as one, and the others."""
    number, others = 1, []
    for size in sizes:
        if isinstance(size, tirx.Mul):
            inner, more = _factors((size.a, size.b))
            number, others = number * inner, others + more
        elif isinstance(size, int | tirx.IntImm):
            number *= int(size)
        else:
            others.append(size)
    return number, others


def evaluate(size: Size, values: Mapping[tirx.Var, int]) -> int:
    """The number that ``size`` has for these values of the symbols, exactly as its C text computes it.

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
    """C expression that fits into ``int64_t``; ``names`` are the symbols' C names, ``C_HELPERS`` must stand before it.

    Raises:
        InternalError: The expression holds an operator that sizes don't have, or an unknown variable.
    """
    if isinstance(size, int | tirx.IntImm):
        # C has no negative literals, and the smallest integer is no literal's opposite.
        return f"INT64_C({int(size)})" if int(size) > _INT64_MIN else "INT64_MIN"
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
    return _text(size, 0)


def _text(size: Size, tightness: int) -> str:
    """Text of ``size``, in parentheses where it binds less tightly than what is around it."""
    if isinstance(size, int | tirx.IntImm):
        return str(int(size))
    if isinstance(size, tirx.Var):
        # The name is the model's own and may be "past + 1".
        return size.name if tightness == 0 or size.name.isidentifier() else f"({size.name})"
    if type(size) in _TEXT_FUNCTIONS:
        return f"{_TEXT_FUNCTIONS[type(size)]}({_text(size.a, 0)}, {_text(size.b, 0)})"
    if type(size) not in _TEXT_OPERATORS:
        return str(size)
    sign, own = _TEXT_OPERATORS[type(size)]
    right = size.b
    if sign == "+" and isinstance(right, tirx.IntImm) and int(right) < 0:
        sign, right = "-", -int(right)
    # a - (b - c) and a * (b // c) need their parentheses, a + (b - c) doesn't.
    text = f"{_text(size.a, own)} {sign} {_text(right, own if sign == '+' else own + 1)}"
    return text if tightness <= own else f"({text})"


def _if_then_else(size: Size) -> tuple[tirx.Expr, tirx.Expr, tirx.Expr] | None:
    operator = getattr(size, "op", None)
    if getattr(operator, "name", None) == "prim.if_then_else":
        return tuple(size.args)  # type: ignore[return-value,union-attr]
    return None
