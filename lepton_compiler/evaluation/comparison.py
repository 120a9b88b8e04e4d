"""How far an output is from its reference, and whether that is near enough under a named tolerance."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from lepton_compiler.core.errors import UserError
from lepton_compiler.evaluation.tolerances import Tolerance

NEGLIGIBLE = 1e-3
"""Relative errors leave out elements whose reference is below this share of the largest: they divide by noise."""

NOTHING_FINITE = "nothing was compared: no element is finite on both sides"

# A sigmoid or softmax computes numbers around 1 on its way to a result near 0, so that its error is a rounding at 1
# however small the result is: up to two steps of the element type on either side. Where that is more than the range
# allows, the output must still point where the reference does, or zeros would agree with everything small.
_FLOOR_STEPS = 4
_FLOOR_COSINE = 0.9


@dataclass(frozen=True)
class OutputComparison:
    """One output beside its reference.

    Attributes:
        name: Output name.
        shape: Shape of the output.
        dtype: Element type of the output.
        max_abs: Largest absolute error over elements that are finite in both; NaN, as the next two, where none is.
        max_rel: Largest relative error over those whose reference is not ``NEGLIGIBLE``.
        cosine: Cosine of the angle between the two as vectors; 1 where both are zero.
        reference_range: Largest minus smallest finite reference; the unit of ``Tolerance.max_abs_of_range``.
        unequal: Number of elements that differ at all.
        reasons: Why the output disagrees, one sentence each; empty where it agrees.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    max_abs: float
    max_rel: float
    cosine: float
    reference_range: float
    unequal: int
    reasons: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether the output is within the tolerance."""
        return not self.reasons

    @property
    def is_measured(self) -> bool:
        """Whether any element could be compared, so that there are errors to show."""
        return not math.isnan(self.max_abs)


def compare_outputs(
    actual: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray], tolerance: Tolerance
) -> list[OutputComparison]:
    """Compares every output with the reference of the same name, in the reference's order.

    Raises:
        UserError: The two don't have the same outputs, so they are not the same model.
    """
    if set(actual) != set(reference):
        raise UserError(
            f"the two have different outputs: {', '.join(sorted(actual))} against {', '.join(sorted(reference))}; "
            "compare an artifact with the model that it was compiled from"
        )
    return [compare_output(name, actual[name], reference[name], tolerance) for name in reference]


def compare_output(name: str, actual: np.ndarray, reference: np.ndarray, tolerance: Tolerance) -> OutputComparison:
    """Measures one output of any shape; both sides are compared in float64.

    Args:
        name: Output name.
        actual: The values to judge.
        reference: The values that they should have.
        tolerance: What counts as agreement.
    """
    actual, reference = np.asarray(actual), np.asarray(reference)
    dtype = str(actual.dtype)
    problem = _structural_difference(actual, reference)
    if problem:
        return _not_compared(name, actual, actual.size, (problem,))
    left, right = _as_float64(actual), _as_float64(reference)
    finite = np.isfinite(left) & np.isfinite(right)
    unequal = int(np.count_nonzero(~((actual == reference) | (np.isnan(left) & np.isnan(right)))))
    reasons = _non_finite_differences(left, right)
    if actual.size and not finite.any():
        return _not_compared(name, actual, unequal, (*reasons, NOTHING_FINITE))
    error = np.abs(np.subtract(left, right, where=finite, out=np.zeros_like(left)))
    max_abs = float(error.max(initial=0.0))
    cosine = _cosine(left[finite], right[finite])
    extent = _range(right[np.isfinite(right)])
    if not _is_exact(reference.dtype):
        reasons += _float_reasons(max_abs, extent, cosine, reference.dtype, tolerance)
    elif unequal > tolerance.max_unequal_share * actual.size:
        reasons.append(f"{unequal} of {actual.size} elements differ")
    return OutputComparison(
        name, actual.shape, dtype, max_abs, _max_relative(error, right, finite), cosine, extent, unequal, tuple(reasons)
    )


def _not_compared(name: str, actual: np.ndarray, unequal: int, reasons: tuple[str, ...]) -> OutputComparison:
    """An output of which no number can be given."""
    nothing = float("nan")
    return OutputComparison(name, actual.shape, str(actual.dtype), nothing, nothing, nothing, nothing, unequal, reasons)


def _structural_difference(actual: np.ndarray, reference: np.ndarray) -> str | None:
    if actual.shape != reference.shape:
        return f"shape {list(actual.shape)} instead of {list(reference.shape)}"
    if actual.dtype != reference.dtype:
        return f"element type {actual.dtype} instead of {reference.dtype}"
    return None


def _is_exact(dtype: np.dtype) -> bool:
    return dtype.kind in "biu"


def _as_float64(values: np.ndarray) -> np.ndarray:
    return values.astype(np.float64)


def _range(reference: np.ndarray) -> float:
    """Extent of the finite reference; a constant one is measured by its magnitude, zero by 1."""
    if reference.size == 0:
        return 1.0
    extent = float(reference.max() - reference.min())
    return extent or float(np.abs(reference).max()) or 1.0


def _max_relative(error: np.ndarray, reference: np.ndarray, finite: np.ndarray) -> float:
    magnitude = np.abs(reference, where=finite, out=np.zeros_like(reference))
    counted = magnitude > NEGLIGIBLE * magnitude.max(initial=0.0)
    return float((error[counted] / magnitude[counted]).max(initial=0.0))


def _cosine(left: np.ndarray, right: np.ndarray) -> float:
    norms = float(np.linalg.norm(left)) * float(np.linalg.norm(right))
    if norms == 0.0:
        return 1.0 if np.array_equal(left, right) else 0.0
    return float(np.dot(left, right)) / norms


def _non_finite_differences(left: np.ndarray, right: np.ndarray) -> list[str]:
    """NaN must meet NaN and an infinity the same infinity."""
    both_nan = np.isnan(left) & np.isnan(right)
    differs = (~np.isfinite(left) | ~np.isfinite(right)) & ~both_nan & (left != right)
    count = int(np.count_nonzero(differs))
    return [f"{count} elements are NaN or infinite on one side only"] if count else []


def _float_reasons(max_abs: float, extent: float, cosine: float, dtype: np.dtype, tolerance: Tolerance) -> list[str]:
    reasons = []
    allowed = tolerance.max_abs_of_range * extent
    is_rounding = max_abs <= _FLOOR_STEPS * float(ml_dtypes.finfo(dtype).eps) and cosine >= _FLOOR_COSINE
    if max_abs > allowed and not is_rounding:
        reasons.append(
            f"max abs error {max_abs:.3g} exceeds {allowed:.3g} ({tolerance.max_abs_of_range:g} of the range)"
        )
    if tolerance.min_cosine is not None and cosine < tolerance.min_cosine:
        reasons.append(f"cosine {cosine:.6f} is below {tolerance.min_cosine}")
    return reasons
