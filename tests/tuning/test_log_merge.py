"""Logs of two people become one: the best by target and kernel, with their origin, and nothing twice."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_records import BOARD, LAB, RECORD, V3, V4, record, write_log, wrong

from lepton_compiler.core.errors import TuningLogError
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.log_files import find_logs
from lepton_compiler.tuning.log_merge import merge_logs
from lepton_compiler.tuning.log_reader import read_logs
from lepton_compiler.tuning.record import Outcome, Status

MODEL = Path("x86-64-v3", "model")


@pytest.fixture
def two_people(tmp_path: Path) -> tuple[Path, Path]:
    """Two trees of logs; the second one's owner is faster at the first kernel, the first one's at the second."""
    mine, theirs = tmp_path / "mine", tmp_path / "theirs"
    crash = record(chunks=5, outcome=Outcome.failed(Status.CRASH, "signal 11"))
    write_log(mine / MODEL, [record(2.0, 1, device=LAB), record(1.0, 2, workload="w1-b", device=LAB), crash])
    write_log(theirs / MODEL, [record(1.5, 3, device=BOARD), record(1.2, 4, workload="w1-b", device=BOARD), wrong(1)])
    write_log(theirs / "x86-64-v4" / "model", [record(0.1, 1, target=V4, device=BOARD)])
    return mine, theirs


def records(root: Path):
    return [entry.record for entry in read_logs(find_logs([root])).entries]


def test_the_best_by_target_and_kernel(two_people: tuple[Path, Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    report = merge_logs(two_people, merged)
    assert report.read == 7
    assert report.written == {merged / MODEL / "records.jsonl": 3, merged / "x86-64-v4/model/records.jsonl": 1}
    database = Database.load([merged])
    for workload, target, median, device in (
        (RECORD.workload, V3, 1.5, BOARD),
        ("w1-b", V3, 1.0, LAB),
        (RECORD.workload, V4, 0.1, BOARD),
    ):
        best = database.best(workload, target)
        assert best is not None
        assert (best.record.median_s, best.record.device) == (median, device)
        originals = [item for root in two_people for item in records(root)]
        assert best.record in originals, "as it was, with all that says where it is from"


def test_a_wrong_result_goes_along(two_people: tuple[Path, Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merge_logs(two_people, merged)
    assert wrong(1) in records(merged)


def test_everything(two_people: tuple[Path, Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    assert sum(merge_logs(two_people, merged, keep=None).written.values()) == 7
    assert len(records(merged)) == 7


def test_several_candidates(two_people: tuple[Path, Path], tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    merge_logs(two_people, merged, keep=2)
    assert sorted(item.median_s for item in records(merged) if item.workload == "w1-b") == [1.0, 1.2]


def test_merging_into_ones_own_logs_appends_what_is_better(two_people: tuple[Path, Path]) -> None:
    mine, theirs = two_people
    before = records(mine)
    log = (mine / MODEL / "records.jsonl").read_bytes()
    report = merge_logs([theirs], mine)
    assert (mine / MODEL / "records.jsonl").read_bytes().startswith(log)
    added = [item for item in records(mine) if item not in before]
    assert sorted((item.target.name, item.median_s or 0) for item in added) == [
        ("x86-64-v3", 0),
        ("x86-64-v3", 1.5),
        ("x86-64-v4", 0.1),
    ]
    assert sum(report.written.values()) == 3


@pytest.mark.parametrize("keep", [1, None])
def test_merging_again_changes_nothing(two_people: tuple[Path, Path], tmp_path: Path, keep: int | None) -> None:
    merged = tmp_path / "merged"
    merge_logs([*two_people, two_people[0]], merged, keep)
    before = records(merged)
    assert merge_logs([*two_people, merged], merged, keep).written == {}
    assert records(merged) == before


def test_a_log_outside_of_a_tree_is_named_after_its_file(tmp_path: Path) -> None:
    loose = write_log(tmp_path / "download", [RECORD]).rename(tmp_path / "resnet50.jsonl")
    merge_logs([loose], tmp_path / "merged")
    assert records(tmp_path / "merged" / "x86-64-v3" / "resnet50") == [RECORD]


def test_bad_lines_are_reported_and_the_rest_is_merged(tmp_path: Path) -> None:
    log = write_log(tmp_path / "source" / MODEL, [RECORD])
    log.write_bytes(b"damaged\n" + log.read_bytes() + b'{"format": "1.0", "wo')
    report = merge_logs([log], tmp_path / "merged")
    assert [problem.line for problem in report.problems] == [1, 3]
    assert records(tmp_path / "merged") == [RECORD]


def test_a_destination_that_is_no_folder(tmp_path: Path) -> None:
    log = write_log(tmp_path / MODEL, [RECORD])
    with pytest.raises(TuningLogError, match="Not a directory"):
        merge_logs([log], log)
