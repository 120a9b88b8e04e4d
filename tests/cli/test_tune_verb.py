"""``lepton tune``: killed, interrupted, crowded or out of room, it keeps what it measured and leaves nothing behind."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from onnx import TensorProto, helper
from processes import descendants, is_alive, wait_until
from sample_records import RECORD, write_log
from small_onnx_models import write_model

from lepton_compiler.devices.local_device import LocalDevice
from lepton_compiler.tuning.log_files import find_logs
from lepton_compiler.tuning.log_reader import LogContents, read_logs
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.ranking import candidate_of
from lepton_compiler.tuning.record_line import format_record

LEPTON = (sys.executable, "-c", "from lepton_compiler.cli.main import main; main()")


@contextmanager
def tuner(
    model: Path, logs: Path, *options: str, before: Callable[[], None] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """``lepton tune``, as a terminal starts it: with a group of processes of its own."""
    scratch = scratch_of(logs)
    scratch.mkdir(exist_ok=True)
    command = [*LEPTON, "tune", str(model), "-o", str(logs), *options]
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=before,
        env={**os.environ, "TMPDIR": str(scratch)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def scratch_of(logs: Path) -> Path:
    """Temporary folder of the sessions that write there: short, for the socket of the server that forks."""
    return Path("/tmp") / f"lepton-test-{hashlib.sha256(str(logs).encode()).hexdigest()[:12]}"


def contents(logs: Path) -> LogContents:
    return read_logs(find_logs([logs]))


def has_records(logs: Path, count: int) -> bool:
    return sum(log.read_bytes().count(b"\n") for log in logs.rglob("*.jsonl")) >= count


def candidates(logs: Path) -> set[object]:
    return {candidate_of(entry.record) for entry in contents(logs).entries}


def test_killed_resumed_and_left_alone(lepton, tunable_model: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with tuner(tunable_model, logs) as process:
        wait_until(lambda: has_records(logs, 2), 90)
        started = [process.pid, *descendants(process.pid)]
        assert len(started) > 3, "the tuner, its agent, and its builder with its server"
        process.kill()
        process.communicate()
    wait_until(lambda: not any(map(is_alive, started)))
    found = contents(logs)
    assert len(found.entries) >= 2
    assert len(found.problems) <= 1
    before = candidates(logs)

    again = lepton("tune", tunable_model, "-o", logs)
    assert again.exit_code == 0, again.output
    assert again.stdout.startswith("all 1 kernels have records in ")
    assert contents(logs) == found
    (kernel,) = json.loads(lepton("tune", tunable_model, "-o", logs, "--format", "json").stdout)["kernels"]
    assert not kernel["is_searched"]

    resumed = lepton("tune", tunable_model, "-o", logs, "--resume", "--no-check", "--trials", 1, "--format", "json")
    assert resumed.exit_code == 0, resumed.output
    assert len(candidates(logs)) == len(before) + 1
    (kernel,) = json.loads(resumed.stdout)["report"]["tasks"]
    assert kernel["trials"] == len(before) + 1


def test_an_interrupt_at_the_terminal_ends_with_the_report(tunable_model: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    with tuner(tunable_model, logs) as process:
        wait_until(lambda: has_records(logs, 2), 90)
        started = descendants(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        output, errors = process.communicate(timeout=30)
    assert process.returncode == 130, errors
    found = contents(logs)
    assert not found.problems
    assert f"interrupted: {len(found.entries)} trials in " in output
    assert "fused_conv2d_add_relu" in output
    assert errors == ""
    wait_until(lambda: not any(map(is_alive, started)))
    assert not list(scratch_of(logs).iterdir())


def test_two_tuners_of_one_folder_have_a_file_each(lepton, tunable_model: Path, tmp_path: Path) -> None:
    folder = tmp_path / _target() / tunable_model.stem
    with LogWriter(folder) as other:
        other.append(RECORD)
        result = lepton("tune", tunable_model, "-o", tmp_path, "--trials", 1)
        other.append(RECORD)
    assert result.exit_code == 0, result.output
    found = contents(tmp_path)
    assert not found.problems
    assert [entry.log.name for entry in found.entries] == ["records-2.jsonl", "records.jsonl", "records.jsonl"]


def test_a_full_disk_is_an_error_and_tears_no_record(tunable_model: Path, tmp_path: Path) -> None:
    with LocalDevice() as device:
        folder = tmp_path / "logs" / _target() / tunable_model.stem
        device.describe()
    line = len(format_record(RECORD))
    limit = 1 << 20
    write_log(folder, [RECORD] * ((limit - 2500) // line))
    before = contents(folder)

    def limit_files() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    with tuner(tunable_model, tmp_path / "logs", before=limit_files) as process:
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 2, errors
    assert "can't be written: File too large; the records before are kept: make room and go on" in errors
    assert "Traceback" not in errors
    found = contents(folder)
    assert not found.problems
    assert len(before.entries) < len(found.entries) < len(before.entries) + 10


def _target() -> str:
    from lepton_compiler.targets.registry import native_target

    return native_target().name


def test_time_and_trials_are_kept(lepton, tunable_model: Path, tmp_path: Path) -> None:
    result = lepton("tune", tunable_model, "-o", tmp_path, "--trials", 1, "--time", 5, "--format", "json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)["report"]
    assert (report["trials"], report["interrupted"]) == (1, False)
    assert report["folder"] == str(tmp_path / _target() / tunable_model.stem)
    timed = lepton("tune", tunable_model, "-o", tmp_path, "--resume", "--no-check", "--time", 0.02, "--format", "json")
    assert timed.exit_code == 0, timed.output
    assert json.loads(timed.stdout)["report"]["seconds"] < 10


def test_a_dry_run_measures_nothing(lepton, tunable_model: Path, tmp_path: Path) -> None:
    result = lepton("tune", tunable_model, "-o", tmp_path / "logs", "--dry-run", "--format", "json")
    assert result.exit_code == 0, result.output
    plan = json.loads(result.stdout)
    (kernel,) = plan["kernels"]
    assert kernel["anchor"] == "packed_convolution"
    assert kernel["candidates"] > 10
    assert kernel["trials"] == 0
    assert kernel["is_searched"]
    assert {entry["kernel"] for entry in plan["skipped"]}
    assert not (tmp_path / "logs").exists()


@pytest.fixture
def sum_model(tmp_path: Path) -> Path:
    nodes = [helper.make_node("Add", ["x", "x"], ["y"], "add")]
    return write_model(tmp_path / "sum.onnx", nodes, {"x": (TensorProto.FLOAT, [4, 8])}, {"y": 2})


def test_a_model_without_knobs(lepton, sum_model: Path, tmp_path: Path) -> None:
    result = lepton("tune", sum_model, "-o", tmp_path)
    assert result.exit_code == 2
    assert "there is nothing to tune in sum.onnx: none of 1 kernels can be tuned" in result.stderr


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--tasks", "nothing*"), "no kernel is called nothing*; kernels with knobs: fused_conv2d_add_relu"),
        (("--target", "no-such-cpu"), 'unknown target "no-such-cpu"'),
        (("--target", "arm-cortex-a72"), "the device can't run code for arm-cortex-a72: it is x86_64"),
        (("--threads", "999"), "cores, and trials want 999 threads"),
        (("--tuning-log", "nowhere"), "nowhere does not exist; name a tuning log"),
        (("--time", "0"), "0.0 is not in the range"),
        (("--trials", "0"), "0 is not in the range"),
    ],
)
def test_what_can_not_be_done_is_said(
    lepton, tunable_model: Path, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    result = lepton("tune", tunable_model, "-o", tmp_path / "logs", *options)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert not list(tmp_path.rglob("*.jsonl"))


def test_lines_that_are_skipped_are_said(lepton, tunable_model: Path, tmp_path: Path) -> None:
    log = tmp_path / "other.jsonl"
    line = format_record(RECORD)
    log.write_bytes(b"damaged\n" + line.replace(b'"1.0"', b'"2.0"', 1) + line)
    result = lepton("tune", tunable_model, "-o", tmp_path / "logs", "--tuning-log", log, "--dry-run")
    assert result.exit_code == 0, result.output
    assert f"warning: {log}:1: " in result.stderr
    assert f"warning: {log}:2: " in result.stderr
    assert f"{log}:3: " not in result.stderr


def test_logs_in_the_own_folder_count_once(lepton, tunable_model: Path, tmp_path: Path) -> None:
    log = write_log(tmp_path / _target() / tunable_model.stem, [RECORD])
    with log.open("ab") as file:
        file.write(b"damaged\n")
    result = lepton("tune", tunable_model, "-o", tmp_path, "--tuning-log", tmp_path, "--dry-run")
    assert result.stderr.count("warning: ") == 1
