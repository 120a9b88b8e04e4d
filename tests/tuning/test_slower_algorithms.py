"""Algorithms that are faster alone and slower inside of the model: taken back with all their knobs."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
from landscape import function
from sample_records import record, write_log

from lepton_compiler.targets.cpu.row_reduction import RowReductionKnobs
from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.build_pool import BuildPool
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.measurement import Measurer
from lepton_compiler.tuning.record import Device, Outcome, Status, TunedTarget, TuningRecord, Versions
from lepton_compiler.tuning.session import Plan
from lepton_compiler.tuning.slower_algorithms import refused_defaults, reject_slower_algorithms, stand_ins
from lepton_compiler.tuning.tasks import TuningTask
from lepton_compiler.tuning.tuner import Bench, Tuner

TARGET = get_target("x86-64-v3")
BENCH = Bench(Device("lab", "a processor", 1), TARGET, Versions("0.1.0", "0.27.0", "22"), 0, {"threads": 1})
KNOBS = (RowReductionKnobs(8, 1), RowReductionKnobs(8, 2))
LAYER = ("w1-direct", "w1-other")
OWN = TuningTask(LAYER[0], ("kernel",), 1, function(8), "row_reduction", KNOBS[0], KNOBS, None, "direct", LAYER)
OTHER = TuningTask(
    LAYER[1], ("kernel as other",), 1, function(8), "row_reduction", KNOBS[0], KNOBS, None, "other", LAYER, ("kernel",)
)
SLOWER = {"kernel": (1e-6, 2e-6)}


def trial(workload: str, knobs: RowReductionKnobs, outcome: Outcome, day: int = 1) -> TuningRecord:
    return record(
        workload=workload,
        anchor="row_reduction",
        knobs=to_values(knobs),
        outcome=outcome,
        target=TunedTarget.of(TARGET),
        time=f"2026-01-0{day}T00:00:00Z",
    )


def session(folder: Path, *records: TuningRecord) -> tuple[Plan, Tuner, Database]:
    """A session whose log has right trials of both knobs of the other algorithm."""
    log = write_log(folder, [trial(LAYER[1], knobs, Outcome.ok(1e-6, 0, 1)) for knobs in KNOBS])
    write_log(folder, records)
    with LogWriter(folder) as writer:
        nobody = cast(BuildPool, None), cast(Measurer, None)
        tuner = Tuner([OWN, OTHER], BENCH, *nobody, writer, in_flight=1, overlap=True)
    return Plan(TARGET, (OWN, OTHER), (), (), folder, cast(Database, None)), tuner, Database.load([log])


def rejected(folder: Path) -> list[str]:
    found = Database.load([folder]).records()
    return [item.workload for item in found if item.outcome.status is Status.SLOWER_IN_MODEL]


def test_all_knobs_go(tmp_path: Path) -> None:
    plan, tuner, database = session(tmp_path)
    assert reject_slower_algorithms(plan, tuner, [OTHER], database, SLOWER) == 1
    assert rejected(tmp_path) == [LAYER[1]] * 2
    assert Database.load([tmp_path]).best(LAYER[1], TunedTarget.of(TARGET)) is None


@pytest.mark.parametrize("times", [{}, {"kernel": (2e-6, 1e-6)}, {"another": (1e-6, 2e-6)}])
def test_what_is_no_slower_stays(tmp_path: Path, times: dict[str, tuple[float, float]]) -> None:
    plan, tuner, database = session(tmp_path)
    assert reject_slower_algorithms(plan, tuner, [OTHER], database, times) == 0
    assert rejected(tmp_path) == []


def test_what_is_not_exact_enough_is_no_measure(tmp_path: Path) -> None:
    inexact = trial(LAYER[0], KNOBS[0], Outcome.failed(Status.INEXACT_IN_MODEL, "off"), day=2)
    plan, tuner, database = session(tmp_path, inexact)
    assert refused_defaults(plan, database) == {LAYER}
    assert reject_slower_algorithms(plan, tuner, [OTHER], database, SLOWER) == 0


def test_only_what_the_model_was_compiled_with_stands_in(tmp_path: Path) -> None:
    plan, _, database = session(tmp_path)
    assert stand_ins(plan, {LAYER[1]}) == [OTHER]
    assert stand_ins(plan, {LAYER[0]}) == []
    assert refused_defaults(plan, database) == set()
