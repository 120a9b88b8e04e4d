"""Concatenations, slices, reshapes and resizes inside of packed regions, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import LEVELS, assert_close, compile_operator, random
from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.layout.packed_channels import ChannelRange, smallest_piece
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy

DIRECT = PackActivations(WinogradPolicy(enabled=False))


def _pointwise(emit, data, outputs, seed):
    """A convolution, so that what follows stands in a packed region, and the weight for NumPy."""
    weight = random(outputs, int(data.ty.shape[1]), *[1] * (len(data.ty.shape) - 2), seed=seed)
    operator = getattr(relax.op.nn, f"conv{weight.ndim - 2}d")
    return emit(operator(data, relax.const(weight)))


def _expected(data: np.ndarray, outputs: int, seed: int) -> np.ndarray:
    weight = random(outputs, data.shape[1], seed=seed)
    return np.einsum("oc,nc...->no...", weight.reshape(outputs, -1), data)


def _compile(build, shape, target):
    compiled = compile_operator(build, shape, arrange=DIRECT, target=target)
    assert [kernel.refused for kernel in compiled.kernels if kernel.refused] == []
    return compiled


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("counts", [(24, 24, 24, 24), (8, 16, 24), (4, 12, 32), (16, 5), (24, 7), (20, 40), (36,)])
@pytest.mark.parametrize("shape", [(1, 3, 5, 6), (2, 3, 1, 1), (2, 3, 7), (1, 2, 3, 2, 4)])
def test_concatenation(target, counts, shape):
    def build(emit, data):
        return relax.op.concat([_pointwise(emit, data, count, seed) for seed, count in enumerate(counts, 1)], axis=1)

    data = random(*shape)
    expected = np.concatenate([_expected(data, count, seed) for seed, count in enumerate(counts, 1)], axis=1)
    assert_close(_compile(build, shape, target)(data), expected)


def test_concatenation_of_symbolic_sizes():
    def build(emit, data):
        return relax.op.concat([_pointwise(emit, data, 24, 1), _pointwise(emit, data, 20, 2)], axis=1)

    compiled = _compile(build, ("n", 3, "h", "w"), "native")
    for shape in ((1, 3, 1, 1), (2, 3, 5, 4)):
        data = random(*shape)
        assert_close(compiled(data), np.concatenate([_expected(data, 24, 1), _expected(data, 20, 2)], axis=1))


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize(
    ("channels", "begin", "end"),
    [(48, 0, 16), (48, 16, 48), (48, 8, 32), (48, 12, 20), (40, 16, 28), (40, 32, 40), (36, 4, 36)],
)
def test_slice_of_channels(target, channels, begin, end):
    def build(emit, data):
        y = _pointwise(emit, data, channels, 1)
        part = emit(relax.op.strided_slice(y, [1], [begin], [end], assume_inbound=True))
        return _pointwise(emit, part, 5, 2)

    data = random(2, 3, 4, 5)
    expected = _expected(_expected(data, channels, 1)[:, begin:end], 5, 2)
    assert_close(_compile(build, data.shape, target)(data), expected)


def test_smallest_piece():
    assert smallest_piece([ChannelRange(0, 24), ChannelRange(0, 24)], 16) == 8
    assert smallest_piece([ChannelRange(0, 16), ChannelRange(16, 32)], 16) == 16
    assert smallest_piece([ChannelRange(0, 6), ChannelRange(0, 16)], 16) == 2


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("channels", [16, 20])
def test_resize_by_table_and_by_factor(target, channels):
    rows = np.array([0, 2, 2, 1, 3, 0], np.int32)

    def nearest(data: te.Tensor, table: te.Tensor) -> te.Tensor:
        n, c, _, width = data.shape
        return te_compute(
            (n, c, len(rows), width * 2), lambda i, j, y, x: data(i, j, table(y), tirx.floordiv(x, 2)), name="nearest"
        )

    def build(emit, data):
        y = _pointwise(emit, data, channels, 1)
        resized = relax.BlockBuilder.current().call_te(nearest, y, relax.const(rows))
        return _pointwise(emit, emit(resized), 7, 2)

    data = random(2, 3, 4, 5)
    compiled = _compile(build, data.shape, target)
    expected = _expected(_expected(data, channels, 1)[:, :, rows].repeat(2, axis=3), 7, 2)
    assert_close(compiled(data), expected)
    assert "channelwise" in compiled.text


def test_a_kernel_that_mixes_channels_leaves_the_region():
    def reversed_channels(data: te.Tensor) -> te.Tensor:
        return te_compute(data.shape, lambda n, c, y, x: data(n, data.shape[1] - 1 - c, y, x), name="reversed")

    def build(emit, data):
        y = _pointwise(emit, data, 16, 1)
        return emit(relax.BlockBuilder.current().call_te(reversed_channels, y))

    data = random(1, 3, 4, 5)
    compiled = _compile(build, data.shape, "native")
    assert "channelwise" not in compiled.text
    assert_close(compiled(data), _expected(data, 16, 1)[:, ::-1])


@pytest.mark.parametrize("keepdims", [True, False])
@pytest.mark.parametrize("channels", [16, 24, 5])
def test_reshape_and_mean_of_spatial_axes(channels, keepdims):
    def build(emit, data):
        y = _pointwise(emit, data, channels, 1)
        rows = emit(relax.op.reshape(y, (2, channels, 10, 12)))
        means = emit(relax.op.mean(emit(relax.op.mean(rows, [3], keepdims=keepdims)), [2], keepdims=keepdims))
        return _pointwise(emit, emit(relax.op.reshape(means, (2, channels, 1, 1))), 5, 2)

    data = random(2, 3, 8, 15)
    expected = _expected(_expected(data, channels, 1).mean(axis=(2, 3), keepdims=True), 5, 2)
    compiled = _compile(build, data.shape, "native")
    assert "T_transpose" not in compiled.text
    assert_close(compiled(data), expected)
