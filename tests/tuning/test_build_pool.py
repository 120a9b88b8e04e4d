"""Builders: a candidate that crashes, hangs or devours memory is one failure, and the next one builds."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from faulty_knobs import Devour, Die, Exit, Fault, Hang, TakeDefault
from processes import descendants, is_alive, wait_until
from tvm import te, tirx

from lepton_compiler.targets.cpu.schedule import default_knobs_of
from lepton_compiler.targets.registry import native_target
from lepton_compiler.tuning.build_pool import BuildFailure, BuildPool
from lepton_compiler.tuning.build_worker import BuildLimits

TARGET = native_target()
LIMITS = BuildLimits(seconds=30.0, memory_bytes=512 << 20)
ELF = b"\x7fELF"


def row_sums(rows: int = 4, columns: int = 64) -> tirx.PrimFunc:
    """A kernel with knobs."""
    data = te.placeholder((rows, columns), "float32", name="data")
    k = te.reduce_axis((0, columns), name="k")
    return te.create_prim_func([data, te.compute((rows,), lambda i: te.sum(data[i, k], k), name="sums")])


FUNCTION = row_sums()


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where builders make their folders."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def pool(scratch: Path) -> Iterator[BuildPool]:
    with BuildPool(TARGET, 1, LIMITS) as builders:
        yield builders
    assert not list(scratch.glob("lepton-*"))


def build(pool: BuildPool, knobs: Any):
    return pool.submit("sums", FUNCTION, knobs).result(60)


def test_candidates_defaults_and_references_are_built(pool: BuildPool) -> None:
    reference, default = build(pool, None), build(pool, TakeDefault())
    assert reference.code.startswith(ELF)
    assert default.code.startswith(ELF)
    assert reference.code != default.code
    assert build(pool, default_knobs_of(FUNCTION, TARGET)).code == default.code
    assert [type_.shape for type_ in default.parameters if type_ is not None] == [(4, 64), (4,)]


@pytest.mark.parametrize(
    ("knobs", "reason"),
    [
        (Die(), "the compiler's process was ended by SIGSEGV"),
        (Die(signal.SIGKILL), "the compiler's process was ended by SIGKILL"),
        (Exit(), "the compiler's process ended with exit code 3"),
        (Devour(), "the memory limit was reached"),
        (Fault(), "ValueError: this schedule has a fault"),
    ],
    ids=["crash", "kill", "exit", "memory", "fault"],
)
def test_a_fault_costs_one_build(pool: BuildPool, knobs: Any, reason: str) -> None:
    waiting = [pool.submit("sums", FUNCTION, one) for one in (TakeDefault(), knobs, TakeDefault())]
    assert waiting[0].result(60).code
    with pytest.raises(BuildFailure, match=reason) as caught:
        waiting[1].result(60)
    assert not caught.value.refused
    assert waiting[2].result(60).code == waiting[0].result().code


def test_a_build_that_hangs_is_ended_at_its_limit(scratch: Path) -> None:
    with BuildPool(TARGET, 1, BuildLimits(seconds=1.0)) as pool:
        build(pool, TakeDefault())
        hanging = pool.submit("sums", FUNCTION, Hang(scratch / "process"))
        with pytest.raises(BuildFailure, match="the compiler took longer than 1 s"):
            hanging.result(30)
        assert not is_alive(int((scratch / "process").read_text()))
        # The limit is the build's alone: the process starts and imports before.
        assert len(list(scratch.glob("lepton-builder-*"))) == 0


def test_knobs_that_a_schedule_refuses_are_told_from_faults(pool: BuildPool) -> None:
    """Vectors of no lanes."""
    knobs = type(default_knobs_of(FUNCTION, TARGET))(lanes=0, chains=1)
    with pytest.raises(BuildFailure):
        build(pool, knobs)
    assert build(pool, TakeDefault()).code


def test_an_end_with_builds_in_flight_waits_for_none_of_them(scratch: Path) -> None:
    pool = BuildPool(TARGET, 2, BuildLimits(seconds=60.0))
    build(pool, TakeDefault())
    files = [scratch / "one", scratch / "other"]
    waiting = [pool.submit("sums", FUNCTION, Hang(file)) for file in files]
    waiting += [pool.submit("sums", FUNCTION, TakeDefault()) for _ in range(5)]
    wait_until(lambda: all(file.exists() for file in files))
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 5
    assert all(future.done() for future in waiting)
    assert not any(is_alive(int(file.read_text())) for file in files)
    assert not list(scratch.glob("lepton-builder-*"))


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.1, 0.3])
def test_an_end_while_processes_start(scratch: Path, delay: float) -> None:
    pool = BuildPool(TARGET, 2, BuildLimits(seconds=60.0))
    waiting = [pool.submit("sums", FUNCTION, Hang()) for _ in range(4)]
    time.sleep(delay)
    started = time.monotonic()
    pool.close()
    assert time.monotonic() - started < 10
    assert all(future.done() for future in waiting)
    assert not list(scratch.glob("lepton-builder-*"))


_OWNER = """
import sys, time
from pathlib import Path
from faulty_knobs import Hang, TakeDefault
from test_build_pool import FUNCTION, TARGET
from lepton_compiler.tuning.build_pool import BuildPool
from lepton_compiler.tuning.build_worker import BuildLimits

if __name__ == "__main__":
    file = Path(sys.argv[1])
    with BuildPool(TARGET, 1, BuildLimits(seconds=float(sys.argv[2]))) as pool:
        pool.submit("sums", FUNCTION, TakeDefault()).result(60)
        print("built", flush=True)
        pool.submit("sums", FUNCTION, Hang(file)).exception()
        time.sleep(60)
"""


@contextmanager
def owner(tmp_path: Path, seconds: float) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process whose builder hangs, which may do so for some seconds."""
    program = tmp_path / "owner.py"
    program.write_text(_OWNER, encoding="utf-8")
    # Short, for the socket of the server that forks.
    scratch = Path(tempfile.mkdtemp(prefix="lepton-test-", dir="/tmp"))
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "TMPDIR": str(scratch)}
    command = [sys.executable, str(program), str(tmp_path / "process"), str(seconds)]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "built\n"
        wait_until((tmp_path / "process").exists)
        yield process, scratch


def test_an_interrupt_at_the_terminal_ends_the_owner_and_its_builders(tmp_path: Path) -> None:
    with owner(tmp_path, seconds=60) as (process, scratch):
        builders = descendants(process.pid)
        assert builders
        # As a terminal does it: to every process of the group.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    wait_until(lambda: not any(map(is_alive, builders)))
    assert not list(scratch.glob("lepton-*"))


def test_builders_of_a_killed_owner_end_even_where_they_hang(tmp_path: Path) -> None:
    with owner(tmp_path, seconds=1) as (process, _):
        builders = descendants(process.pid)
        assert builders
        process.kill()
        process.wait()
    wait_until(lambda: not any(map(is_alive, builders)))
