"""Rates and shares that follow from times and work."""

from __future__ import annotations

from dataclasses import replace

import pytest
from profile_samples import PEAKS, PROFILE, kernel

from lepton_compiler.evaluation.kernel_profile import PeakShare, share_of_peaks


def test_rates_follow_from_work_and_time() -> None:
    one = kernel(1, seconds=0.5, flops=10, moved_bytes=4)
    assert (one.flops_per_second, one.bytes_per_second, one.intensity) == (20.0, 8.0, 2.5)


@pytest.mark.parametrize("missing", [None, 0])
def test_no_rate_without_work(missing: int | None) -> None:
    one = kernel(1, seconds=0.5, flops=missing, moved_bytes=missing)
    assert (one.flops_per_second, one.bytes_per_second, one.intensity) == (None, None, None)


def test_shares_are_of_the_peak_of_the_operands_type() -> None:
    """The machine: 100 operations a second in float32, 400 in int8, 10 bytes a second."""
    one = kernel(1, seconds=1.0, flops=50, moved_bytes=5)
    assert share_of_peaks(one, PEAKS) == PeakShare(0.5, 0.5, "arithmetic")
    quantized = replace(one, entry=replace(one.entry, operand_type="int8"))
    assert share_of_peaks(quantized, PEAKS) == PeakShare(0.125, 0.5, "memory")
    unmeasured = replace(one, entry=replace(one.entry, operand_type="float64"))
    assert share_of_peaks(unmeasured, PEAKS) == PeakShare(None, 0.5, None)


def test_a_copy_is_limited_by_memory_and_an_uncounted_kernel_by_nobody_knows_what() -> None:
    assert share_of_peaks(kernel(1, seconds=1.0, flops=0, moved_bytes=20), PEAKS) == PeakShare(None, 2.0, "memory")
    assert share_of_peaks(kernel(1, seconds=1.0, flops=None, moved_bytes=5), PEAKS) == PeakShare(None, 0.5, None)


def test_kernels_are_ranked_by_time() -> None:
    assert [one.number for one in PROFILE.ranked()] == [2, 1, 4, 3]
    assert [one.number for one in PROFILE.ranked(2)] == [2, 1]
    assert PROFILE.kernel_seconds == pytest.approx(10.0)
