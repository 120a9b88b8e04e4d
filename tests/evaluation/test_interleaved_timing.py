"""Interleaved rounds on a clock of their own: what is called when, and what is computed from it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lepton_compiler.evaluation.interleaved_timing import InterleavedTimes, Spread, time_interleaved


class FakeMachine:
    """Runners that take a set time on a clock that moves only while they run."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.now = 0.0
        self.slowdown = 1.0
        self.calls: list[str] = []
        self.runners = {name: self._runner(name, taken) for name, taken in seconds.items()}

    def _runner(self, name: str, taken: float) -> Callable[[], None]:
        def run() -> None:
            self.calls.append(name)
            self.now += taken * self.slowdown

        return run

    def time(self, rounds: int, warmup: int) -> InterleavedTimes:
        return time_interleaved(
            self.runners, rounds=rounds, warmup=warmup, clock=lambda: self.now, pause=lambda seconds: None
        )


def test_times_and_ratios() -> None:
    times = FakeMachine({"lepton": 0.02, "peer": 0.08}).time(rounds=5, warmup=1)
    assert times.spread_ms("peer").median == pytest.approx(80)
    assert times.ratio("lepton", "peer").median == pytest.approx(0.25)
    assert [len(samples) for samples in times.seconds.values()] == [5, 5]


def test_order_rotates_and_every_sample_has_a_call_before_it() -> None:
    machine = FakeMachine({"a": 0.02, "b": 0.02, "c": 0.02})
    machine.time(rounds=3, warmup=2)
    assert "".join(machine.calls[:6]) == "aabbcc"
    assert "".join(machine.calls[6:]) == "aabbcc" + "bbccaa" + "ccaabb"


def test_short_calls_are_timed_in_groups() -> None:
    machine = FakeMachine({"short": 0.001, "long": 0.02})
    times = machine.time(rounds=1, warmup=1)
    assert machine.calls.count("short") == 1 + 1 + 5
    assert machine.calls.count("long") == 1 + 1 + 1
    assert times.spread_ms("short").median == pytest.approx(1)


def test_ratio_survives_a_machine_that_slows_down() -> None:
    machine = FakeMachine({"lepton": 0.02, "peer": 0.04})
    original = machine.runners["peer"]

    def slowing_down() -> None:
        original()
        machine.slowdown *= 1.001

    machine.runners["peer"] = slowing_down
    times = machine.time(rounds=100, warmup=1)
    own = times.spread_ms("lepton")
    ratio = times.ratio("lepton", "peer")
    assert own.p90 / own.p10 > 1.1
    assert ratio.p90 / ratio.p10 < 1.005


def test_spread_interpolates() -> None:
    assert Spread.of(np.arange(11.0)) == Spread(median=5.0, p10=1.0, p90=9.0)
