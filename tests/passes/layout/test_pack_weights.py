from __future__ import annotations

import numpy as np
import pytest

from lepton_compiler.passes.layout.pack_weights import (
    pack_convolution_weight,
    pack_dense_weight,
    transposed_convolution_weight,
)


@pytest.mark.parametrize(("outputs", "blocks"), [(16, 2), (13, 2), (3, 1)])
def test_convolution_weight(outputs, blocks):
    weight = np.random.default_rng(0).standard_normal((outputs, 3, 2, 5)).astype(np.float32)
    packed = pack_convolution_weight(weight, 8)
    assert packed.shape == (blocks, 3, 2, 5, 8)
    assert packed.flags.c_contiguous
    for output in range(outputs):
        np.testing.assert_array_equal(packed[output // 8, ..., output % 8], weight[output])
    assert not packed.transpose(0, 4, 1, 2, 3).reshape(blocks * 8, -1)[outputs:].any()


@pytest.mark.parametrize("columns", [16, 11])
def test_dense_weight(columns):
    weight = np.random.default_rng(0).standard_normal((6, columns)).astype(np.float32)
    packed = pack_dense_weight(weight, 4)
    assert packed.shape == (-(-columns // 4), 6, 4)
    unpacked = packed.transpose(1, 0, 2).reshape(6, -1)
    np.testing.assert_array_equal(unpacked[:, :columns], weight)
    assert not unpacked[:, columns:].any()


@pytest.mark.parametrize("groups", [1, 2])
def test_transposed_weight_is_mirrored_and_swapped(groups):
    weight = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    plain = transposed_convolution_weight(weight, groups)
    assert plain.shape == (3 * groups, 4 // groups, 2, 2)
    for group in range(groups):
        for i in range(4 // groups):
            for o in range(3):
                expected = weight[group * 4 // groups + i, o, ::-1, ::-1]
                np.testing.assert_array_equal(plain[group * 3 + o, i], expected)
