"""Kernels over packed activations against the formula: every tail of rows, columns, channels and tiles."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kernel_checks import assert_close, at_every_level, compile_operator, random, schedules_for
from reference_convolution import convolve, convolve_transposed
from tvm import relax

from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.passes.winograd.transforms import F2, F4

WINOGRAD_TOLERANCE = {2: 3e-6, 4: 3e-5}
"""Largest error as a share of the output's range; the transforms of larger tiles amplify rounding more."""

DIRECT = PackActivations(WinogradPolicy(enabled=False))


def _convolution(weight: np.ndarray, bias: np.ndarray, **attributes):
    rank = weight.ndim - 2
    operator = getattr(relax.op.nn, f"conv{rank}d")

    def build(emit, data):
        result = emit(operator(data, relax.const(weight), **attributes))
        result = emit(relax.op.add(result, relax.const(bias.reshape(1, -1, *[1] * rank))))
        return relax.op.nn.relu(result)

    return build


def _expected(data: np.ndarray, weight: np.ndarray, bias: np.ndarray, groups: int, **attributes) -> np.ndarray:
    plain = convolve(data, weight, groups=groups, **attributes)
    return np.maximum(plain + bias.reshape(1, -1, *[1] * (weight.ndim - 2)), 0)


def _check(data, weight, anchor, *, target="native", shape=None, arrange=DIRECT, tolerance=3e-6, **attributes) -> None:
    bias = random(weight.shape[0], seed=2)
    groups = attributes.pop("groups", 1)
    build = _convolution(weight, bias, groups=groups, **attributes)
    compiled = compile_operator(build, shape or data.shape, arrange=arrange, target=target)
    assert [kernel.refused for kernel in compiled.kernels if kernel.refused] == []
    assert anchor in compiled.anchors
    assert_close(compiled(data), _expected(data, weight, bias, groups, **attributes), tolerance)


# Widths 1, 7, 14 and 75 and channels 3, 10, 20 and 80 are no multiples of a tile or of every vector.
SHAPES = [
    ((1, 16, 7, 7), (32, 16, 3, 3), 1, 1, 1),
    ((2, 8, 14, 9), (20, 8, 3, 3), 2, 1, 1),
    ((1, 10, 10, 75), (13, 10, 3, 3), 1, 1, 1),
    ((1, 12, 9, 1), (24, 12, 1, 1), 1, 0, 1),
    ((1, 3, 23, 23), (16, 3, 7, 7), 2, 3, 1),
    ((1, 24, 12, 12), (80, 24, 3, 3), 1, 2, 2),
    ((1, 16, 1, 1), (64, 16, 1, 1), 1, 0, 1),
    ((1, 64, 7, 7), (96, 64, 1, 1), 1, 0, 1),
    ((2, 20, 9, 8), (33, 20, 1, 1), 2, 0, 1),
    ((1, 1, 9, 9), (3, 1, 3, 3), 1, 1, 1),
]


@at_every_level
@pytest.mark.parametrize(("data", "weight", "stride", "pad", "dilation"), SHAPES)
def test_convolution(target, data, weight, stride, pad, dilation):
    attributes = {"strides": [stride] * 2, "padding": [pad] * 4, "dilation": [dilation] * 2}
    _check(random(*data), random(*weight, seed=1), "packed_convolution", target=target, **attributes)


def test_uneven_padding():
    attributes = {"strides": [1, 1], "padding": [0, 2, 1, 0], "dilation": [1, 1]}
    _check(random(1, 8, 9, 9), random(16, 8, 3, 3, seed=1), "packed_convolution", **attributes)


def test_one_and_three_axes():
    one = {"strides": [1], "padding": [1, 1], "dilation": [1]}
    _check(random(1, 6, 37), random(16, 6, 3, seed=1), "packed_convolution", **one)
    three = {"strides": [1, 2, 1], "padding": [1] * 6, "dilation": [1] * 3}
    _check(random(1, 4, 5, 6, 7), random(8, 4, 3, 3, 3, seed=1), "packed_convolution", **three)


@pytest.mark.parametrize("groups", [2, 4])
def test_groups_of_whole_vectors(groups):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": groups}
    _check(random(1, 12, 10, 10), random(16 * groups, 12 // groups, 3, 3, seed=1), "packed_convolution", **attributes)


@at_every_level
@pytest.mark.parametrize(
    ("shape", "kernel", "stride", "dilation"),
    [
        ((1, 24, 7, 7), 3, 1, 1),
        ((2, 8, 14, 15), 3, 2, 1),
        ((1, 8, 16, 32), 5, 1, 1),
        ((1, 20, 9, 9), 7, 1, 1),
        ((1, 8, 1, 3), 3, 1, 1),
        ((1, 40, 112, 12), 3, 2, 1),
        ((1, 16, 13, 13), 3, 1, 2),
    ],
)
def test_depthwise(target, shape, kernel, stride, dilation):
    attributes = {
        "strides": [stride] * 2,
        "padding": [kernel // 2 * dilation] * 4,
        "dilation": [dilation] * 2,
        "groups": shape[1],
    }
    weight = random(shape[1], 1, kernel, kernel, seed=1)
    _check(random(*shape), weight, "packed_depthwise", target=target, **attributes)


def test_depthwise_with_one_axis():
    attributes = {"strides": [1], "padding": [2, 2], "dilation": [1], "groups": 20}
    _check(random(1, 20, 33), random(20, 1, 5, seed=1), "packed_depthwise", **attributes)


@at_every_level
@pytest.mark.parametrize(("stride", "kernel"), [(2, 2), (2, 4), (3, 3), (2, 3)])
def test_transposed(target, stride, kernel):
    weight = random(8, 20, kernel, kernel, seed=1)

    def build(emit, data):
        return relax.op.nn.conv2d_transpose(data, relax.const(weight), strides=[stride] * 2, padding=[1] * 4)

    data = random(1, 8, 6, 5)
    compiled = compile_operator(build, data.shape, arrange=DIRECT, target=target)
    assert "packed_convolution" in compiled.anchors
    assert_close(compiled(data), convolve_transposed(data, weight, strides=[stride] * 2, padding=[1] * 4))


@pytest.mark.parametrize(
    "shape", [("n", 16, "h", 32), ("n", 16, 20, "w"), (3, 16, "h", 32), ("n", 16, "h", "w")], ids=str
)
@pytest.mark.parametrize(("stride", "kernel", "groups"), [(1, 3, 1), (2, 3, 1), (1, 3, 2), (1, 1, 1)])
def test_some_sizes_symbolic(shape, stride, kernel, groups):
    attributes = {"strides": [stride] * 2, "padding": [1] * 4, "dilation": [1, 1], "groups": groups}
    weight = random(32, 16 // groups, kernel, kernel, seed=1)
    _check(random(3, 16, 20, 32), weight, "packed_convolution", shape=shape, **attributes)


@pytest.mark.parametrize("outputs", [1, 12, 20, 24, 32])
@pytest.mark.parametrize("shape", [(2, 6, 5, 4), ("n", 6, "h", "w")])
def test_transposed_without_overlap(outputs, shape):
    weight = random(6, outputs, 2, 3, seed=1)

    def build(emit, data):
        result = emit(relax.op.nn.conv2d_transpose(data, relax.const(weight), strides=[2, 3]))
        return relax.op.nn.relu(emit(relax.op.add(result, relax.const(random(outputs, 1, 1, seed=2)))))

    data = random(2, 6, 5, 4)
    compiled = compile_operator(build, shape, arrange=DIRECT)
    expected = convolve_transposed(data, weight, strides=[2, 3], padding=[0] * 4)
    assert_close(compiled(data), np.maximum(expected + random(outputs, 1, 1, seed=2), 0))


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("kernel", [1, 3])
def test_symbolic_batch_and_size(size, kernel):
    attributes = {"strides": [1, 1], "padding": [kernel // 2] * 4, "dilation": [1, 1]}
    data = random(2, 6, size, size + 1)
    weight = random(16, 6, kernel, kernel, seed=1)
    _check(data, weight, "packed_convolution", shape=("n", 6, "h", "w"), **attributes)


@pytest.mark.parametrize("size", [3, 8, 13])
def test_symbolic_depthwise(size):
    attributes = {"strides": [2, 2], "padding": [1] * 4, "dilation": [1, 1], "groups": 8}
    data = random(1, 8, size, size)
    _check(data, random(8, 1, 3, 3, seed=1), "packed_depthwise", shape=("n", 8, "h", "w"), **attributes)


def _winograd(transform) -> PackActivations:
    """A policy that takes this transform wherever it can."""
    return PackActivations(_Always(transform=transform))


class _Always(WinogradPolicy):
    def __init__(self, transform) -> None:
        object.__setattr__(self, "transform", transform)

    def choose(self, target, weight, output, direct_rate=1.0, times=None):
        from lepton_compiler.passes.winograd.choose_algorithm import Choice

        return Choice(self.transform, "the test asks for it")


@at_every_level
@pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])
@pytest.mark.parametrize(
    ("shape", "outputs", "padding"),
    [
        ((1, 16, 8, 8), 16, (1, 1, 1, 1)),
        ((1, 20, 7, 7), 24, (1, 1, 1, 1)),
        ((2, 8, 14, 9), 40, (1, 1, 1, 1)),
        ((1, 16, 57, 30), 16, (1, 1, 1, 1)),
        ((1, 5, 3, 3), 7, (0, 0, 0, 0)),
        ((1, 16, 10, 11), 16, (0, 1, 2, 0)),
        ((1, 16, 1, 1), 16, (1, 1, 1, 1)),
    ],
)
def test_winograd(target, transform, shape, outputs, padding):
    attributes = {"strides": [1, 1], "padding": list(padding), "dilation": [1, 1]}
    weight = random(outputs, shape[1], 3, 3, seed=1)
    arrange, tolerance = _winograd(transform), WINOGRAD_TOLERANCE[transform.outputs]
    _check(random(*shape), weight, "winograd", target=target, arrange=arrange, tolerance=tolerance, **attributes)


@pytest.mark.parametrize(
    ("batch", "channels", "size", "images"), [(8, 256, 7, 4), (6, 64, 7, 6), (11, 256, 7, 1), (2, 128, 28, 1)]
)
def test_steps_of_winograd_take_the_images_that_fit_the_second_cache(batch, channels, size, images):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
    data, weight = random(batch, channels, size, size), random(32, channels, 3, 3, seed=1)
    build = _convolution(weight, random(32, seed=2), **attributes)
    compiled = compile_operator(build, data.shape, arrange=_winograd(F4), target="amd-zen5")
    together = f"steps images={images} " if images > 1 else "steps tiles"
    assert any(together in kernel.schedule for kernel in compiled.kernels)
    _check(data, weight, "winograd", arrange=_winograd(F4), tolerance=WINOGRAD_TOLERANCE[4], **attributes)


@pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])
@pytest.mark.parametrize(("channels", "size"), [(16, 7), (20, 14), (16, 57)])
@pytest.mark.parametrize("batch", [1, 3])
def test_winograd_with_a_symbolic_batch(transform, channels, size, batch):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
    data, weight = random(batch, channels, size, size), random(24, channels, 3, 3, seed=1)
    shape, tolerance = ("n", channels, size, size), WINOGRAD_TOLERANCE[transform.outputs]
    _check(data, weight, "winograd", shape=shape, arrange=_winograd(transform), tolerance=tolerance, **attributes)


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "amd-zen5", "arm-cortex-a72", "arm-cortex-a7"])
def test_every_target_keeps_its_tile_in_registers(target):
    weight = random(64, 32, 3, 3)
    build = _convolution(weight, random(64), padding=[1] * 4)
    kernels = schedules_for(target, build, (1, 32, 28, 28), arrange=DIRECT)
    (kernel,) = [kernel for kernel in kernels if kernel.anchor == "packed_convolution"]
    text = kernel.func.script()
    assert 'scope="local"' in text
    assert "T.vectorized" in text
    assert "T.parallel" in text


@pytest.mark.slow
@at_every_level
@pytest.mark.parametrize(("width", "outputs"), list(itertools.product(range(1, 34), (1, 7, 16, 24, 40, 56))))
def test_every_width_and_channel_tail(target, width, outputs):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
    _check(random(1, 6, 5, width), random(outputs, 6, 3, 3, seed=1), "packed_convolution", target=target, **attributes)
