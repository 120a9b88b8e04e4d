from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, at_every_level, compile_operator, random
from tvm import relax


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    x = x.astype(np.float64)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@at_every_level
@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 197), (12, 128), (1, 1000), (7, 16), (40, 63), (5, 1)])
def test_softmax(target, shape):
    data = 4 * random(*shape)
    compiled = compile_operator(lambda emit, x: relax.op.nn.softmax(x, axis=-1), shape, target=target)
    assert compiled.kernel.anchor == "row_reduction"
    assert_close(compiled(data), _softmax(data, -1))


def test_softmax_over_another_axis():
    data = random(2, 9, 6, 20)
    compiled = compile_operator(lambda emit, x: relax.op.nn.softmax(x, axis=1), data.shape)
    assert "T.vectorized" in compiled.text
    assert_close(compiled(data), _softmax(data, 1))


@pytest.mark.parametrize("length", [1, 31, 64, 129])
def test_softmax_with_symbolic_rows_and_length(length):
    compiled = compile_operator(lambda emit, x: relax.op.nn.softmax(x, axis=-1), ("n", 3, "s", "s"))
    data = random(2, 3, length, length)
    assert compiled.kernel.anchor == "row_reduction"
    assert "T.parallel" in compiled.text
    assert "T.vectorized" in compiled.text
    assert_close(compiled(data), _softmax(data, -1))


@at_every_level
@pytest.mark.parametrize("width", [8, 65, 384])
def test_layer_norm(target, width):
    scale, shift = random(width, seed=1), random(width, seed=2)

    def build(emit, x):
        return relax.op.nn.layer_norm(x, relax.const(scale), relax.const(shift), axes=[-1], epsilon=1e-5)

    data = random(2, 17, width)
    compiled = compile_operator(build, data.shape, target=target)
    assert compiled.kernel.anchor == "row_reduction"
    wide = data.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift
    assert_close(compiled(data), expected)


@at_every_level
@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 64, 7, 7), [2, 3]), ((300, 40), [0]), ((300, 40), [1]), ((9, 8, 33), [1]), ((17, 70), [0, 1])],
)
def test_plain_reductions(target, name, shape, axes):
    data = random(*shape) * 0.1 + (1 if name == "prod" else 0)
    compiled = compile_operator(lambda emit, x: getattr(relax.op, name)(x, axes), shape, target=target)
    reference = {"max": np.max, "min": np.min}.get(name, getattr(np, name))
    assert_close(compiled(data), np.asarray(reference(data.astype(np.float64), axis=tuple(axes))), 5e-6)
