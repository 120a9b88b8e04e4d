from __future__ import annotations

import numpy as np
import pytest

from lepton_compiler.passes.winograd.transforms import F2, F4


@pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])
def test_a_tile_in_exact_arithmetic(transform):
    random = np.random.default_rng(0)
    data, kernel = random.standard_normal((transform.size, transform.size)), random.standard_normal((3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(data, (3, 3))
    expected = np.einsum("yxab,ab->yx", windows, kernel)
    transformed = transform.kernel @ kernel @ transform.kernel.T
    product = transformed * (transform.data @ data @ transform.data.T)
    np.testing.assert_allclose(transform.result @ product @ transform.result.T, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("transform", [F2, F4], ids=["F2", "F4"])
def test_weights_of_all_channels(transform):
    weight = np.random.default_rng(1).standard_normal((5, 4, 3, 3)).astype(np.float32)
    transformed = transform.transform_weight(weight)
    assert transformed.shape == (transform.size**2, 5, 4)
    assert transformed.dtype == np.float32
    expected = transform.kernel @ weight[3, 2].astype(np.float64) @ transform.kernel.T
    np.testing.assert_allclose(transformed[:, 3, 2], expected.reshape(-1), rtol=1e-6)


def test_larger_tiles_cost_accuracy():
    assert F2.expected_error() < 1e-6 < F4.expected_error() < 1e-4
