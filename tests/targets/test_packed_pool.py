"""Maximum pools inside of packed regions against NumPy: borders, strides, dilation, rounding up."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import LEVELS, compile_operator, random
from numpy.lib.stride_tricks import sliding_window_view
from tvm import relax

from lepton_compiler.passes.layout.pack_activations import PackActivations


def _pooled(
    data: np.ndarray, kernel: list[int], strides: list[int], padding: list[int], dilation: list[int], ceil: bool
):
    rank = len(kernel)
    reach = [(kernel[i] - 1) * dilation[i] + 1 for i in range(rank)]
    widths = [(0, 0), (0, 0)]
    for i in range(rank):
        before, after = padding[i], padding[rank + i]
        left = (data.shape[2 + i] + before + after - reach[i]) % strides[i]
        # A window that begins behind the image and its padding does not count.
        begins = data.shape[2 + i] + before + after - reach[i] - left + strides[i]
        more = strides[i] - left if ceil and left and begins < data.shape[2 + i] + before else 0
        widths.append((before, after + more))
    bordered = np.pad(data, widths, constant_values=-np.inf)
    axes = tuple(range(2, 2 + rank))
    windows = sliding_window_view(bordered, reach, axis=axes)
    windows = windows[(slice(None), slice(None), *(slice(None, None, step) for step in strides))]
    windows = windows[(..., *(slice(None, None, step) for step in dilation))]
    return windows.max(axis=tuple(range(-rank, 0)))


@pytest.mark.parametrize("target", LEVELS)
@pytest.mark.parametrize("ceil", [False, True])
@pytest.mark.parametrize(
    ("shape", "kernel", "strides", "padding", "dilation"),
    [
        ((2, 3, 9, 10), [3, 3], [2, 2], [1, 1, 1, 1], [1, 1]),
        ((1, 3, 8, 8), [2, 2], [2, 2], [0, 0, 0, 0], [1, 1]),
        ((1, 3, 17, 20), [5, 5], [1, 1], [2, 2, 2, 2], [1, 1]),
        ((1, 3, 12, 11), [3, 2], [3, 1], [0, 1, 2, 0], [2, 3]),
        ((1, 3, 13, 1), [3, 1], [2, 1], [1, 0, 0, 0], [1, 1]),
        ((2, 3, 21), [4], [3], [1, 2], [1]),
        ((1, 3, 5, 6, 7), [2, 3, 2], [2, 2, 2], [1, 1, 0, 0, 1, 1], [1, 1, 1]),
    ],
)
def test_maximum_pool(target, ceil, shape, kernel, strides, padding, dilation):
    rank = len(kernel)
    weight = random(20, 3, *[1] * rank, seed=1)

    def build(emit, data):
        y = emit(getattr(relax.op.nn, f"conv{rank}d")(data, relax.const(weight)))
        pool = getattr(relax.op.nn, f"max_pool{rank}d")
        return pool(y, kernel, strides, padding, dilation, ceil_mode=ceil)

    data = random(*shape)
    compiled = compile_operator(build, shape, arrange=PackActivations(), target=target)
    assert [kernel.refused for kernel in compiled.kernels if kernel.refused] == []
    assert "packed_depthwise" in compiled.anchors
    y = np.einsum("oc,nc...->no...", weight.reshape(20, 3), data)
    expected = _pooled(y, kernel, strides, padding, dilation, ceil)
    actual = compiled(data)
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, atol=1e-6)
