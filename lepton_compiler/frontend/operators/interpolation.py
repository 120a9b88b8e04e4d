"""Where each element of a resized axis comes from: indices and weights, as ONNX's Resize defines them.

No operator lives here. Positions follow from the scale as ONNX gives it: a scale such as 0.6 is not replaced by the
ratio of the rounded sizes: https://onnx.ai/onnx/operators/onnx__Resize.html
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lepton_compiler.frontend.conversion import ConversionError


@dataclass(frozen=True)
class ResizeMode:
    """Attributes of Resize that say how positions and weights are computed."""

    mode: str = "nearest"
    coordinates: str = "half_pixel"
    nearest: str = "round_prefer_floor"
    cubic_a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False


@dataclass(frozen=True)
class AxisTable:
    """How one axis is resized.

    Attributes:
        indices: ``(out, taps)``: the input elements that an output element is made of, clamped to the axis.
        weights: ``(out, taps)``: their weights.
        outside: ``(out,)``: whether the position lies outside of the input; only ``tf_crop_and_resize`` cares.
    """

    indices: np.ndarray
    weights: np.ndarray
    outside: np.ndarray


def axis_table(
    mode: ResizeMode, size: int, resized: int, scale: float, roi: tuple[float, float] = (0.0, 1.0)
) -> AxisTable:
    """The table for an axis of ``size`` elements that becomes ``resized`` elements."""
    positions = source_positions(mode.coordinates, size, resized, scale, roi)
    outside = (positions < 0) | (positions > size - 1)
    if mode.mode == "nearest":
        indices = np.clip(_nearest(mode.nearest, positions), 0, size - 1).astype(np.int64)[:, None]
        return AxisTable(indices, np.ones(indices.shape), outside)
    stretch = min(scale, 1.0) if mode.antialias else 1.0
    if mode.mode == "linear":
        raw, weights = _taps(positions, 1.0, stretch, lambda d: np.maximum(0.0, 1.0 - np.abs(d)))
    elif mode.mode == "cubic":
        raw, weights = _taps(positions, 2.0, stretch, lambda d: _cubic(d, mode.cubic_a))
    else:
        raise ConversionError(f'unknown resize mode "{mode.mode}"')
    if mode.exclude_outside:
        weights = np.where((raw < 0) | (raw > size - 1), 0.0, weights)
    weights = weights / weights.sum(axis=1, keepdims=True)
    return AxisTable(np.clip(raw, 0, size - 1), weights, outside)


def source_positions(coordinates: str, size: int, resized: int, scale: float, roi: tuple[float, float]) -> np.ndarray:
    """Position in the input, as a real number, of each output element."""
    # Single precision, as ONNX's reference and its runtimes compute it: rounding to the nearest depends on it.
    x, factor = np.arange(resized, dtype=np.float32), np.float32(scale)
    if coordinates == "half_pixel" or (coordinates == "pytorch_half_pixel" and resized > 1):
        return (x + 0.5) / factor - 0.5
    if coordinates == "pytorch_half_pixel":
        return np.zeros_like(x)
    if coordinates == "half_pixel_symmetric":
        adjustment = resized / (factor * size)
        return (size / 2 * (1 - adjustment) + (x + 0.5) / factor - 0.5).astype(np.float32)
    if coordinates == "align_corners":
        return x * np.float32(size - 1) / np.float32(resized - 1) if resized > 1 else np.zeros_like(x)
    if coordinates == "asymmetric":
        return x / factor
    if coordinates == "tf_crop_and_resize":
        start, end = roi
        if resized > 1:
            return start * (size - 1) + x * ((end - start) * (size - 1) / (scale * size - 1))
        return np.full_like(x, 0.5 * (start + end) * (size - 1))
    raise ConversionError(f'unknown coordinate transformation "{coordinates}"')


def _nearest(rounding: str, positions: np.ndarray) -> np.ndarray:
    if rounding == "round_prefer_floor":
        return np.ceil(positions - 0.5)
    if rounding == "round_prefer_ceil":
        return np.floor(positions + 0.5)
    if rounding in ("floor", "ceil"):
        return np.floor(positions) if rounding == "floor" else np.ceil(positions)
    raise ConversionError(f'unknown rounding "{rounding}" of nearest neighbours')


def _taps(
    positions: np.ndarray, radius: float, stretch: float, kernel: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Neighbours within the kernel's radius, which antialiasing stretches, and their weights."""
    reach = int(np.ceil(radius / stretch))
    first = np.floor(positions).astype(np.int64) - reach + 1
    indices = first[:, None] + np.arange(2 * reach)[None, :]
    weights = kernel((indices - positions[:, None]) * stretch)
    return indices, weights


def _cubic(distance: np.ndarray, a: float) -> np.ndarray:
    """Keys' cubic convolution kernel (IEEE Transactions on Acoustics, Speech, and Signal Processing 29, 1981)."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = a * (((d - 5) * d + 8) * d - 4)
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
