"""Knobs that are faster alone and slower inside of the model: taken back, in the log as well."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from landscape import ANCHOR, BEST, CANDIDATES, DEFAULT, outcome, seconds, task

from lepton_compiler.targets.cpu.knobs import TunedChoice
from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.build_pool import BuildPool
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.measurement import Measurer
from lepton_compiler.tuning.record import Device, Status, Versions
from lepton_compiler.tuning.session import Plan, reject_slower
from lepton_compiler.tuning.tasks import TuningTask
from lepton_compiler.tuning.tuner import Bench, Tuner

TARGET = get_target("x86-64-v3")
BENCH = Bench(Device("lab", "a processor", 1), TARGET, Versions("0.1.0", "0.27.0", "22"), 0, {"threads": 1})
SECOND = sorted(CANDIDATES, key=lambda knobs: seconds(vars(knobs)))[1]


class Source:
    """Has the same knobs for every kernel."""

    def __init__(self, knobs: Any) -> None:
        self.knobs = knobs

    def find(self, function: object, target: object) -> TunedChoice | None:
        return None if self.knobs is None else TunedChoice(ANCHOR, self.knobs, "log:1", 1.1)


def session(folder: Path, tasks: list[TuningTask], known: list[TuningTask]) -> tuple[Plan, Tuner]:
    """A session after its trials of the default and two candidates."""
    plan = Plan(TARGET, tuple(tasks), tuple(known), (), folder, cast(Database, None))
    with LogWriter(folder) as writer:
        nobody = cast(BuildPool, None), cast(Measurer, None)
        tuner = Tuner(tasks, BENCH, *nobody, writer, in_flight=1, overlap=True)
    for search in tuner.searches:
        for knobs in (DEFAULT, SECOND, BEST):
            search.add(knobs, outcome(knobs))
    return plan, tuner


def rejected(folder: Path) -> list[dict[str, Any]]:
    records = list(Database.load([folder]).records())
    assert all(record.outcome.status is Status.SLOWER_IN_MODEL for record in records)
    return [dict(record.knobs) for record in records]


@pytest.mark.parametrize("is_known", [False, True])
def test_slower_knobs_are_taken_back(tmp_path: Path, is_known: bool) -> None:
    kernel = task()
    plan, tuner = session(tmp_path, [] if is_known else [kernel], [kernel] if is_known else [])
    assert reject_slower(plan, tuner, Source(BEST), {kernel.names[0]: (1e-6, 2e-6)}) == 1
    assert rejected(tmp_path) == [vars(BEST)]
    assert [search.best for search in tuner.searches] == ([] if is_known else [SECOND])


@pytest.mark.parametrize("times", [{}, {"another": (1e-6, 2e-6)}, "faster"])
def test_what_is_no_slower_stays(tmp_path: Path, times: Any) -> None:
    kernel = task()
    plan, tuner = session(tmp_path, [kernel], [])
    assert (
        reject_slower(plan, tuner, Source(BEST), {kernel.names[0]: (2e-6, 1e-6)} if times == "faster" else times) == 0
    )
    assert tuner.searches[0].best == BEST


def test_knobs_that_the_model_was_not_compiled_with_stay(tmp_path: Path) -> None:
    kernel = task()
    plan, tuner = session(tmp_path, [kernel], [])
    assert reject_slower(plan, tuner, Source(None), {kernel.names[0]: (1e-6, 2e-6)}) == 0
    assert reject_slower(plan, tuner, Source(SECOND), {kernel.names[0]: (1e-6, 2e-6)}) == 1
    assert rejected(tmp_path) == [vars(SECOND)]
    assert tuner.searches[0].best == BEST
