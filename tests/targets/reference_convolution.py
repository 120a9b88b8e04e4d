"""Convolution as the formula says, in NumPy and float64."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def convolve(
    data: np.ndarray,
    weight: np.ndarray,
    *,
    strides: Sequence[int] | None = None,
    padding: Sequence[int] | None = None,
    dilation: Sequence[int] | None = None,
    groups: int = 1,
) -> np.ndarray:
    """Any number of spatial axes; ``padding`` is all starts, then all ends."""
    rank = weight.ndim - 2
    strides, dilation = strides or [1] * rank, dilation or [1] * rank
    padding = padding or [0] * 2 * rank
    borders = [(0, 0), (0, 0), *zip(padding[:rank], padding[rank:], strict=True)]
    padded = np.pad(data.astype(np.float64), borders)
    spatial = tuple(range(2, 2 + rank))
    reach = [(size - 1) * step + 1 for size, step in zip(weight.shape[2:], dilation, strict=True)]
    windows = np.lib.stride_tricks.sliding_window_view(padded, reach, axis=spatial)
    windows = windows[(slice(None), slice(None), *[slice(None, None, stride) for stride in strides])]
    windows = windows[(..., *[slice(None, None, step) for step in dilation])]
    batch, channels = data.shape[:2]
    windows = windows.reshape(batch, groups, channels // groups, *windows.shape[2:])
    kernels = weight.reshape(groups, weight.shape[0] // groups, *weight.shape[1:])
    places, taps = "xyz"[:rank], "uvw"[:rank]
    result = np.einsum(f"ngc{places}{taps},goc{taps}->ngo{places}", windows, kernels, optimize=True)
    return result.reshape(batch, weight.shape[0], *result.shape[3:])


def convolve_transposed(
    data: np.ndarray, weight: np.ndarray, *, strides: Sequence[int], padding: Sequence[int], groups: int = 1
) -> np.ndarray:
    """Transposed convolution by scattering: every input adds its kernel into the output."""
    batch, channels, *sizes = data.shape
    _, outputs, *kernel = weight.shape
    full = [(size - 1) * stride + k for size, stride, k in zip(sizes, strides, kernel, strict=True)]
    result = np.zeros((batch, groups * outputs, *full))
    per_group = channels // groups
    for place in np.ndindex(*sizes):
        window = tuple(slice(p * s, p * s + k) for p, s, k in zip(place, strides, kernel, strict=True))
        for group in range(groups):
            inputs = slice(group * per_group, (group + 1) * per_group)
            patch = np.tensordot(data[(slice(None), inputs, *place)].astype(np.float64), weight[inputs], axes=1)
            result[(slice(None), slice(group * outputs, (group + 1) * outputs), *window)] += patch
    rank = len(sizes)
    crop = tuple(slice(padding[i], full[i] - padding[rank + i]) for i in range(rank))
    return result[(slice(None), slice(None), *crop)]
