"""Times several runners against each other in rounds, so that drift of the machine hits all of them alike.

Absolute times on shared machines move by tens of per cent within minutes. What stays is the ratio of two runners that
were timed within the same fraction of a second; so every round times each of them, and the ratio is taken round by
round before any median.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

_MIN_SAMPLE_SECONDS = 0.005
"""Calls faster than this are timed in groups, well above the clock's and the scheduler's grain."""

_SETTLE_SECONDS = 0.002
"""Pause between runners in which the last one's threads fall asleep."""

RATIO_NOTE = "Ratios are medians of each round's ratio, not ratios of the medians; p10 - p90 is their spread."
"""For readers of tables, who may divide the times that stand beside it."""


@dataclass(frozen=True)
class Spread:
    """Median with the 10th and 90th percentile around it."""

    median: float
    p10: float
    p90: float

    @classmethod
    def of(cls, samples: np.ndarray) -> Spread:
        """Percentiles with linear interpolation."""
        p10, median, p90 = (float(value) for value in np.percentile(samples, (10, 50, 90)))
        return cls(median, p10, p90)


@dataclass(frozen=True)
class InterleavedTimes:
    """Seconds per call of each runner, one sample a round: arrays of equal length."""

    seconds: Mapping[str, np.ndarray]

    def spread_ms(self, name: str) -> Spread:
        """Milliseconds per call."""
        return Spread.of(self.seconds[name] * 1e3)

    def ratio(self, name: str, against: str) -> Spread:
        """Time of ``name`` divided by that of ``against`` in the same round: below 1, ``name`` is the faster one."""
        return Spread.of(self.seconds[name] / self.seconds[against])


def time_interleaved(
    calls: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    warmup: int,
    clock: Callable[[], float] = time.perf_counter,
    pause: Callable[[float], None] = time.sleep,
) -> InterleavedTimes:
    """Calls every runner in every round.

    Before each sample stands one call that is not timed: it brings the runner's data back into the caches that the
    others have used. The order rotates from round to round, so that nobody always follows the same neighbour.

    Args:
        calls: What to time, by name.
        rounds: Number of samples of each.
        warmup: Calls of each before the first round; the fastest of them sets how many calls make a sample.
        clock: Seconds from any start.
        pause: Sleeps for that many seconds.
    """
    group = {name: _calls_per_sample(call, max(warmup, 1), clock) for name, call in calls.items()}
    samples: dict[str, list[float]] = {name: [] for name in calls}
    names = list(calls)
    for index in range(rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            call = calls[name]
            pause(_SETTLE_SECONDS)
            call()
            started = clock()
            for _ in range(group[name]):
                call()
            samples[name].append((clock() - started) / group[name])
    return InterleavedTimes({name: np.array(values) for name, values in samples.items()})


def _calls_per_sample(call: Callable[[], object], warmup: int, clock: Callable[[], float]) -> int:
    fastest = math.inf
    for _ in range(warmup):
        started = clock()
        call()
        fastest = min(fastest, clock() - started)
    return max(1, math.ceil(_MIN_SAMPLE_SECONDS / fastest)) if fastest > 0 else 1
