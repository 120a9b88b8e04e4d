"""TimingSummary: raw samples as a median with its spread, without what other processes have disturbed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from lepton_compiler.devices.trial import Samples

_OUTLIER_SCORE = 3.5
"""Modified z-score above which a sample is an outlier (Iglewicz, Hoaglin: How to Detect and Handle Outliers, 1993)."""
_NORMAL_FACTOR = 0.6745
"""Median absolute deviation of a normal distribution, in standard deviations."""
_LEAST_DEVIATION = 0.005
"""Share of the median below which a deviation is the clock's and not an outlier."""

Clock = Literal["wall", "cpu"]


@dataclass(frozen=True)
class TimingSummary:
    """Times of one call.

    Attributes:
        seconds: Median of the samples that were kept.
        spread: Half the distance of their quartiles, as a share of the median.
        kept: Number of samples that were kept.
        taken: Number of samples.
        control_ns: Median of the control.
        control_drift: The control's median in the later half of the samples over that in the earlier half: above 1 the
            machine has become slower, as when it throttles.
    """

    seconds: float
    spread: float
    kept: int
    taken: int
    control_ns: float
    control_drift: float


def summarize(samples: Samples, clock: Clock = "wall") -> TimingSummary:
    """Summarizes samples.

    A sample is left out where its own time is an outlier above the others, or that of the control beside it: then
    another process had a turn, or the clock frequency changed. Samples that are unusually fast stay.

    Args:
        samples: As a trial brings them.
        clock: Time that passed, or the calling thread's processor time: that one suits a busy machine and one thread.
    """
    times, control = (samples.wall, samples.control_wall) if clock == "wall" else (samples.cpu, samples.control_cpu)
    kept = ~(_slow_outliers(times) | _slow_outliers(control))
    if not kept.any():
        kept[:] = True
    seconds = times[kept] / samples.calls / 1e9
    low, median, high = np.percentile(seconds, (25, 50, 75))
    return TimingSummary(
        seconds=float(median),
        spread=float((high - low) / 2 / median) if median > 0 else 0.0,
        kept=int(kept.sum()),
        taken=len(times),
        control_ns=float(np.median(control)),
        control_drift=_drift(control),
    )


def _slow_outliers(times: np.ndarray) -> np.ndarray:
    median = np.median(times)
    deviation = max(float(np.median(np.abs(times - median))), _LEAST_DEVIATION * float(median), 1.0)
    return _NORMAL_FACTOR * (times - median) / deviation > _OUTLIER_SCORE


def _drift(control: np.ndarray) -> float:
    half = len(control) // 2
    if half == 0:
        return 1.0
    earlier = float(np.median(control[:half]))
    return float(np.median(control[-half:])) / earlier if earlier > 0 else 1.0
