from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, random
from tvm import relax


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    x = x.astype(np.float64)
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


@pytest.mark.parametrize("shape", [(3, 5), (2, 4, 197), (12, 128), (1, 1000), (7, 16), (40, 63), (5, 1)])
def test_softmax(shape):
    data = 4 * random(*shape)
    compiled = compile_operator(lambda emit, x: relax.op.nn.softmax(x, axis=-1), shape)
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


@pytest.mark.parametrize("width", [8, 65, 384])
def test_layer_norm(width):
    scale, shift = random(width, seed=1), random(width, seed=2)

    def build(emit, x):
        return relax.op.nn.layer_norm(x, relax.const(scale), relax.const(shift), axes=[-1], epsilon=1e-5)

    data = random(2, 17, width)
    compiled = compile_operator(build, data.shape)
    assert compiled.kernel.anchor == "row_reduction"
    wide = data.astype(np.float64)
    centred = wide - wide.mean(-1, keepdims=True)
    expected = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * scale + shift
    assert_close(compiled(data), expected)


@pytest.mark.parametrize("name", ["sum", "mean", "max", "min", "prod"])
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 64, 7, 7), [2, 3]), ((300, 40), [0]), ((300, 40), [1]), ((9, 8, 33), [1]), ((17, 70), [0, 1])],
)
def test_plain_reductions(name, shape, axes):
    data = random(*shape) * 0.1 + (1 if name == "prod" else 0)
    compiled = compile_operator(lambda emit, x: getattr(relax.op, name)(x, axes), shape)
    reference = {"max": np.max, "min": np.min}.get(name, getattr(np, name))
    assert_close(compiled(data), np.asarray(reference(data.astype(np.float64), axis=tuple(axes))), 5e-6)


def test_index_of_the_largest():
    data = random(6, 50)
    compiled = compile_operator(lambda emit, x: relax.op.argmax(x, axis=1), data.shape)
    np.testing.assert_array_equal(compiled(data), data.argmax(axis=1))


@pytest.mark.parametrize("shape", [(1, 8, 13, 13), (2, 3, 16, 24)])
@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d"])
def test_pools(shape, kind):
    data = random(*shape)
    compiled = compile_operator(
        lambda emit, x: getattr(relax.op.nn, kind)(x, pool_size=[3, 3], strides=[2, 2], padding=[1] * 4), shape
    )
    border = np.pad(data, [(0, 0), (0, 0), (1, 1), (1, 1)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(border, (3, 3), axis=(2, 3))[:, :, ::2, ::2]
    if kind == "max_pool2d":
        expected = windows.max((-1, -2))
    else:
        inside = np.isfinite(windows)
        expected = np.where(inside, windows, 0).sum((-1, -2), dtype=np.float64) / inside.sum((-1, -2))
    assert "T.vectorized" in compiled.text
    assert_close(compiled(data), expected)


def test_a_reduction_over_other_rows_of_an_earlier_stage_is_left_to_the_generic_schedule():
    """As many input as output channels: rows of equal number, yet each sums over several rows of the copy before."""
    data, weight = random(1, 136, 28, 28), random(136, 34, 1, 1)
    compiled = compile_operator(lambda emit, x, w: relax.op.nn.conv2d(x, w, groups=4), data.shape, weight.shape)
    assert compiled.kernel.anchor == "generic"
    grouped = data.reshape(4, 34, 784), weight.reshape(4, 34, 34)
    assert_close(compiled(data, weight), np.einsum("gip,goi->gop", *grouped).reshape(1, 136, 28, 28))
