"""Summaries of samples: medians that neither another process nor throttling bends."""

from __future__ import annotations

import numpy as np
import pytest

from lepton_compiler.devices.timing_summary import summarize
from lepton_compiler.devices.trial import Samples


def samples(wall: list[float], control: list[float] | None = None, calls: int = 10) -> Samples:
    times = np.array(wall, np.int64)
    controls = np.full(len(wall), 100_000) if control is None else np.array(control, np.int64)
    return Samples(calls, times, times // 2, controls, controls // 2)


def test_the_median_is_of_one_call() -> None:
    summary = summarize(samples([1000, 1010, 990]))
    assert summary.seconds == pytest.approx(100e-9)
    assert (summary.kept, summary.taken) == (3, 3)
    assert summary.spread == pytest.approx(10 / 2 / 1000)
    assert summary.control_drift == 1.0


def test_the_processors_clock_can_be_asked_for() -> None:
    assert summarize(samples([1000, 1010, 990]), "cpu").seconds == pytest.approx(50e-9)


def test_slow_outliers_are_left_out_and_fast_samples_stay() -> None:
    summary = summarize(samples([1000, 1004, 996, 1002, 998, 5000, 900, 1001, 1300]))
    assert (summary.kept, summary.taken) == (7, 9)
    assert summary.seconds == pytest.approx(100e-9)


def test_a_sample_beside_a_disturbed_control_is_left_out() -> None:
    control = [100_000, 100_100, 300_000, 99_900, 100_000]
    summary = summarize(samples([1000, 1001, 1003, 999, 1000], control))
    assert (summary.kept, summary.taken) == (4, 5)


def test_throttling_shows_as_drift() -> None:
    summary = summarize(samples([1000] * 10, [100_000] * 5 + [125_000] * 5))
    assert summary.control_drift == pytest.approx(1.25)


@pytest.mark.parametrize("times", [[1000], [0, 0], [1000, 1000, 1000, 1000]])
def test_few_or_equal_samples_are_kept(times: list[float]) -> None:
    summary = summarize(samples(times))
    assert summary.kept == len(times)
    assert summary.spread == 0.0


def test_the_clocks_grain_is_no_outlier() -> None:
    assert summarize(samples([10_000] * 9 + [10_020])).kept == 10
