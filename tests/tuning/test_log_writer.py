"""Writing logs: killed, crowded or out of room, nothing that was written is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_records import RECORD, record, write_log

from lepton_compiler.core.errors import InternalError, TuningLogError
from lepton_compiler.tuning.log_files import find_logs
from lepton_compiler.tuning.log_reader import read_logs
from lepton_compiler.tuning.log_writer import LogWriter, locked_log
from lepton_compiler.tuning.record_line import format_record

_ENDLESS = """
import sys
from collections.abc import Callable
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sample_records import record
from lepton_compiler.tuning.log_writer import LogWriter
with LogWriter(Path(sys.argv[2])) as writer:
    for seed in range(int(sys.argv[3]), int(sys.argv[4])):
        writer.append(record(seed=seed))
        print(seed, flush=True)
"""


def start_writer(
    folder: Path, first: int, behind_last: int, preexec_fn: Callable[[], None] | None = None
) -> subprocess.Popen[bytes]:
    """A process that appends records and prints the seed of each once it is written."""
    command = [sys.executable, "-c", _ENDLESS, str(Path(__file__).parent), str(folder), str(first), str(behind_last)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=preexec_fn)


def seeds(folder: Path) -> list[int]:
    contents = read_logs(find_logs([folder]))
    assert not contents.problems
    return [entry.record.seed for entry in contents.entries]


def test_folders_are_made_and_records_appended(tmp_path: Path) -> None:
    folder = tmp_path / "x86-64-v3" / "model"
    first = write_log(folder, [record(seed=1)])
    assert first == folder / "records.jsonl"
    assert write_log(folder, [record(seed=2), record(seed=3)]) == first
    assert seeds(folder) == [1, 2, 3]


@pytest.mark.parametrize("records", [1, 30, 300])
def test_a_writer_that_is_killed_has_lost_nothing(tmp_path: Path, records: int) -> None:
    with start_writer(tmp_path, 0, 10**9) as writer:
        assert writer.stdout is not None
        printed = [int(writer.stdout.readline()) for _ in range(records)]
        writer.kill()
        printed += [int(line) for line in writer.stdout.read().split(b"\n")[:-1]]
    assert writer.returncode == -signal.SIGKILL
    contents = read_logs(find_logs([tmp_path]))
    written = [entry.record.seed for entry in contents.entries]
    assert written[: len(printed)] == printed
    assert len(written) <= len(printed) + 1
    write_log(tmp_path, [record(seed=10**9)])
    again = read_logs(find_logs([tmp_path]))
    assert [entry.record.seed for entry in again.entries] == [*written, 10**9]


def test_two_writers_of_a_folder_have_a_file_each(tmp_path: Path) -> None:
    with start_writer(tmp_path, 0, 200) as one, start_writer(tmp_path, 1000, 1200) as other:
        # Both are at work before either may finish.
        for writer in (one, other):
            assert writer.stdout is not None
            assert writer.stdout.readline()
        for writer in (one, other):
            writer.communicate()
    assert one.returncode == other.returncode == 0
    assert sorted(seeds(tmp_path)) == [*range(200), *range(1000, 1200)]


def test_a_writer_that_finds_the_log_taken_takes_the_next(tmp_path: Path) -> None:
    with LogWriter(tmp_path) as first, LogWriter(tmp_path) as second, LogWriter(tmp_path) as third:
        assert [w.path.name for w in (first, second, third)] == ["records.jsonl", "records-2.jsonl", "records-3.jsonl"]
        for seed, writer in enumerate((third, first, second)):
            writer.append(record(seed=seed))
        with pytest.raises(TuningLogError, match="being written by another process"), locked_log(second.path):
            pass
    assert sorted(seeds(tmp_path)) == [0, 1, 2]
    with locked_log(first.path), LogWriter(tmp_path) as writer:
        assert writer.path.name == "records-2.jsonl"


def test_a_log_that_was_replaced_while_a_writer_opened_it_is_opened_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = write_log(tmp_path, [record(seed=1)])
    replaced = []

    def flock_after_replacement(handle: int, how: int) -> None:
        if not replaced:
            replaced.append(handle)
            new = tmp_path / "new"
            new.write_bytes(format_record(record(seed=2)))
            new.replace(log)

    monkeypatch.setattr("fcntl.flock", flock_after_replacement)
    write_log(tmp_path, [record(seed=3)])
    assert seeds(tmp_path) == [2, 3]


def test_a_file_that_may_grow_no_further_keeps_whole_records(tmp_path: Path) -> None:
    line = len(format_record(record(seed=0)))
    limit = 5 * line + line // 2

    def limited() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with start_writer(tmp_path, 0, 10, preexec_fn=limited) as writer:
        _, errors = writer.communicate()
    assert writer.returncode == 1
    assert b"records.jsonl can't be written: File too large; the records before are kept" in errors
    assert (tmp_path / "records.jsonl").stat().st_size == 5 * line
    write_log(tmp_path, [record(seed=5)])
    assert seeds(tmp_path) == [0, 1, 2, 3, 4, 5]


def test_a_full_disk_keeps_whole_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = os.write, [len(format_record(RECORD)) + 100]

    def write_while_there_is_room(handle: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        count = write(handle, data[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr("lepton_compiler.tuning.log_writer.os.write", write_while_there_is_room)
    with LogWriter(tmp_path) as writer:
        writer.append(record(seed=1))
        with pytest.raises(TuningLogError, match="No space left on device; the records before are kept: make room"):
            writer.append(record(seed=2))
        assert seeds(tmp_path) == [1]
        room[0] = 1 << 20
        writer.append(record(seed=3))
    assert seeds(tmp_path) == [1, 3]


def test_a_disk_that_takes_nothing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lepton_compiler.tuning.log_writer.os.fdatasync", full)
    with pytest.raises(TuningLogError, match="No space left"), LogWriter(tmp_path) as writer:
        writer.append(RECORD)


def test_what_is_written_is_synchronised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synchronised = []
    monkeypatch.setattr("lepton_compiler.tuning.log_writer.os.fdatasync", synchronised.append)
    with LogWriter(tmp_path, sync_interval_s=3600) as writer:
        for seed in range(3):
            writer.append(record(seed=seed))
        assert len(synchronised) == 1, "the first record, then at intervals"
    assert len(synchronised) == 2, "and at the end"
    with LogWriter(tmp_path, sync_interval_s=0) as writer:
        for seed in range(3):
            writer.append(record(seed=seed))
        assert len(synchronised) == 5


def test_places_that_can_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TuningLogError, match=r"file.* can't be written: (File exists|Not a directory)"):
        LogWriter(tmp_path / "file")
    with pytest.raises(TuningLogError, match=r"Not a directory"):
        LogWriter(tmp_path / "file" / "below")
    with pytest.raises(TuningLogError, match="No such file"), locked_log(tmp_path / "absent.jsonl"):
        pass


def test_a_closed_log_takes_no_record(tmp_path: Path) -> None:
    writer = LogWriter(tmp_path)
    writer.close()
    writer.close()
    with pytest.raises(InternalError, match="is closed"):
        writer.append(RECORD)
