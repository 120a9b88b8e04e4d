"""Which record is best, and for which target: never a wrong one, never one of another target."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

from sample_records import RECORD, V3, V4, record, write_log, wrong

from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.knob_check import why_knobs_do_not_fit
from lepton_compiler.tuning.log_reader import Entry, ProblemKind
from lepton_compiler.tuning.ranking import ranked, refusal_of
from lepton_compiler.tuning.record import Outcome, Status, TunedTarget, TuningRecord, Versions

NEXT_VERSION = Versions("0.2.0", "0.27.0.post1", "22")


def order(*records: TuningRecord) -> list[tuple[float | None, object]]:
    """Time and chunks of the ranked trials."""
    entries = [Entry(item, Path("log"), line) for line, item in enumerate(records, 1)]
    return [(entry.record.median_s, entry.record.knobs["chunks"]) for entry in ranked(entries)]


def test_fastest_first_and_each_candidate_once() -> None:
    assert order(record(3.0, 1), record(1.0, 2), record(2.0, 1), record(4.0, 2)) == [(1.0, 2), (2.0, 1)]


def test_failures_are_not_ranked() -> None:
    failures = [
        record(chunks=i, outcome=Outcome.failed(status, "why"))
        for i, status in enumerate(status for status in Status if status not in (Status.OK, Status.INEXACT_IN_MODEL))
    ]
    assert order(*failures, record(9.0, 77)) == [(9.0, 77)]
    assert order(*failures) == []


def test_the_order_of_lines_decides_nothing() -> None:
    records = [
        record(1.0, 1, time="2026-01-02T00:00:00Z"),
        record(1.0, 2, time="2026-01-01T00:00:00Z"),
        record(1.0, 3, outcome=Outcome.ok(1.0, 0.0, 5)),
        wrong(4),
        record(0.5, 4),
    ]
    assert {tuple(order(*each)) for each in itertools.permutations(records)} == {((1.0, 3), (1.0, 2), (1.0, 1))}


def test_a_kernel_that_was_not_exact_enough_is_out_with_all_its_knobs() -> None:
    inexact = record(chunks=4, outcome=Outcome.failed(Status.INEXACT_IN_MODEL, "off"), time="2026-02-01T00:00:00Z")
    assert order(record(1.0, 1), record(2.0, 2), inexact) == []
    newer = record(3.0, 3, versions=Versions("99.0", "1", "1"), time="2026-03-01T00:00:00Z")
    assert order(record(1.0, 1), inexact, newer) == [(3.0, 3)]
    entries = [Entry(item, Path("log"), line) for line, item in enumerate([record(1.0, 1), inexact], 1)]
    assert refusal_of(entries) is entries[1]
    assert refusal_of(entries[:1]) is None
    assert refusal_of([*entries, Entry(newer, Path("log"), 3)]) is None


def test_knobs_that_were_wrong_once_are_out() -> None:
    assert order(record(1.0, 1), wrong(1), record(2.0, 2)) == [(2.0, 2)]
    other_anchor = dataclasses.replace(wrong(1), anchor="winograd")
    assert order(record(1.0, 1), other_anchor) == [(1.0, 1)]


def test_a_later_version_may_have_mended_a_wrong_schedule() -> None:
    found = wrong(1, time="2026-02-01T00:00:00Z")
    mended = record(1.0, 1, time="2026-03-01T00:00:00Z", versions=NEXT_VERSION)
    assert order(found, mended) == [(1.0, 1)]
    assert order(found, dataclasses.replace(mended, versions=RECORD.versions)) == []
    assert order(found, dataclasses.replace(mended, time="2026-01-01T00:00:00Z")) == []


def test_records_of_another_target_are_never_given_out(tmp_path: Path) -> None:
    poorer = TunedTarget(V3.name, ("avx2",))
    write_log(tmp_path, [record(3.0, 1), record(2.0, 2, target=V4), record(1.0, 3, target=poorer)])
    database = Database.load([tmp_path])
    for target, median in ((V3, 3.0), (V4, 2.0), (poorer, 1.0)):
        best = database.best(RECORD.workload, target)
        assert best is not None
        assert best.record.median_s == median
        assert [entry.record.target for entry in database.trials(RECORD.workload, target)] == [target]
    assert database.best(RECORD.workload, TunedTarget("x86-64-v2", ())) is None
    assert database.best("w1-ffff", V3) is None
    assert [kernel.target for kernel in database.kernels()] == [poorer, V3, V4]


def test_records_whose_knobs_do_not_fit_are_skipped_with_their_place(tmp_path: Path) -> None:
    unfit = dataclasses.replace(record(0.5), knobs={"tile": 1})
    log = write_log(tmp_path, [unfit, record(1.0)])
    database = Database.load([tmp_path], why_knobs_do_not_fit)
    best = database.best(RECORD.workload, V3)
    assert best is not None
    assert best.line == 2
    (problem,) = database.problems
    assert (problem.kind, problem.log, problem.line) == (ProblemKind.KNOBS, log, 1)
    assert "not those of PackedConvolutionKnobs" in problem.reason
    assert Database.load([tmp_path]).best(RECORD.workload, V3) is not None, "who checks no knobs gets all"


def test_knobs_that_made_a_model_slower_are_out() -> None:
    slower = record(
        chunks=4, outcome=Outcome.failed(Status.SLOWER_IN_MODEL, "2.0 us inside of model, the default 1.5 us")
    )
    assert order(record(1.0, 4), slower, record(2.0, 2)) == [(2.0, 2)]
