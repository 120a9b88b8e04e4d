"""Sizes of the manifest for given symbols."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from lepton_compiler.build.dim_expressions import evaluate, to_text
from lepton_compiler.core.manifest import TensorEntry
from lepton_compiler.evaluation.size_expressions import evaluate_size, symbol_sizes

SYMBOLS = {"batch": 3, "width": 50}


@pytest.mark.parametrize(
    ("size", "value"),
    [
        (None, None),
        (7, 7),
        ("batch", 3),
        ("batch * 4 + width", 62),
        ("min(batch, (width - 1) // 2) * 10 % 7", 2),
        ("max(batch, -width)", 3),
    ],
)
def test_sizes_are_evaluated(size: int | str | None, value: int | None) -> None:
    assert evaluate_size(size, SYMBOLS) == value


@pytest.mark.parametrize(
    "text",
    [
        "",
        "height * 2",
        "batch // 0",
        "batch ** 9",
        "batch.real",
        "__import__('os')",
        "min(batch, key=width)",
        "min()",
        "True",
        "1.5 * batch",
        "(" * 5000,
        "batch + " * 5000 + "1",
        "T.Cast(batch)",
        "batch\0",
    ],
)
def test_whatever_is_no_size_is_unknown(text: str) -> None:
    assert evaluate_size(text, SYMBOLS) is None


def test_a_symbol_that_looks_like_a_sum_is_not_read_as_one() -> None:
    assert evaluate_size("(past + 1) * 4", {"past": 1, "past + 1": 100}) is None
    assert evaluate_size("past * 4", {"past": 1, "past + 1": 100}) == 4


def test_symbols_take_the_sizes_of_the_inputs() -> None:
    inputs = (TensorEntry("x", "float32", ("batch", 3, "width")), TensorEntry("ids", "int64", ("batch",)))
    assert symbol_sizes(inputs, {"x": (3, 3, 50), "ids": (3,)}) == SYMBOLS


_VARIABLES = {name: tirx.Var(name, "int64") for name in SYMBOLS}
_LEAVES = st.one_of(
    st.integers(1, 100).map(lambda number: tirx.const(number, "int64")), st.sampled_from(list(_VARIABLES.values()))
)


def _combined(parts: st.SearchStrategy) -> st.SearchStrategy:
    kinds = st.sampled_from([tirx.Add, tirx.Sub, tirx.Mul, tirx.FloorDiv, tirx.FloorMod, tirx.Min, tirx.Max])
    return st.tuples(kinds, parts, parts).map(lambda drawn: drawn[0](drawn[1], drawn[2]))


@given(st.recursive(_LEAVES, _combined, max_leaves=8))
def test_agrees_with_the_compiler_on_what_the_compiler_writes(size: tirx.Expr) -> None:
    """But for a division by zero, which the compiler's code makes zero."""
    read = evaluate_size(to_text(size), SYMBOLS)
    values = {_VARIABLES[name]: number for name, number in SYMBOLS.items()}
    assert read is None or read == evaluate(size, values)
    if "//" not in to_text(size) and "%" not in to_text(size):
        assert read is not None
