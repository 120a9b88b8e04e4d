"""Arithmetic on sizes, element by element, against the same arithmetic on numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tvm
from hypothesis import given, settings
from hypothesis import strategies as st
from tvm import tirx

from lepton_compiler.frontend import shape_arithmetic
from lepton_compiler.frontend.shape_operators import evaluate
from lepton_compiler.frontend.shape_values import Ratio, ShapeValue, as_value, same_size, simplify

N, M = tirx.Var("n", "int64"), tirx.Var("m", "int64")


def at(expression: Any, n: int, m: int) -> float:
    """The value of an expression for given sizes."""
    if isinstance(expression, Ratio):
        return at(expression.numerator, n, m) / expression.denominator
    if not tvm.ir.is_prim_expr(expression):
        return expression
    analyzer = tvm.sym.Analyzer()
    analyzer.bind(N, tirx.IntImm("int64", n))
    analyzer.bind(M, tirx.IntImm("int64", m))
    return int(analyzer.simplify(expression))


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["Add", "Sub", "Mul", "Div", "Mod", "Min", "Max"]),
    st.integers(1, 9),
    st.integers(1, 40),
    st.integers(1, 40),
)
def test_integer_operators_agree_with_numbers(op: str, k: int, n: int, m: int) -> None:
    symbolic = shape_arithmetic.binary(op, N * k, M + k, "int64")
    plain = shape_arithmetic.binary(op, n * k, m + k, "int64")
    assert at(symbolic, n, m) == plain


@settings(deadline=None, max_examples=40)
@given(st.sampled_from([0.5, 2.0, 1.5, 0.25]), st.integers(1, 64))
def test_float_chains_stay_exact(factor: float, n: int) -> None:
    scaled = shape_arithmetic.binary("Mul", N, factor, "float32")
    for op, wanted in (("Floor", np.floor(n * factor)), ("Ceil", np.ceil(n * factor))):
        assert at(shape_arithmetic.cast(shape_arithmetic.unary(op, scaled), "int64"), n, 1) == wanted


def test_a_factor_without_a_short_fraction_is_left_to_the_model() -> None:
    assert shape_arithmetic.binary("Mul", N, 0.1, "float32") is NotImplemented


@pytest.mark.parametrize(("a", "b", "quotient"), [(7, 2, 3), (-7, 2, -3), (7, -2, -3), (-7, -2, 3)])
def test_integers_divide_towards_zero(a: int, b: int, quotient: int) -> None:
    assert shape_arithmetic.binary("Div", a, b, "int64") == quotient


def test_comparisons_that_hold_for_all_sizes_or_none() -> None:
    assert shape_arithmetic.compare("Equal", N, -1) is False
    assert shape_arithmetic.compare("Greater", N * 2, 0) is True
    for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        assert shape_arithmetic.compare(op, N, 4) is NotImplemented
        assert shape_arithmetic.compare(op, N, M) is NotImplemented


def test_same_size() -> None:
    assert same_size(N * 4 // 2, N * 2)
    assert not same_size(N, M)
    assert simplify((N + 3) - N) == 3


def test_numbers_become_an_ordinary_array() -> None:
    values = np.empty(2, object)
    values[:] = [N - N + 2, 3]
    result = as_value(values, "int32")
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.int32
    assert result.tolist() == [2, 3]


def shape(*values: Any) -> ShapeValue:
    array = np.empty(len(values), object)
    array[:] = values
    return ShapeValue(array, "int64")


def test_structural_operators_keep_symbols() -> None:
    dims = shape(N, 3, M, 5)
    (picked,) = evaluate("Gather", [dims, np.array([0, 2])], {}, 1) or []
    assert [same_size(a, b) for a, b in zip(picked.values, (N, M), strict=True)] == [True, True]
    (cut,) = evaluate("Slice", [dims, np.array([1]), np.array([-1])], {}, 1) or []
    assert cut.values.tolist()[0] == 3
    first, second = evaluate("Split", [dims], {"axis": 0}, 2) or []
    assert first.values.shape == second.values.shape == (2,)
    (product,) = evaluate("ReduceProd", [dims], {"keepdims": 0}, 1) or []
    assert at(product.values[()], 2, 7) == 2 * 3 * 7 * 5


def test_what_is_unknown_is_declined() -> None:
    assert evaluate("Where", [shape(N), shape(N), shape(M)], {}, 1) is None
    assert evaluate("NonZero", [shape(N)], {}, 1) is None
    assert evaluate("Gather", [shape(N, M), shape(M)], {}, 1) is None
