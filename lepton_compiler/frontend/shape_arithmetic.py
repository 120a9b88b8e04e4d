"""Arithmetic on single elements of shape values: Python numbers, integer expressions and exact ratios.

Every function returns ``NotImplemented`` where the result can't be written as an expression in the input's symbols;
the node then becomes an ordinary operator.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import tvm
from tvm import tirx

from lepton_compiler.frontend.shape_values import Ratio, analyzer_for, simplify

# A factor such as 0.3333333 has no short exact form, and a product with it is no size that anyone meant.
_LARGEST_DENOMINATOR = 1 << 16


def binary(op: str, a: Any, b: Any, dtype: str) -> Any:
    """``op`` of ONNX on two elements of type ``dtype``."""
    if dtype.startswith("float"):
        return _float_binary(op, a, b)
    if _is_number(a) and _is_number(b):
        return _number_binary(op, int(a), int(b))
    return _integer_binary(op, a, b)


def compare(op: str, a: Any, b: Any) -> Any:
    """A comparison of two elements: True or False where it holds for all sizes or for none."""
    if isinstance(a, Ratio) or isinstance(b, Ratio):
        return NotImplemented
    test = _COMPARISONS[op]
    if _is_number(a) and _is_number(b):
        return test(a, b)
    analyzer = analyzer_for(a, b)
    if analyzer.can_prove(test(a, b)):
        return True
    if analyzer.can_prove(_NEGATIONS[op](a, b)):
        return False
    return NotImplemented


def unary(op: str, a: Any) -> Any:
    """``op`` of ONNX on one element."""
    if op == "Neg":
        return Ratio(-a.numerator, a.denominator) if isinstance(a, Ratio) else -a
    if op == "Abs":
        return a if _is_nonnegative(a) else NotImplemented
    if op in ("Floor", "Ceil", "Round"):
        return _rounded(op, a)
    return NotImplemented


def cast(a: Any, to: str) -> Any:
    """An element converted to another element type."""
    if to == "bool":
        return compare("NotEqual", a, 0)
    if isinstance(a, float) and not to.startswith("float"):
        return int(a)
    if isinstance(a, Ratio) and not to.startswith("float"):
        return tirx.floordiv(a.numerator, a.denominator) if _is_nonnegative(a) else NotImplemented
    return a


_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": operator.eq,
    "NotEqual": operator.ne,
    "Less": operator.lt,
    "LessOrEqual": operator.le,
    "Greater": operator.gt,
    "GreaterOrEqual": operator.ge,
}
_NEGATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "Equal": operator.ne,
    "NotEqual": operator.eq,
    "Less": operator.ge,
    "LessOrEqual": operator.gt,
    "Greater": operator.le,
    "GreaterOrEqual": operator.lt,
}
_INTEGER_OPS: dict[str, Callable[[Any, Any], Any]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mul": operator.mul,
    "Min": tirx.min,
    "Max": tirx.max,
}


def _is_number(a: Any) -> bool:
    return not isinstance(a, Ratio) and not tvm.ir.is_prim_expr(a)


def _is_nonnegative(a: Any) -> bool:
    if isinstance(a, Ratio):
        return _is_nonnegative(a.numerator)
    if _is_number(a):
        return a >= 0
    return bool(analyzer_for(a).can_prove(a >= 0))


def _number_binary(op: str, a: int, b: int) -> Any:
    if op in ("Min", "Max"):
        return min(a, b) if op == "Min" else max(a, b)
    if op in ("Div", "Mod"):
        if b == 0:
            return NotImplemented
        # ONNX divides integers towards zero; its Mod takes the divisor's sign, as Python's does.
        return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1) if op == "Div" else a % b
    if op == "Pow":
        return a**b if b >= 0 else NotImplemented
    return _INTEGER_OPS[op](a, b)


def _integer_binary(op: str, a: Any, b: Any) -> Any:
    if op in _INTEGER_OPS:
        return _INTEGER_OPS[op](a, b)
    if op == "Pow":
        return math.prod([a] * b) if _is_number(b) and 0 < b <= 4 else NotImplemented
    positive = (_is_number(b) and b > 0) or (not _is_number(b) and analyzer_for(b).can_prove(b > 0))
    if not (positive and _is_nonnegative(a)):
        return NotImplemented
    return tirx.floordiv(a, b) if op == "Div" else tirx.floormod(a, b)


def _float_binary(op: str, a: Any, b: Any) -> Any:
    left, right = _as_ratio(a), _as_ratio(b)
    if left is None or right is None:
        return NotImplemented
    n1, d1, n2, d2 = left.numerator, left.denominator, right.numerator, right.denominator
    if op in ("Add", "Sub"):
        sign = 1 if op == "Add" else -1
        return _reduced(n1 * d2 + sign * n2 * d1, d1 * d2)
    if op == "Mul":
        return _reduced(n1 * n2, d1 * d2)
    if op in ("Min", "Max"):
        choose = tirx.min if op == "Min" else tirx.max
        return _reduced(choose(tvm.tirx.convert(n1 * d2), tvm.tirx.convert(n2 * d1)), d1 * d2)
    if op == "Div" and isinstance(n2, int) and n2 > 0:
        return _reduced(n1 * d2, d1 * n2)
    if op == "Div" and not _is_number(n2):
        # size_out / size_in is a plain number when one is a multiple of the other.
        quotient = simplify(tirx.floordiv(n1 * d2, n2 * d1))
        exact = simplify(quotient * n2 * d1 - n1 * d2)
        return (
            float(quotient) if isinstance(quotient, int) and isinstance(exact, int) and exact == 0 else NotImplemented
        )
    return NotImplemented


def _as_ratio(a: Any) -> Ratio | None:
    if isinstance(a, Ratio):
        return a
    if not _is_number(a):
        return Ratio(a, 1)
    if not math.isfinite(a):
        return None
    fraction = Fraction(a)
    return Ratio(fraction.numerator, fraction.denominator) if fraction.denominator <= _LARGEST_DENOMINATOR else None


def _reduced(numerator: Any, denominator: int) -> Any:
    numerator = simplify(numerator)
    if isinstance(numerator, int):
        return numerator / denominator
    analyzer = analyzer_for(numerator)
    for factor in (denominator, *(d for d in (2, 3, 5, 7) if denominator % d == 0)):
        if factor > 1 and analyzer.can_prove(tirx.floormod(numerator, factor) == 0):
            return _reduced(tirx.floordiv(numerator, factor), denominator // factor)
    return numerator if denominator == 1 else Ratio(numerator, denominator)


def _rounded(op: str, a: Any) -> Any:
    if _is_number(a):
        return float({"Floor": math.floor, "Ceil": math.ceil, "Round": round}[op](a))
    if not isinstance(a, Ratio):
        return a
    n, d = a.numerator, a.denominator
    if op == "Round":
        return NotImplemented
    return tirx.floordiv(n, d) if op == "Floor" else tirx.floordiv(n + (d - 1), d)
