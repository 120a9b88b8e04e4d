"""Reading logs: whatever is wrong with a line, it is reported with its place, and all others are read."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from sample_records import RECORD, record, write_log

from lepton_compiler.core.errors import TuningLogError
from lepton_compiler.tuning.log_reader import ProblemKind, read_logs
from lepton_compiler.tuning.record_line import format_record

LINE = format_record(RECORD)


def test_a_line_torn_at_any_byte_costs_that_record_alone(tmp_path: Path) -> None:
    log = tmp_path / "records.jsonl"
    for cut in range(len(LINE) + 1):
        log.write_bytes(LINE + LINE[:cut])
        contents = read_logs([log])
        # A record is whole once its brace is closed, with or without the newline.
        whole = cut >= len(LINE) - 1
        assert len(contents.entries) == 1 + whole, cut
        assert [(p.kind, p.line) for p in contents.problems] == ([] if whole or not cut else [(ProblemKind.TORN, 2)])


def test_the_next_writer_goes_on_behind_a_torn_line(tmp_path: Path) -> None:
    log = tmp_path / "records.jsonl"
    for cut in range(len(LINE) + 1):
        log.write_bytes(LINE + LINE[:cut])
        assert write_log(tmp_path, [record(chunks=9)]) == log
        contents = read_logs([log])
        assert log.read_bytes().startswith(LINE + LINE[:cut])
        assert [entry.record.knobs["chunks"] for entry in contents.entries][-1] == 9
        assert len(contents.entries) == 2 + (cut >= len(LINE) - 1), cut
        assert len(contents.problems) == (0 < cut < len(LINE) - 1)


def test_bad_lines_are_reported_with_their_place(tmp_path: Path) -> None:
    bad = [
        (b"\xff\xfe\n", ProblemKind.CORRUPT),
        (b"\x00" * 50 + b"\n", ProblemKind.CORRUPT),
        (LINE.replace(b"0.000125", b"NaN"), ProblemKind.CORRUPT),
        (LINE.replace(b"0.000125", b"1e400"), ProblemKind.CORRUPT),
        (LINE.replace(b'"1.0"', b'"2.0"'), ProblemKind.NEWER),
        (LINE[:100] + b"\n", ProblemKind.CORRUPT),
        (LINE.replace(b"}\n", b"}\r" + LINE), ProblemKind.CORRUPT),
        (b"<<<<<<< theirs\n", ProblemKind.CORRUPT),
    ]
    log = tmp_path / "records.jsonl"
    log.write_bytes(b"".join(LINE + line for line, _ in bad) + b"\n \r\n" + LINE)
    contents = read_logs([log])
    assert len(contents.entries) == len(bad) + 1
    assert [(p.kind, p.line) for p in contents.problems] == [(kind, 2 * i + 2) for i, (_, kind) in enumerate(bad)]
    assert str(contents.problems[0]) == f"{log}:2: byte 1 is not UTF-8"
    assert contents.entries[-1].line == 2 * len(bad) + 3


def test_lines_of_other_systems_are_read(tmp_path: Path) -> None:
    log = tmp_path / "records.jsonl"
    log.write_bytes(LINE.replace(b"\n", b"\r\n") * 2)
    assert len(read_logs([log]).entries) == 2


def test_an_empty_log_has_nothing(tmp_path: Path) -> None:
    log = tmp_path / "records.jsonl"
    log.touch()
    contents = read_logs([log])
    assert (contents.entries, contents.problems) == ((), ())


def test_a_log_that_can_not_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TuningLogError, match=r"absent.jsonl can't be read: No such file"):
        read_logs([tmp_path / "absent.jsonl"])
    with pytest.raises(TuningLogError, match="Is a directory"):
        read_logs([tmp_path])
    assert gc.isenabled()
