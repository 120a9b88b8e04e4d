"""What has no schedule of its own: pools, indices of extrema, odd groups, and convolutions with run-time weights."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_checks import assert_close, at_every_level, compile_operator, random
from reference_convolution import convolve
from tvm import relax


@at_every_level
@pytest.mark.parametrize("kind", ["max_pool2d", "avg_pool2d"])
@pytest.mark.parametrize(
    ("shape", "size", "stride", "padding"),
    [
        ((1, 8, 13, 13), (3, 3), 2, (1, 1, 1, 1)),
        ((2, 3, 16, 24), (3, 3), 2, (1, 1, 1, 1)),
        ((1, 5, 9, 1), (2, 1), 1, (0, 0, 1, 0)),
        ((1, 17, 7, 7), (7, 7), 1, (0, 0, 0, 0)),
    ],
)
def test_pools(target, shape, size, stride, padding, kind):
    data = random(*shape)
    operator = getattr(relax.op.nn, kind)
    compiled = compile_operator(
        lambda emit, x: operator(x, pool_size=list(size), strides=[stride] * 2, padding=list(padding)),
        shape,
        target=target,
    )
    top, left, bottom, right = padding
    border = np.pad(data, [(0, 0), (0, 0), (top, bottom), (left, right)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(border, size, axis=(2, 3))[:, :, ::stride, ::stride]
    if kind == "max_pool2d":
        expected = windows.max((-1, -2))
    else:
        inside = np.isfinite(windows)
        expected = np.where(inside, windows, 0).sum((-1, -2), dtype=np.float64) / inside.sum((-1, -2))
    assert compiled.anchors == {"generic"}
    assert_close(compiled(data), expected)


@at_every_level
@pytest.mark.parametrize(("shape", "axis"), [((6, 50), 1), ((6, 50), 0), ((3, 1, 17), 2), ((2, 5, 33), 1)])
def test_index_of_the_largest(target, shape, axis):
    data = random(*shape)
    compiled = compile_operator(lambda emit, x: relax.op.argmax(x, axis=axis), shape, target=target)
    assert compiled.kernel.anchor == "generic"
    np.testing.assert_array_equal(compiled(data), data.argmax(axis=axis))


@at_every_level
@pytest.mark.parametrize(("groups", "inputs", "outputs"), [(3, 2, 3), (5, 1, 2), (2, 7, 1)])
def test_groups_that_do_not_fill_a_vector(target, groups, inputs, outputs):
    attributes = {"strides": [2, 1], "padding": [1, 0, 1, 2], "dilation": [1, 2], "groups": groups}
    data, weight = random(2, groups * inputs, 8, 9), random(groups * outputs, inputs, 3, 3, seed=1)
    compiled = compile_operator(
        lambda emit, x, w: relax.op.nn.conv2d(x, w, **attributes), data.shape, weight.shape, target=target
    )
    assert compiled.anchors == {"generic"}
    assert_close(compiled(data, weight), convolve(data, weight, **attributes))


@at_every_level
def test_a_reduction_over_other_rows_of_an_earlier_stage(target):
    """As many input as output channels: rows of equal number, yet each sums over several rows of the copy before."""
    data, weight = random(1, 136, 28, 28), random(136, 34, 1, 1)
    compiled = compile_operator(
        lambda emit, x, w: relax.op.nn.conv2d(x, w, groups=4), data.shape, weight.shape, target=target
    )
    assert compiled.kernel.anchor == "generic"
    grouped = data.reshape(4, 34, 784), weight.reshape(4, 34, 34)
    assert_close(compiled(data, weight), np.einsum("gip,goi->gop", *grouped).reshape(1, 136, 28, 28))


@pytest.mark.slow
@at_every_level
@pytest.mark.parametrize(("width", "channels"), list(itertools.product(range(1, 20), (1, 7, 16))))
def test_every_width_of_a_pool(target, width, channels):
    test_pools(target, (1, channels, 4, width), (3, 1), 1, (1, 0, 1, 0), "avg_pool2d")
