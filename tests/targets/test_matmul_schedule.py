from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, at_every_level, compile_operator, random, schedules_for
from tvm import relax


def _dense(weight: np.ndarray, bias: np.ndarray):
    def build(emit, data):
        product = emit(relax.op.matmul(data, relax.const(weight)))
        return relax.op.nn.relu(emit(relax.op.add(product, relax.const(bias))))

    return build


# Rows and columns that no tile divides, single rows and columns, several leading axes.
@at_every_level
@pytest.mark.parametrize(
    ("shape", "columns"),
    [
        ((1, 40), 33),
        ((13, 24), 17),
        ((2, 7, 20), 48),
        ((1, 30, 12), 25),
        ((5, 3), 7),
        ((2, 3, 4, 16), 8),
        ((64, 64), 72),
        ((40, 27), 1),
    ],
)
def test_dense(target, shape, columns):
    data, weight, bias = random(*shape), random(shape[-1], columns, seed=1), random(columns, seed=2)
    compiled = compile_operator(_dense(weight, bias), shape, target=target)
    assert compiled.kernel.anchor == "dense"
    assert_close(compiled(data), np.maximum(data.astype(np.float64) @ weight + bias, 0))


@pytest.mark.parametrize("rows", [1, 4, 9])
def test_dense_with_symbolic_rows(rows):
    weight, bias = random(24, 40, seed=1), random(40, seed=2)
    compiled = compile_operator(_dense(weight, bias), ("n", "s", 24))
    data = random(2, rows, 24)
    assert compiled.kernel.anchor == "dense"
    assert "T.vectorized" in compiled.text
    assert_close(compiled(data), np.maximum(data.astype(np.float64) @ weight + bias, 0))


@at_every_level
@pytest.mark.parametrize(
    ("left", "right"),
    [
        ((2, 3, 13, 16), (2, 3, 16, 29)),
        ((1, 4, 8, 8), (1, 4, 8, 16)),
        ((3, 7, 9), (9, 5)),
        ((2, 1, 6, 8), (3, 8, 10)),
        ((1, 64), (64, 33)),
        ((12, 128, 64), (12, 64, 128)),
    ],
)
def test_product_of_two_inputs(target, left, right):
    a, b = random(*left), random(*right, seed=1)
    compiled = compile_operator(lambda emit, x, y: relax.op.matmul(x, y), left, right, target=target)
    assert compiled.kernel.anchor == "matmul"
    assert_close(compiled(a, b), np.matmul(a.astype(np.float64), b))


@pytest.mark.parametrize("length", [1, 8, 19])
def test_attention_with_symbolic_length(length):
    compiled = compile_operator(lambda emit, x, y: relax.op.matmul(x, y), ("n", 2, "s", 16), ("n", 2, 16, "s"))
    a, b = random(2, 2, length, 16), random(2, 2, 16, length, seed=1)
    assert compiled.kernel.anchor == "matmul"
    assert_close(compiled(a, b), np.matmul(a.astype(np.float64), b))


@pytest.mark.parametrize(("left", "right"), [((16,), (16,)), ((5, 16), (16,)), ((16,), (16, 5))])
def test_vectors_get_the_generic_schedule(left, right):
    a, b = random(*left), random(*right, seed=1)
    compiled = compile_operator(lambda emit, x, y: relax.op.matmul(x, y), left, right)
    assert compiled.kernel.anchor != "matmul"
    assert_close(compiled(a, b), np.matmul(a.astype(np.float64), b))


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v4", "armv8-a", "arm-cortex-a7"])
def test_other_targets(target):
    (kernel,) = schedules_for(target, _dense(random(64, 96), random(96)), (1, 50, 64))
    assert kernel.anchor == "dense"
    assert 'scope="local"' in kernel.func.script()
    assert "T.vectorized" in kernel.func.script()


@pytest.mark.slow
@at_every_level
@pytest.mark.parametrize("rows", range(1, 15))
@pytest.mark.parametrize("columns", [1, 7, 8, 9, 16, 23, 40])
def test_every_tail(target, rows, columns):
    a, b = random(rows, 11), random(11, columns, seed=1)
    compiled = compile_operator(lambda emit, x, y: relax.op.matmul(x, y), a.shape, b.shape, target=target)
    assert_close(compiled(a, b), a.astype(np.float64) @ b)
    test_dense(target, (rows, 11), columns)
