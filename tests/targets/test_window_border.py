"""Pools whose padded input is copied a piece at a time, against NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from kernel_checks import assert_close, compile_operator, random
from tvm import relax


@pytest.mark.parametrize(
    ("shape", "size", "stride", "moved"),
    [
        ((1, 4, 112, 112, 16), 3, 2, True),
        ((2, 3, 13, 13, 16), 3, 2, True),
        ((1, 1, 70, 23, 16), 3, 1, True),
        ((1, 2, 40, 40, 16), 5, 1, False),
        ((1, 2, 7, 9, 16), 3, 2, False),
    ],
)
def test_border_of_a_packed_pool_is_copied_a_piece_at_a_time(shape, size, stride, moved):
    data = random(*shape)
    width = size // 2

    def build(emit, x):
        window = {"pool_size": [size, size], "strides": [stride, stride], "padding": [width] * 4}
        return relax.op.nn.avg_pool2d(x, **window, layout="NCHW16c")

    compiled = compile_operator(build, shape)
    border = np.pad(data, [(0, 0), (0, 0), (width, width), (width, width), (0, 0)], constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(border, (size, size), axis=(2, 3))[:, :, ::stride, ::stride]
    inside = np.isfinite(windows)
    sums = np.where(inside, windows, 0).sum((-1, -2), dtype=np.float64)
    assert_close(compiled(data), sums / inside.sum((-1, -2)))
    assert ("pad_temp a piece at a time" in compiled.kernel.schedule) == moved
