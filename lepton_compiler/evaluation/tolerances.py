"""Named tolerances of agreement. Plain data without NumPy, so that ``--help`` can list them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tolerance:
    """What counts as agreement with a reference.

    Attributes:
        name: What users type after ``--tolerance``.
        max_abs_of_range: Largest absolute error of a floating-point output, as a share of the reference's range.
        min_cosine: Smallest cosine of a floating-point output with its reference; None leaves it out.
        max_unequal_share: Share of an integer or boolean output's elements that may differ.
        purpose: When to use it.
    """

    name: str
    max_abs_of_range: float
    min_cosine: float | None
    max_unequal_share: float
    purpose: str


TOLERANCES: dict[str, Tolerance] = {
    tolerance.name: tolerance
    for tolerance in (
        Tolerance("strict", 1e-5, None, 0.0, "same arithmetic in another order: few layers, no long sums"),
        Tolerance("fp32", 1e-4, None, 0.0, "whole float32 networks; the default"),
        Tolerance("loose", 1e-2, 0.999, 0.01, "16-bit floats or int8 against a float32 reference"),
    )
}


def tolerance_of(*precisions: str) -> Tolerance:
    """What counts as agreement of networks of these precisions (``PRECISIONS``) with one in float32."""
    return TOLERANCES["fp32" if all(precision == "fp32" for precision in precisions) else "loose"]
