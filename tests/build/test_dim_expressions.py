import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tvm import tirx

from lepton_compiler.build.dim_expressions import (
    C_HELPERS,
    Size,
    evaluate,
    plain_shape,
    same_product,
    substitute,
    to_c,
    to_text,
)
from lepton_compiler.build.toolchain import run_zig
from lepton_compiler.core.errors import InternalError
from lepton_compiler.targets.registry import native_target

SYMBOLS = tuple(tirx.Var(name, "int64") for name in ("a", "b", "c"))
A, B, C = SYMBOLS
INT64_MAX = (1 << 63) - 1

FLOOR_OPERATORS = (tirx.Add, tirx.Sub, tirx.Mul, tirx.FloorDiv, tirx.FloorMod, tirx.Min, tirx.Max)
OPERATORS = (*FLOOR_OPERATORS, tirx.Div, tirx.Mod)
COMPARISONS = (tirx.EQ, tirx.NE, tirx.LT, tirx.LE, tirx.GT, tirx.GE)


def integer(value: int) -> tirx.IntImm:
    return tirx.IntImm("int64", value)


@st.composite
def floor_expressions(draw: st.DrawFn, depth: int = 3) -> tirx.Expr:
    if depth == 0 or draw(st.integers(0, 3)) == 0:
        return draw(st.sampled_from(SYMBOLS) | st.integers(-9, 9).map(integer))
    operands = floor_expressions(depth=depth - 1)
    return draw(st.sampled_from(FLOOR_OPERATORS))(draw(operands), draw(operands))


def random_expression(rng: random.Random, depth: int) -> tirx.Expr:
    """Any expression that sizes may be, with every operator, cast, choice and condition."""
    if depth == 0:
        return rng.choice([*SYMBOLS, integer(rng.randint(-9, 9)), integer(rng.choice([2**31, 2**62, -(2**63)]))])
    operands = [random_expression(rng, depth - 1) for _ in range(2)]
    kind = rng.random()
    if kind < 0.7:
        return rng.choice(OPERATORS)(*operands)
    condition = random_condition(rng, depth - 1)
    if kind < 0.8:
        return tirx.Cast("int64", condition)
    if kind < 0.9:
        return tirx.Select(condition, *operands)
    return tirx.if_then_else(condition, *operands)


def random_condition(rng: random.Random, depth: int) -> tirx.Expr:
    if depth > 0 and rng.random() < 0.5:
        conditions = [random_condition(rng, depth - 1) for _ in range(2)]
        return rng.choice([tirx.And(*conditions), tirx.Or(*conditions), tirx.Not(conditions[0])])
    return rng.choice(COMPARISONS)(*(random_expression(rng, max(depth - 1, 0)) for _ in range(2)))


def run_c(expressions: list[tirx.Expr], values: list[tuple[int, int, int]], folder: Path) -> list[list[int]]:
    """What the C text of each expression gives for each triple of values."""
    names = dict(zip(SYMBOLS, "abc", strict=True))
    functions = [
        f"static int64_t f{i}(int64_t a, int64_t b, int64_t c) {{ (void)a, (void)b, (void)c; return {text}; }}"
        for i, text in enumerate(to_c(expression, names) for expression in expressions)
    ]
    table = ", ".join(f"f{i}" for i in range(len(expressions)))
    (folder / "sizes.c").write_text(
        "\n".join(
            [
                "#include <inttypes.h>\n#include <stdio.h>",
                C_HELPERS,
                *functions,
                f"static int64_t (*const table[])(int64_t, int64_t, int64_t) = {{{table}}};",
                "int main(void) {",
                "  int64_t a, b, c;",
                '  while (scanf("%" SCNd64 " %" SCNd64 " %" SCNd64, &a, &b, &c) == 3)',
                f"    for (int i = 0; i < {len(expressions)}; i++)",
                '      printf("%" PRId64 "\\n", table[i](a, b, c));',
                "}",
            ]
        )
    )
    target = native_target()
    # Overflow traps, so that agreement also shows that none happens.
    run_zig(["-target", target.zig_triple, "-O1", "-fsanitize=signed-integer-overflow,integer-divide-by-zero",
             "-fsanitize-trap=all", "sizes.c", "-o", "sizes"], folder)  # fmt: skip
    given_values = "\n".join(" ".join(map(str, triple)) for triple in values)
    done = subprocess.run([folder / "sizes"], input=given_values, capture_output=True, text=True, check=True)
    numbers = iter(map(int, done.stdout.split()))
    return [[next(numbers) for _ in expressions] for _ in values]


def test_c_text_computes_what_evaluate_does(tmp_path: Path) -> None:
    rng = random.Random(20)
    expressions: list[tirx.Expr] = [random_expression(rng, depth) for depth in (1, 2, 3) for _ in range(80)]
    expressions += [operator(A, B) for operator in OPERATORS]
    values = [(rng.randint(-40, 40), rng.randint(-7, 7), rng.randint(1, 2000)) for _ in range(40)]
    values += [(7, 2, 1), (-7, 2, 1), (7, -2, 1), (-7, -2, 1), (-8, 2, 1), (5, 0, 1), (-5, 0, 1), (-(2**63), -1, 1)]
    computed = run_c(expressions, values, tmp_path)
    for triple, row in zip(values, computed, strict=True):
        known = dict(zip(SYMBOLS, triple, strict=True))
        assert row == [evaluate(expression, known) for expression in expressions], triple


@pytest.mark.parametrize(
    ("operator", "expected"),
    [
        (tirx.FloorDiv, {(7, 2): 3, (-7, 2): -4, (7, -2): -4, (-7, -2): 3, (-8, 2): -4}),
        (tirx.FloorMod, {(7, 2): 1, (-7, 2): 1, (7, -2): -1, (-7, -2): -1, (-8, 2): 0}),
        (tirx.Div, {(7, 2): 3, (-7, 2): -3, (7, -2): -3, (-7, -2): 3, (-8, 2): -4}),
        (tirx.Mod, {(7, 2): 1, (-7, 2): -1, (7, -2): 1, (-7, -2): -1, (-8, 2): 0}),
    ],
)
def test_division_of_negative_numbers(operator: type, expected: dict[tuple[int, int], int]) -> None:
    assert {pair: evaluate(operator(A, B), {A: pair[0], B: pair[1]}) for pair in expected} == expected


@pytest.mark.parametrize("operator", [tirx.Div, tirx.Mod, tirx.FloorDiv, tirx.FloorMod])
def test_division_by_zero_gives_zero(operator: type) -> None:
    assert evaluate(operator(A, B), {A: 5, B: 0}) == 0


@pytest.mark.parametrize("operator", [tirx.Add, tirx.Mul])
def test_what_does_not_fit_saturates(operator: type) -> None:
    assert evaluate(operator(A, B), {A: 1 << 62, B: 1 << 62}) == INT64_MAX
    assert evaluate(operator(A, B), {A: -(1 << 62) * 2, B: (1 << 62) if operator is tirx.Mul else -1}) == -INT64_MAX - 1


@given(floor_expressions(), st.tuples(*[st.integers(-20, 20)] * 3))
def test_text_means_the_expression(expression: tirx.Expr, values: tuple[int, int, int]) -> None:
    try:
        meaning = eval(to_text(expression), {"min": min, "max": max}, dict(zip("abc", values, strict=True)))
    except ZeroDivisionError:
        return
    assert meaning == evaluate(expression, dict(zip(SYMBOLS, values, strict=True)))


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (7, "7"),
        (integer(7), "7"),
        (A, "a"),
        (A * 4, "a * 4"),
        (A - 1, "a - 1"),
        (A + (-1), "a - 1"),
        ((A + 1) * B, "(a + 1) * b"),
        (A * B + C, "a * b + c"),
        (A - (B - C), "a - (b - c)"),
        (A + B + C, "a + b + c"),
        (tirx.floordiv(A + 1, 2), "(a + 1) // 2"),
        (tirx.floordiv((A + B) * (B + C), 2) * 3, "(a + b) * (b + c) // 2 * 3"),
        (tirx.floordiv(A, tirx.floordiv(B, 2)), "a // (b // 2)"),
        (((A + B) * 2 + 1) * 3, "((a + b) * 2 + 1) * 3"),
        (tirx.Min(A, B + 1), "min(a, b + 1)"),
        (tirx.Var("past + 1", "int64"), "past + 1"),
        (tirx.Var("past + 1", "int64") * 2, "(past + 1) * 2"),
    ],
)
def test_text(size: int | tirx.Expr, text: str) -> None:
    assert to_text(size) == text


def test_substitution_replaces_every_occurrence_at_once() -> None:
    # At once: the b that takes a's place is not replaced in its turn.
    replaced = substitute(A * 2 + tirx.Max(A, B), {A: B, B: C})
    assert evaluate(replaced, {B: 10, C: 3}) == 10 * 2 + 10


def test_plain_shape_leaves_expressions_alone() -> None:
    shape = plain_shape([integer(3), 4, A, A * 2])
    assert shape[:2] == (3, 4)
    assert all(type(dim) is int for dim in shape[:2])
    assert shape[2].same_as(A)


@pytest.mark.parametrize("write", [lambda size: evaluate(size, {A: 1}), lambda size: to_c(size, {A: "a"})])
def test_unknown_variable_and_operator_are_errors(write: Callable[[tirx.Expr], object]) -> None:
    with pytest.raises(InternalError, match=r"size that can't be .*: b"):
        write(A + B)
    with pytest.raises(InternalError, match=r"size that can't be .*: a << "):
        write(A << 1)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ((2, 3), (6,), True),
        ((2, 3), (7,), False),
        ((A, B, 4), (2, B * A, 2), True),
        ((A, 4), (A, 5), False),
        ((A + 1, B, C), (C * ((1 + A) * B),), True),
        ((A, (B + 1) * 2), (A * 2 * B + A * 2,), True),
        ((A, tirx.floordiv(B + 2, 2), 6), (3, A, tirx.floordiv(B, 2) + 1, 2), True),
        ((A, tirx.floordiv(B, 2), 2), (A, B), False),
        ((A, B), (A, C), False),
        ((0, A), (0, B), True),
        ((), (1,), True),
    ],
)
def test_products_are_compared_as_arithmetic(left: Sequence[Size], right: Sequence[Size], same: bool) -> None:
    assert same_product(left, right) == same
