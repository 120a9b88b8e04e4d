"""Packs constant weights, at compile time, into the order in which kernels read them.

    convolution   O I k...   ->  O/v  I k... v     one vector holds v output channels
    depthwise     C 1 kh kw  ->  C kh kw
    winograd      P O I      ->  P  O/v  I v       for each place of a transformed tile
    dense         K N        ->  N/v  K v          one vector holds v output columns

The last block is filled up with zeros, so that kernels never need a narrower vector.
"""

from __future__ import annotations

import numpy as np


def pack_convolution_weight(weight: np.ndarray, lanes: int) -> np.ndarray:
    """Packs ``[out_channels, in_channels, *kernel]`` to ``[out_blocks, in_channels, *kernel, lanes]``."""
    padded = _fill_up(weight, axis=0, multiple=lanes)
    blocks = padded.reshape(padded.shape[0] // lanes, lanes, *padded.shape[1:])
    return np.ascontiguousarray(np.moveaxis(blocks, 1, -1))


def pack_winograd_weight(weight: np.ndarray, lanes: int) -> np.ndarray:
    """Packs ``[places, out_channels, in_channels]`` to ``[places, out_blocks, in_channels, lanes]``."""
    padded = _fill_up(weight, axis=1, multiple=lanes)
    blocks = padded.reshape(padded.shape[0], padded.shape[1] // lanes, lanes, padded.shape[2])
    return np.ascontiguousarray(np.moveaxis(blocks, 2, -1))


def pack_dense_weight(weight: np.ndarray, lanes: int) -> np.ndarray:
    """Packs ``[inner, columns]`` to ``[column_blocks, inner, lanes]``."""
    padded = _fill_up(weight, axis=1, multiple=lanes)
    blocks = padded.reshape(padded.shape[0], padded.shape[1] // lanes, lanes)
    return np.ascontiguousarray(np.moveaxis(blocks, 1, 0))


def transposed_convolution_weight(weight: np.ndarray, groups: int) -> np.ndarray:
    """Turns the weight of a transposed convolution into that of the plain one that computes the same.

    A transposed convolution is a plain one over its input with zeros between the pixels; its kernel is mirrored, and
    input and output channels change places.

    Args:
        weight: ``[in_channels, out_channels / groups, *kernel]``.
        groups: Number of groups.

    Returns:
        ``[out_channels, in_channels / groups, *kernel]``.
    """
    inputs, outputs, *kernel = weight.shape
    grouped = weight.reshape(groups, inputs // groups, outputs, *kernel).swapaxes(1, 2)
    mirrored = np.flip(grouped, axis=tuple(range(3, grouped.ndim)))
    return np.ascontiguousarray(mirrored.reshape(groups * outputs, inputs // groups, *kernel))


def _fill_up(array: np.ndarray, axis: int, multiple: int) -> np.ndarray:
    missing = -array.shape[axis] % multiple
    if missing == 0:
        return array
    widths = [(0, missing if i == axis else 0) for i in range(array.ndim)]
    return np.pad(array, widths)
