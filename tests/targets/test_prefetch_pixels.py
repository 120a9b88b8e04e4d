from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, random, schedules_for
from reference_convolution import convolve
from tvm import relax

from lepton_compiler.passes.layout.pack_activations import PackActivations
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy

DIRECT = PackActivations(WinogradPolicy(enabled=False))


def _convolution(weight: np.ndarray, **attributes: object):
    return lambda emit, data: relax.op.nn.conv2d(data, relax.const(weight), **attributes)


def _conditional_prefetches(weight: np.ndarray, shape: tuple[int | str, ...], **attributes: object) -> int:
    """Prefetches that stand under the condition of the first group."""
    kernels = schedules_for("amd-zen5", _convolution(weight, **attributes), shape, arrange=DIRECT)
    lines = [line for kernel in kernels for line in kernel.func.script().splitlines()]
    return sum("< T.int64(1)" in line and line.strip().startswith("if ") for line in lines)


def test_a_batch_fetches_the_pixels_of_the_next_tile():
    weight = random(128, 256, 1, 1)
    assert _conditional_prefetches(weight, (4, 256, 14, 14)) > 0
    assert _conditional_prefetches(weight, ("n", 256, 14, 14)) > 0


@pytest.mark.parametrize(
    ("weight", "shape"),
    [((128, 256, 1, 1), (1, 256, 14, 14)), ((128, 240, 1, 1), (4, 240, 14, 14))],
    ids=["one image", "few chunks of channels"],
)
def test_what_hardware_or_caches_do_is_left_to_them(weight, shape):
    assert _conditional_prefetches(random(*weight), shape) == 0


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize(("kernel", "stride", "size"), [(1, 1, 7), (1, 2, 9), (3, 1, 7), (3, 2, 15)])
def test_results_stay(kernel, stride, size, groups):
    data, weight = random(3, 256 * groups, size, size), random(64, 256, kernel, kernel, seed=1)
    attributes = {"strides": [stride] * 2, "padding": [kernel // 2] * 4, "dilation": [1, 1], "groups": groups}
    compiled = compile_operator(_convolution(weight, **attributes), data.shape, arrange=DIRECT)
    assert_close(compiled(data), convolve(data, weight, **attributes))
