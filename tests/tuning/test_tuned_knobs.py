"""Knobs from logs: exactly those of the kernel and the target, never slower, never wrong, never of another schedule."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tvm
import tvm_ffi
from sample_records import BOARD, LAB, record, write_log
from tvm import te, tirx

from lepton_compiler.core.errors import LeptonWarning, TuningLogError
from lepton_compiler.passes.lowering.schedule_functions import ScheduleFunctions
from lepton_compiler.targets.cpu.knobs import TUNED_ATTRIBUTE, TunedChoice
from lepton_compiler.targets.cpu.row_reduction import RowReductionKnobs
from lepton_compiler.targets.cpu.schedule import default_knobs_of, schedule_function
from lepton_compiler.targets.cpu.winograd import WinogradKnobs
from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.record import Outcome, Status, TunedTarget, TuningRecord, Versions
from lepton_compiler.tuning.tuned_knobs import TunedKnobs
from lepton_compiler.tuning.workload_key import workload_key

V3, V4 = get_target("x86-64-v3"), get_target("x86-64-v4")


def row_sums(columns: int = 64) -> tirx.PrimFunc:
    data = te.placeholder((4, columns), "float32", name="data")
    k = te.reduce_axis((0, columns), name="k")
    return te.create_prim_func([data, te.compute((4,), lambda i: te.sum(data[i, k], k), name="sums")])


FUNCTION = row_sums()
DEFAULT = default_knobs_of(FUNCTION, V3)
BETTER = RowReductionKnobs(4, 1)
ALSO = RowReductionKnobs(8, 2)
assert DEFAULT not in (BETTER, ALSO)


def trial(knobs: Any, median_s: float, **changes: Any) -> TuningRecord:
    fields: dict[str, Any] = {
        "workload": workload_key(FUNCTION),
        "anchor": "row_reduction",
        "knobs": to_values(knobs),
        "target": TunedTarget.of(V3),
        "outcome": Outcome.ok(median_s, 1e-9, 15),
    }
    return record(**{**fields, **changes})


def loaded(folder: Path, records: Iterable[TuningRecord]) -> TunedKnobs:
    return TunedKnobs.load([write_log(folder, records)])


def test_the_fastest_record_is_found_with_its_gain(tmp_path: Path) -> None:
    tuned = loaded(tmp_path, [trial(DEFAULT, 3e-6), trial(ALSO, 2.9e-6), trial(BETTER, 2e-6)])
    choice = tuned.find(FUNCTION, V3)
    assert choice is not None
    assert choice == TunedChoice("row_reduction", BETTER, f"{tmp_path}/records.jsonl:3", choice.gain)
    assert choice.gain == pytest.approx(1.5)


@pytest.mark.parametrize(
    "records",
    [
        [],
        [trial(BETTER, 1e-6)],
        [trial(DEFAULT, 1e-6), trial(BETTER, 1e-6 / 1.005)],
        [trial(DEFAULT, 1e-6), trial(BETTER, 2e-6)],
        [trial(DEFAULT, 3e-6), trial(BETTER, 1e-6, outcome=Outcome.failed(Status.WRONG_RESULT, "differs"))],
        [
            trial(DEFAULT, 3e-6),
            trial(BETTER, 1e-6),
            trial(BETTER, 1e-6, outcome=Outcome.failed(Status.WRONG_RESULT, "differs")),
        ],
        [trial(DEFAULT, 3e-6, target=TunedTarget.of(V4)), trial(BETTER, 1e-6, target=TunedTarget.of(V4))],
        [
            trial(knobs, seconds, target=dataclasses.replace(TunedTarget.of(V3), cpu_features=("avx2",)))
            for knobs, seconds in ((DEFAULT, 3e-6), (BETTER, 1e-6))
        ],
        [trial(knobs, seconds, workload="w1-" + "0" * 32) for knobs, seconds in ((DEFAULT, 3e-6), (BETTER, 1e-6))],
        [trial(DEFAULT, 3e-6, device=LAB), trial(BETTER, 1e-6, device=BOARD)],
        [trial(DEFAULT, 3e-6, extra={"timing": {"threads": 1}}), trial(BETTER, 1e-6, extra={"timing": {"threads": 2}})],
    ],
    ids=[
        "none",
        "no-default",
        "noise",
        "slower",
        "wrong",
        "wrong-once",
        "another-target",
        "other-features",
        "another-kernel",
        "another-device",
        "other-threads",
    ],
)
def test_nothing_is_known_that_is_surely_better(tmp_path: Path, records: list[TuningRecord]) -> None:
    # A log without records is still one: the others of the folder count.
    tuned = loaded(tmp_path, [*records, trial(ALSO, 1.0, target=TunedTarget.of(V4))])
    assert tuned.find(FUNCTION, V3) is None


def test_of_two_devices_each_is_compared_with_itself(tmp_path: Path) -> None:
    slow = [trial(DEFAULT, 9e-6, device=BOARD), trial(ALSO, 4.5e-6, device=BOARD)]
    fast = [trial(DEFAULT, 2e-6, device=LAB), trial(BETTER, 1.9e-6, device=LAB)]
    choice = loaded(tmp_path, [*slow, *fast]).find(FUNCTION, V3)
    assert choice is not None
    assert (choice.knobs, choice.gain) == (ALSO, pytest.approx(2.0))


def test_lines_that_are_skipped_are_said(tmp_path: Path) -> None:
    log = write_log(tmp_path, [trial(DEFAULT, 3e-6)])
    newer = log.read_bytes().replace(b'"format": "1.0"', b'"format": "2.0"')
    assert newer != log.read_bytes()
    with log.open("ab") as file:
        file.write(newer)
    unfit = trial(DEFAULT, 1e-6, anchor="fourier")
    write_log(tmp_path, [unfit, trial(BETTER, 1e-6)])
    with log.open("ab") as file:
        file.write(b'damaged\n{"format": "1')
    with pytest.warns(LeptonWarning) as caught:
        tuned = TunedKnobs.load([log])
    sentences = [str(warning.message) for warning in caught]
    assert len(sentences) == 4
    for line, words in ((2, "newer"), (5, "JSON"), (6, "the last line is torn"), (3, 'schedule with knobs for "four')):
        assert any(f"records.jsonl:{line}: " in text and words in text for text in sentences), (line, sentences)
    assert all(text.endswith("; the line is skipped") for text in sentences)
    assert tuned.find(FUNCTION, V3) is not None


def test_many_skipped_lines_are_summed_up(tmp_path: Path) -> None:
    log = tmp_path / "records.jsonl"
    log.write_bytes(b"damaged\n" * 9)
    with pytest.warns(LeptonWarning) as caught:
        TunedKnobs.load([log])
    assert len(caught) == 6
    assert "4 more lines are skipped" in str(caught[-1].message)


def test_logs_that_are_not_there_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(TuningLogError, match="does not exist"):
        TunedKnobs.load([tmp_path / "nowhere"])
    with pytest.raises(TuningLogError, match="no tuning log"):
        TunedKnobs.load([tmp_path])


# The pass.


class Given:
    """Says the same of every kernel."""

    def __init__(self, anchor: str, knobs: Any) -> None:
        self._choice = TunedChoice(anchor, knobs, "some.jsonl:7", 1.25)

    def find(self, function: tirx.PrimFunc, target: Any) -> TunedChoice:
        return self._choice


def scheduled(function: tirx.PrimFunc, knobs: Any, anchor: str = "row_reduction"):
    """The function behind the pass, the words of the pass, and what it was tuned by."""
    module = tvm.IRModule({"kernel": function})
    result = ScheduleFunctions(Given(anchor, knobs)).run(module, V3)
    ((_, words),) = [(rewrite.node, rewrite.what) for rewrite in result.rewrites]
    function = result.module["kernel"]
    return function, words, dict(function.attrs[TUNED_ATTRIBUTE])


def same_code(one: tirx.PrimFunc, other: tirx.PrimFunc) -> bool:
    return tvm_ffi.structural_equal(one.body, other.body, map_free_vars=True)


def test_recorded_knobs_are_used_and_named() -> None:
    function, words, tuning = scheduled(FUNCTION, BETTER)
    assert same_code(function, schedule_function(FUNCTION, V3, BETTER).func)
    assert not same_code(function, schedule_function(FUNCTION, V3).func)
    assert words.endswith("; tuned by some.jsonl:7, 1.25 times as fast as the default")
    assert tuning == {"record": "some.jsonl:7", "gain": 1.25, "refusal": ""}


def elementwise() -> tirx.PrimFunc:
    data = te.placeholder((4, 64), "float32", name="data")
    return te.create_prim_func([data, te.compute((4, 64), lambda i, j: data[i, j] * 2.0, name="doubled")])


@pytest.mark.parametrize(
    ("function", "knobs", "refusal"),
    [
        (FUNCTION, RowReductionKnobs(4, 77), "its knobs (lanes=4 chains=77) are no candidate"),
        (FUNCTION, RowReductionKnobs(0, 1), "its knobs (lanes=0 chains=1) are no candidate"),
        (FUNCTION, WinogradKnobs(1, 2, 3), "the kernel's schedule has RowReductionKnobs"),
        (elementwise(), BETTER, "the kernel's schedule is elementwise, which has no knobs"),
    ],
    ids=["large", "zero", "another-schedule", "no-knobs"],
)
def test_knobs_that_do_not_fit_leave_the_default_and_say_so(function: tirx.PrimFunc, knobs: Any, refusal: str) -> None:
    made, words, tuning = scheduled(function, knobs)
    assert same_code(made, schedule_function(function, V3).func)
    assert f"; not as some.jsonl:7 says: {refusal}" in words
    assert tuning["refusal"].startswith(refusal)


def test_knobs_that_tvm_refuses_leave_the_default_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from lepton_compiler.passes.lowering import schedule_functions

    original = schedule_function

    def refuse(function: tirx.PrimFunc, target: Any, knobs: Any = None):
        made = original(function, target, knobs)
        return made if knobs is None else dataclasses.replace(made, refused="no row_reduction schedule: not legal")

    monkeypatch.setattr(schedule_functions, "schedule_function", refuse)
    made, words, tuning = scheduled(FUNCTION, BETTER)
    assert same_code(made, original(FUNCTION, V3).func)
    assert words.endswith("; not as some.jsonl:7 says: no row_reduction schedule: not legal")
    assert tuning["refusal"]


def test_without_logs_nothing_is_said() -> None:
    result = ScheduleFunctions().run(tvm.IRModule({"kernel": FUNCTION}), V3)
    assert TUNED_ATTRIBUTE not in result.module["kernel"].attrs
    assert "tuned" not in result.rewrites[0].what


def test_versions_decide_nothing(tmp_path: Path) -> None:
    """A record of an older version counts, where its knobs are still candidates."""
    old = Versions("0.0.1", "0.20.0", "17")
    choice = loaded(tmp_path, [trial(DEFAULT, 3e-6, versions=old), trial(BETTER, 1e-6, versions=old)]).find(
        FUNCTION, V3
    )
    assert choice is not None
    assert choice.knobs == BETTER
