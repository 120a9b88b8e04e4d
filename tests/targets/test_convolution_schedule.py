from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, at_every_level, compile_operator, random, schedules_for
from reference_convolution import convolve, convolve_transposed
from tvm import relax


def _convolution(weight: np.ndarray, bias: np.ndarray | None, **attributes):
    rank = weight.ndim - 2
    operator = getattr(relax.op.nn, f"conv{rank}d")

    def build(emit, data):
        result = emit(operator(data, relax.const(weight), **attributes))
        if bias is None:
            return result
        result = emit(relax.op.add(result, relax.const(bias.reshape(1, -1, *[1] * rank))))
        return relax.op.nn.relu(result)

    return build


def _check(data: np.ndarray, weight: np.ndarray, anchor: str, target: str = "native", **attributes) -> None:
    bias = random(weight.shape[0], seed=2)
    compiled = compile_operator(_convolution(weight, bias, **attributes), data.shape, target=target)
    assert compiled.kernel.refused is None
    assert compiled.kernel.anchor == anchor
    groups = attributes.pop("groups", 1)
    expected = convolve(data, weight, groups=groups, **attributes)
    expected = np.maximum(expected + bias.reshape(1, -1, *[1] * (weight.ndim - 2)), 0)
    assert_close(compiled(data), expected)


# Width, tile and channel tails: 7, 14, 75 and 1 are no multiples of a tile, 20 and 13 of a vector.
SHAPES = [
    ((1, 16, 7, 7), (32, 16, 3, 3), 1, 1, 1),
    ((2, 8, 14, 9), (20, 8, 3, 3), 2, 1, 1),
    ((1, 5, 10, 75), (13, 5, 3, 3), 1, 1, 1),
    ((1, 12, 9, 1), (24, 12, 1, 1), 1, 0, 1),
    ((1, 3, 23, 23), (16, 3, 7, 7), 2, 3, 1),
    ((1, 24, 12, 12), (24, 24, 3, 3), 1, 2, 2),
    ((1, 16, 1, 1), (64, 16, 1, 1), 1, 0, 1),
    ((1, 64, 7, 7), (128, 64, 1, 1), 1, 0, 1),
]


@at_every_level
@pytest.mark.parametrize(("data", "weight", "stride", "pad", "dilation"), SHAPES)
def test_agrees_with_the_formula(target, data, weight, stride, pad, dilation):
    _check(
        random(*data),
        random(*weight, seed=1),
        "convolution",
        target,
        strides=[stride] * 2,
        padding=[pad] * 4,
        dilation=[dilation] * 2,
    )


@at_every_level
def test_uneven_padding(target):
    attributes = {"strides": [1, 1], "padding": [0, 2, 1, 0], "dilation": [1, 1]}
    _check(random(1, 8, 9, 9), random(16, 8, 3, 3, seed=1), "convolution", target, **attributes)


@at_every_level
def test_one_and_three_axes(target):
    one = {"strides": [1], "padding": [1, 1], "dilation": [1]}
    _check(random(1, 6, 37), random(16, 6, 3, seed=1), "convolution", target, **one)
    three = {"strides": [1, 2, 1], "padding": [1] * 6, "dilation": [1] * 3}
    _check(random(1, 4, 5, 6, 7), random(8, 4, 3, 3, 3, seed=1), "convolution", target, **three)


@at_every_level
@pytest.mark.parametrize("groups", [2, 4])
def test_groups(target, groups):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": groups}
    _check(random(1, 16, 10, 10), random(32, 16 // groups, 3, 3, seed=1), "convolution", target, **attributes)


@at_every_level
def test_groups_that_do_not_fill_a_vector_get_the_generic_schedule(target):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1], "groups": 3}
    compiled = compile_operator(_convolution(random(9, 2, 3, 3), None, **attributes), (1, 6, 8, 8), target=target)
    assert compiled.kernel.anchor == "generic"
    data = random(1, 6, 8, 8, seed=5)
    assert_close(compiled(data), convolve(data, random(9, 2, 3, 3), **attributes))


@at_every_level
@pytest.mark.parametrize(
    ("shape", "kernel", "stride"),
    [((1, 24, 7, 7), 3, 1), ((2, 8, 14, 15), 3, 2), ((1, 8, 16, 32), 5, 1), ((1, 8, 9, 9), 7, 1), ((1, 8, 1, 3), 3, 1)],
)
def test_depthwise(target, shape, kernel, stride):
    attributes = {
        "strides": [stride] * 2,
        "padding": [kernel // 2] * 4,
        "dilation": [1, 1],
        "groups": shape[1],
    }
    _check(random(*shape), random(shape[1], 1, kernel, kernel, seed=1), "depthwise_convolution", target, **attributes)


@at_every_level
def test_depthwise_with_a_multiplier_and_with_dilation(target):
    attributes = {"strides": [1, 1], "padding": [2] * 4, "dilation": [2, 2], "groups": 6}
    _check(random(1, 6, 11, 11), random(18, 1, 3, 3, seed=1), "depthwise_convolution", target, **attributes)


@at_every_level
@pytest.mark.parametrize("groups", [1, 2])
def test_transposed(target, groups):
    weight = random(8, 8, 3, 3, seed=1)

    def build(emit, data):
        return relax.op.nn.conv2d_transpose(
            data, relax.const(weight), strides=[2, 2], padding=[1] * 4, output_padding=[0, 0], groups=groups
        )

    data = random(1, 8, 6, 5)
    compiled = compile_operator(build, data.shape, target=target)
    assert compiled.kernel.anchor == "convolution"
    expected = convolve_transposed(data, weight, strides=[2, 2], padding=[1] * 4, groups=groups)
    assert_close(compiled(data), expected)


@pytest.mark.parametrize("size", [1, 5, 12])
def test_symbolic_batch_and_size(size):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
    weight = random(16, 4, 3, 3, seed=1)
    compiled = compile_operator(_convolution(weight, None, **attributes), ("n", 4, "h", "w"))
    assert compiled.kernel.anchor == "convolution"
    data = random(2, 4, size, size + 1)
    assert_close(compiled(data), convolve(data, weight, **attributes))


@pytest.mark.parametrize("size", [3, 8, 13])
def test_symbolic_depthwise(size):
    attributes = {"strides": [2, 2], "padding": [1] * 4, "dilation": [1, 1], "groups": 8}
    weight = random(8, 1, 3, 3, seed=1)
    compiled = compile_operator(_convolution(weight, None, **attributes), ("n", 8, "h", "w"))
    data = random(1, 8, size, size)
    assert compiled.kernel.anchor == "depthwise_convolution"
    assert_close(compiled(data), convolve(data, weight, **attributes))


def test_residual_and_broadcast_behind_the_convolution():
    weight = random(16, 8, 1, 1, seed=1)

    def build(emit, data, residual, wide):
        result = emit(relax.op.nn.conv2d(data, relax.const(weight)))
        result = emit(relax.op.nn.relu(emit(relax.op.add(result, residual))))
        return relax.op.multiply(result, wide)

    data, residual, wide = random(1, 8, 1, 1), random(1, 16, 1, 1, seed=3), random(1, 16, 6, 6, seed=4)
    compiled = compile_operator(build, data.shape, residual.shape, wide.shape)
    plain = convolve(data, weight, strides=[1, 1], padding=[0] * 4, dilation=[1, 1])
    assert_close(compiled(data, residual, wide), np.maximum(plain + residual, 0) * wide)


@at_every_level
def test_a_weight_at_run_time_is_not_packed(target):
    def build(emit, data, weight):
        return relax.op.nn.conv2d(data, weight, padding=[1] * 4)

    data, weight = random(1, 4, 8, 8), random(6, 4, 3, 3, seed=1)
    compiled = compile_operator(build, data.shape, weight.shape, target=target)
    assert compiled.kernel.anchor == "generic"
    expected = convolve(data, weight, strides=[1, 1], padding=[1] * 4, dilation=[1, 1])
    assert_close(compiled(data, weight), expected)


@pytest.mark.parametrize("target", ["x86-64-v2", "x86-64-v3", "x86-64-v4", "arm-cortex-a72", "arm-cortex-a7"])
def test_every_target_keeps_its_tile_in_registers(target):
    weight = random(64, 32, 3, 3)
    (kernel,) = schedules_for(target, _convolution(weight, None, padding=[1] * 4), (1, 32, 28, 28))
    text = kernel.func.script()
    assert kernel.anchor == "convolution"
    assert 'scope="local"' in text
    assert "T.vectorized" in text
    assert "T.parallel" in text


@pytest.mark.slow
@at_every_level
@pytest.mark.parametrize("width", range(1, 34))
@pytest.mark.parametrize("outputs", [1, 7, 8, 24, 40, 56])
def test_every_width_and_channel_tail(target, width, outputs):
    attributes = {"strides": [1, 1], "padding": [1] * 4, "dilation": [1, 1]}
    _check(random(1, 6, 5, width), random(outputs, 6, 3, 3, seed=1), "convolution", target, **attributes)
