"""Comparison metrics and named tolerances, against numbers worked out by hand."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from lepton_compiler.core.errors import UserError
from lepton_compiler.evaluation.comparison import OutputComparison, compare_output, compare_outputs
from lepton_compiler.evaluation.tolerances import TOLERANCES

REFERENCE = np.array([[-4.0, 0.0, 1.0], [2.0, 3.0, 6.0]], np.float32)


def compared(actual: np.ndarray, reference: np.ndarray = REFERENCE, tolerance: str = "fp32") -> OutputComparison:
    return compare_output("y", actual, reference, TOLERANCES[tolerance])


def test_equal_outputs() -> None:
    result = compared(REFERENCE.copy())
    assert (result.max_abs, result.max_rel, result.unequal, result.agrees) == (0.0, 0.0, 0, True)
    assert result.cosine == pytest.approx(1.0, abs=1e-12)
    assert result.reference_range == 10.0


def test_metrics_of_one_wrong_element() -> None:
    actual = REFERENCE.copy()
    actual[0, 2] = 1.5
    result = compared(actual)
    assert (result.max_abs, result.max_rel, result.unequal) == (0.5, 0.5, 1)
    left, right = actual.ravel().astype(np.float64), REFERENCE.ravel().astype(np.float64)
    assert result.cosine == pytest.approx(left @ right / np.sqrt((left @ left) * (right @ right)), abs=1e-12)
    assert result.reasons == ("max abs error 0.5 exceeds 0.001 (0.0001 of the range)",)


@pytest.mark.parametrize(
    ("tolerance", "error", "agrees"),
    [
        ("strict", 0.9e-4, True),
        ("strict", 1.1e-4, False),
        ("fp32", 0.9e-3, True),
        ("fp32", 1.1e-3, False),
        ("loose", 0.9e-1, True),
        ("loose", 1.1e-1, False),
    ],
)
def test_tolerances_are_shares_of_the_range(tolerance: str, error: float, agrees: bool) -> None:
    actual = REFERENCE.copy()
    actual[1, 2] += np.float32(error)
    assert compared(actual, tolerance=tolerance).agrees is agrees


def test_relative_error_leaves_out_negligible_references() -> None:
    reference = np.array([1000.0, 0.5, 2.0])
    actual = reference + np.array([0.0, 0.5, 1.0])
    assert compared(actual, reference, "loose").max_rel == 0.5


def test_loose_needs_the_direction_to_be_right() -> None:
    reference = np.concatenate([np.full(10_000, 1e-3), [1.0]])
    actual = np.concatenate([np.full(10_000, -1e-3), [1.0]])
    result = compared(actual, reference, "loose")
    assert result.max_abs < 1e-2
    assert [reason.split(" is")[0] for reason in result.reasons] == [f"cosine {result.cosine:.6f}"]


@pytest.mark.parametrize(
    ("actual", "reason"),
    [
        (REFERENCE[0], "shape [3] instead of [2, 3]"),
        (REFERENCE.astype(np.float64), "element type float64 instead of float32"),
    ],
)
def test_other_shape_or_type_disagrees(actual: np.ndarray, reason: str) -> None:
    assert compared(actual).reasons == (reason,)


@pytest.mark.parametrize(
    ("ours", "theirs", "agrees"),
    [
        (np.nan, np.nan, True),
        (np.inf, np.inf, True),
        (np.nan, 1.0, False),
        (1.0, np.nan, False),
        (np.inf, -np.inf, False),
        (np.inf, 1.0, False),
    ],
)
def test_non_finite_elements_must_match(ours: float, theirs: float, agrees: bool) -> None:
    actual, reference = np.array([1.0, ours, 2.0]), np.array([1.0, theirs, 2.0])
    result = compared(actual, reference)
    assert result.agrees is agrees
    assert result.max_abs == 0.0


@pytest.mark.parametrize("tolerance", TOLERANCES)
@pytest.mark.parametrize(
    ("ours", "theirs"), [(np.nan, np.nan), (np.inf, np.inf), (np.nan, 1.0), (1.0, np.inf)], ids=str
)
def test_outputs_without_a_finite_element_are_not_compared(ours: float, theirs: float, tolerance: str) -> None:
    result = compared(np.full((2, 3), ours, np.float32), np.full((2, 3), theirs, np.float32), tolerance)
    assert not result.agrees
    assert not result.is_measured
    assert result.reasons[-1] == "nothing was compared: no element is finite on both sides"
    assert np.isnan([result.max_abs, result.max_rel, result.cosine]).all()


def test_one_finite_element_is_compared() -> None:
    values = np.array([np.nan, 2.0, np.inf])
    result = compared(values, values.copy())
    assert (result.agrees, result.is_measured, result.max_abs) == (True, True, 0.0)


def test_integers_must_be_equal_under_fp32_and_nearly_so_under_loose() -> None:
    reference = np.arange(1000)
    actual = reference.copy()
    actual[:10] += 1
    assert compared(actual, reference, "fp32").reasons == ("10 of 1000 elements differ",)
    assert compared(actual, reference, "loose").agrees
    actual[10] += 1
    assert not compared(actual, reference, "loose").agrees


def test_constant_and_zero_references_have_a_scale() -> None:
    assert compared(np.array([5.0 + 4e-4]), np.array([5.0])).agrees
    assert not compared(np.array([5.0 + 6e-4]), np.array([5.0])).agrees
    assert not compared(np.full(3, 1e-3), np.zeros(3)).agrees


def test_rounding_at_one_is_no_disagreement_of_outputs_near_zero() -> None:
    """Sigmoids of very negative numbers, as a detector gives them where there is nothing to detect."""
    reference = np.linspace(1e-9, 1e-6, 1000, dtype=np.float32)
    error = np.float32(1.2e-7) * np.resize([1, -1], 1000).astype(np.float32)
    assert compared(reference + error, reference, "strict").agrees
    assert not compared(reference + 5 * error, reference, "loose").agrees
    assert not compared(np.zeros_like(reference), reference, "fp32").agrees
    assert not compared(reference[::-1].copy() * np.float32(1e-2), reference * np.float32(1e-2), "fp32").agrees


def test_empty_and_scalar_outputs() -> None:
    assert compared(np.zeros((0, 4)), np.zeros((0, 4))).agrees
    assert compared(np.array(True), np.array(True)).agrees
    assert not compared(np.array(True), np.array(False)).agrees


def test_bfloat16_is_compared_in_float64() -> None:
    reference = REFERENCE.astype(ml_dtypes.bfloat16)
    actual = reference.copy()
    actual[1, 2] = 6.03125
    assert compared(actual, reference, "loose").max_abs == 0.03125


def test_outputs_are_matched_by_name() -> None:
    a, b = np.zeros(2), np.ones(2)
    results = compare_outputs({"b": b, "a": a}, {"a": a, "b": b}, TOLERANCES["strict"])
    assert [(result.name, result.agrees) for result in results] == [("a", True), ("b", True)]
    with pytest.raises(UserError, match="different outputs: a against b"):
        compare_outputs({"a": a}, {"b": b}, TOLERANCES["strict"])
