"""How far outputs are from their reference, in the reference's own range."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime

TOLERANCE_OF_RANGE = 1e-4
"""Largest absolute error of a float32 model, as a share of the range that its reference spans."""


def onnxruntime_outputs(model: Path, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What ONNX Runtime computes on the CPU."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return {name: np.asarray(value) for name, value in zip(names, session.run(names, dict(inputs)), strict=True)}


def assert_agrees(
    actual: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], tolerance: float = TOLERANCE_OF_RANGE
) -> None:
    """Names, order, shapes and types are equal, everything is finite, and each error is within the tolerance.

    A reference without any range, all of whose elements are the same, would let anything pass: it is an error too.
    """
    assert list(actual) == list(reference)
    for name, expected in reference.items():
        value = actual[name]
        assert (value.shape, value.dtype) == (expected.shape, expected.dtype), name
        assert np.isfinite(expected).all() and np.isfinite(value).all(), f"{name} is not finite"
        extent = float(np.ptp(expected))
        assert extent > 0, f"the reference of {name} is constant: it can't show an error"
        error = float(np.abs(value.astype(np.float64) - expected).max()) / extent
        assert error <= tolerance, f"{name}: error {error:.2e} of the range, {tolerance:.0e} allowed"
