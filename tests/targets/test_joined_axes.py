from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, random
from tvm import relax, tirx
from tvm_ffi import structural_equal

from lepton_compiler.build.dim_expressions import evaluate
from lepton_compiler.targets.cpu.joined_axes import rejoin

V, H, W, K = (tirx.Var(name, "int64") for name in "vhwk")
ROWS = tirx.floordiv(H - 1, 2) + 1


def div(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    return tirx.floordiv(a, b)


def mod(a: tirx.Expr, b: tirx.Expr) -> tirx.Expr:
    return tirx.floormod(a, b)


REJOINED = {
    "two axes": (div(V, W) * W + mod(V, W), V),
    "the other way round": (mod(V, W) + W * div(V, W), V),
    "three axes": ((div(V, H * W) * H + mod(div(V, W), H)) * W + mod(V, W), V),
    "a size that is computed": ((div(V, ROWS * W) * ROWS + mod(div(V, W), ROWS)) * W + mod(V, W), V),
    "a size that is a product": (div(V, H * W) * H * W + mod(V, W * H), V),
    "a quotient": (div(V, K * W) * K + mod(div(V, W), K), div(V, W)),
}
KEPT = {
    "another divisor": div(V, W) * W + mod(V, H),
    "another number": div(V, W) * W + mod(K, W),
    "another factor": div(V, W) * H + mod(V, W),
    "a quotient too many": div(V, H * W) * W + mod(V, W),
    "no quotient": V * W + mod(V, W),
}


def rejoined(expression: tirx.Expr) -> tirx.Expr:
    return rejoin(tirx.Evaluate(expression)).value


@pytest.mark.parametrize("name", REJOINED)
def test_quotient_and_remainder_are_rejoined(name: str) -> None:
    expression, expected = REJOINED[name]
    result = rejoined(expression)
    assert structural_equal(result, expected)
    for v, h, w, k in itertools.product((0, 1, 7, 59), (1, 4), (1, 3), (2, 5)):
        values = {V: v, H: h, W: w, K: k}
        assert evaluate(result, values) == evaluate(expression, values)


@pytest.mark.parametrize("name", KEPT)
def test_what_does_not_belong_together_is_kept(name: str) -> None:
    assert structural_equal(rejoined(KEPT[name]), KEPT[name])


@pytest.mark.parametrize("columns", [4, 16, 20])
def test_product_of_an_image_of_symbolic_size_with_its_channels_last(columns: int) -> None:
    weight, image = random(24, columns, seed=1), random(2, 5, 3, 24)
    compiled = compile_operator(lambda emit, x: relax.op.matmul(x, relax.const(weight)), ("n", "h", "w", 24))
    assert compiled.kernel.anchor == "dense"
    assert compiled.kernel.refused is None
    assert_close(compiled(image), image.astype(np.float64) @ weight)
