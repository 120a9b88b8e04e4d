"""What is measured again at the end of a search, with builders and a device that only look a time up."""

from __future__ import annotations

from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from landscape import BEST, DEFAULT, outcome, task
from sample_records import LAB

from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.record import Outcome, Versions
from lepton_compiler.tuning.tasks import TuningTask
from lepton_compiler.tuning.tuner import Bench, Budget, Tuner

BENCH = Bench(LAB, get_target("x86-64-v3"), Versions("0.1.0", "0.27.0.post1", "22"), 0, {"threads": 1})


class LookupPool:
    """Libraries that are their knobs."""

    def submit(self, workload: str, function: Any, knobs: Any) -> Future[Any]:
        library: Future[Any] = Future()
        library.set_result(knobs)
        return library


class LookupMeasurer:
    """Times from the landscape, of kernels with a reference alone."""

    def __init__(self) -> None:
        self.references: set[str] = set()
        self.measured: list[tuple[str, Any]] = []

    def add_reference(self, of: TuningTask, library: Any) -> None:
        self.references.add(of.workload)

    def measure(self, of: TuningTask, library: Any) -> Outcome:
        assert of.workload in self.references
        self.measured.append((of.workload, library))
        return outcome(library)


@pytest.fixture
def measurer() -> LookupMeasurer:
    return LookupMeasurer()


def new_tuner(tasks: list[TuningTask], measurer: LookupMeasurer, writer: LogWriter) -> Tuner:
    pool: Any = LookupPool()
    device: Any = measurer
    return Tuner(tasks, BENCH, pool, device, writer, in_flight=1, overlap=False)


def test_the_best_are_measured_again_beside_the_default(measurer: LookupMeasurer, tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        result = new_tuner([task("a", candidates=(DEFAULT, BEST))], measurer, writer).run(Budget())
    assert result.trials == 2 + 3 * 2
    assert [knobs for _, knobs in measurer.measured[2:]] == [DEFAULT, BEST] * 3


def test_kernels_without_a_trial_are_not_measured_again(measurer: LookupMeasurer, tmp_path: Path) -> None:
    """Their records say that they gain, and in this session they have no reference."""
    with LogWriter(tmp_path) as writer:
        tuner = new_tuner([task("a"), task("known", candidates=(DEFAULT, BEST))], measurer, writer)
        known = tuner.searches[1]
        for knobs in (DEFAULT, BEST):
            known.know(known.values(knobs), outcome(knobs))
        tuner.run(Budget(trials=1))
    assert {workload for workload, _ in measurer.measured} == {"w1-a"}
    assert known.best == BEST
