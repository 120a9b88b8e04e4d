from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, random, schedules_for
from reference_convolution import convolve
from tvm import relax

from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy

DIRECT = PackActivations(WinogradPolicy(enabled=False))


def _convolution(weight: np.ndarray, padding: int):
    return lambda emit, data: relax.op.nn.conv2d(data, relax.const(weight), padding=[padding] * 4)


def _prefetches(weight: np.ndarray, shape: tuple[int, ...], padding: int) -> int:
    kernels = schedules_for("amd-zen5", _convolution(weight, padding), shape, arrange=DIRECT)
    return sum(kernel.func.script().count("llvm.prefetch") for kernel in kernels)


def test_large_weights_are_fetched_a_group_ahead():
    # 49 pixels in 7 tiles of 7: each fetches a seventh of the 32 lines of a chunk.
    assert _prefetches(random(64, 512, 1, 1), (1, 512, 7, 7), 0) == 5


@pytest.mark.parametrize(
    ("weight", "shape"),
    [
        ((64, 16, 1, 1), (1, 16, 7, 7)),
        ((64, 512, 1, 1), (1, 512, 56, 56)),
        ((64, 512, 1, 1), (1, 512, 1, 1)),
        ((64, 3, 16, 16), (1, 3, 64, 64)),
    ],
    ids=["small weights", "many tiles", "one tile", "plain channels"],
)
def test_where_it_does_not_pay_nothing_is_fetched(weight, shape):
    assert _prefetches(random(*weight), shape, 0) == 0


def test_matrix_products_fetch_the_next_columns():
    def build(emit, data):
        return relax.op.matmul(data, relax.const(random(768, 768)))

    def prefetches(rows):
        return sum(kernel.func.script().count("llvm.prefetch") for kernel in schedules_for("amd-zen5", build, rows))

    assert prefetches((128, 768)) > 0
    assert prefetches((1, 768)) == 0
    assert prefetches(("n", 768)) == 0


@pytest.mark.parametrize(("kernel", "size"), [(1, 7), (3, 7), (3, 15)])
def test_results_stay(kernel, size):
    data, weight = random(1, 256, size, size), random(64, 256, kernel, kernel, seed=1)
    compiled = compile_operator(_convolution(weight, kernel // 2), data.shape, arrange=DIRECT)
    attributes = {"strides": [1, 1], "padding": [kernel // 2] * 4, "dilation": [1, 1]}
    assert_close(compiled(data), convolve(data, weight, **attributes))
