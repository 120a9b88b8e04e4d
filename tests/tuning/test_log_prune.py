"""Pruning drops what a better trial dominates, and nothing that somebody may still need."""

from __future__ import annotations

from pathlib import Path

import pytest
from sample_records import RECORD, V4, record, write_log, wrong

from lepton_compiler.core.errors import TuningLogError
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.log_files import find_logs
from lepton_compiler.tuning.log_prune import prune_logs
from lepton_compiler.tuning.log_reader import read_logs
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.record import Outcome, Status
from lepton_compiler.tuning.record_line import format_record

CRASH = record(chunks=50, outcome=Outcome.failed(Status.CRASH, "signal 11"))


def chunks(root: Path) -> list[object]:
    return [entry.record.knobs["chunks"] for entry in read_logs(find_logs([root])).entries]


def test_the_best_stay(tmp_path: Path) -> None:
    log = write_log(tmp_path, [record(float(9 - i), i) for i in range(1, 6)] + [CRASH])
    before = Database.load([log]).best(RECORD.workload, RECORD.target)
    report = prune_logs([log], keep=2)
    assert (report.kept, report.dropped) == (2, 4)
    assert chunks(log) == [4, 5]
    after = Database.load([log]).best(RECORD.workload, RECORD.target)
    assert before is not None
    assert after is not None
    assert after.record == before.record


def test_other_targets_and_other_folders_are_no_rivals(tmp_path: Path) -> None:
    write_log(tmp_path / "a", [record(1.0, 1), record(3.0, 2, target=V4)])
    write_log(tmp_path / "b", [record(2.0, 3)])
    assert prune_logs(find_logs([tmp_path]), keep=1).dropped == 0


def test_files_of_one_folder_are(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as one, LogWriter(tmp_path) as other:
        one.append(record(1.0, 1))
        other.append(record(2.0, 2))
    assert prune_logs(find_logs([tmp_path]), keep=1).dropped == 1
    assert chunks(tmp_path) == [1]


def test_wrong_results_stay_and_what_they_refute_goes(tmp_path: Path) -> None:
    log = write_log(tmp_path, [record(0.1, 1), wrong(1), record(1.0, 2)])
    prune_logs([log], keep=5)
    assert read_logs([log]).entries[0].record == wrong(1)
    assert chunks(log) == [1, 2]


def test_failures_stay_where_nothing_is_right(tmp_path: Path) -> None:
    log = write_log(tmp_path, [CRASH, wrong(1)])
    assert prune_logs([log], keep=1).dropped == 0
    assert chunks(log) == [50, 1]


@pytest.mark.parametrize("damaged", [False, True])
def test_lines_that_can_not_be_read(tmp_path: Path, damaged: bool) -> None:
    newer = format_record(RECORD).replace(b'"1.0"', b'"2.0"')
    best = format_record(record(1.0, 1))
    log = tmp_path / "records.jsonl"
    log.write_bytes(b"\xff\n" + newer + format_record(record(2.0, 2)) + best + b'{"torn')
    report = prune_logs([log], keep=1, damaged=damaged)
    assert (report.kept, report.dropped, report.damaged) == (1, 1, 2 * damaged)
    assert log.read_bytes() == (newer + best if damaged else b"\xff\n" + newer + best + b'{"torn')
    assert len(report.problems) == 3


def test_a_rehearsal_changes_nothing(tmp_path: Path) -> None:
    log = write_log(tmp_path, [record(2.0, 1), record(1.0, 2)])
    before = log.read_bytes()
    assert prune_logs([log], keep=1, dry_run=True).dropped == 1
    assert log.read_bytes() == before


def test_a_log_that_is_being_written_is_left_alone(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as writer:
        writer.append(record(2.0, 1))
        writer.append(record(1.0, 2))
        with pytest.raises(TuningLogError, match="being written"):
            prune_logs([writer.path], keep=1)
    assert chunks(tmp_path) == [1, 2]


def test_a_writer_goes_on_behind_a_pruned_log(tmp_path: Path) -> None:
    log = write_log(tmp_path, [record(2.0, 1), record(1.0, 2)])
    prune_logs([log], keep=1)
    assert write_log(tmp_path, [record(0.5, 3)]) == log
    assert chunks(tmp_path) == [2, 3]
