"""What a builder's process does: schedules and compiles kernels that arrive over a pipe, one at a time.

The process is forked from one that has this module, and with it TVM and LLVM, loaded already: a process that starts
from nothing takes seconds until its first kernel. The limits are the system's, so nothing that the compiler does can go
beyond them.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import tempfile
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tvm import tirx

from lepton_compiler.core.errors import LeptonError
from lepton_compiler.devices.kernel_library import build_kernel_library
from lepton_compiler.devices.trial import KernelLibrary
from lepton_compiler.targets.cpu.schedule import schedule_function, schedule_reference
from lepton_compiler.targets.spec import TargetSpec

_GRACE_SECONDS = 1.0


@dataclass(frozen=True)
class BuildLimits:
    """What building one candidate may take."""

    seconds: float = 60.0
    memory_bytes: int = 4 << 30


@dataclass(frozen=True)
class BuildRequest:
    """One kernel to build.

    Attributes:
        workload: Key of the kernel.
        function: The unscheduled kernel; None where this process has seen the workload before.
        knobs: Those of its schedule; None for the reference, whose schedule is another one.
    """

    workload: str
    function: tirx.PrimFunc | None
    knobs: Any


@dataclass(frozen=True)
class BuildReply:
    """A library, or why there is none.

    Attributes:
        library: The kernel.
        failure: Why it could not be built.
        refused: Whether the schedule does not take the knobs; else the compiler failed.
    """

    library: KernelLibrary | None
    failure: str = ""
    refused: bool = False


def serve(
    connection: Connection, target: TargetSpec, limits: BuildLimits, cores: tuple[int, ...], scratch: Path
) -> None:
    """Answers requests until the other side closes the pipe.

    Args:
        connection: The pipe.
        target: What to build for.
        limits: What one request may take.
        cores: Processors that it may use; empty for all.
        scratch: A folder of its own, which goes with it.
    """
    # An interrupt at the terminal is for the process that asked to handle.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if cores:
        os.sched_setaffinity(0, cores)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    _limit_memory(limits.memory_bytes)
    tempfile.tempdir = str(scratch)
    try:
        _answer(connection, target, limits.seconds)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _answer(connection: Connection, target: TargetSpec, seconds: float) -> None:
    functions: dict[str, tirx.PrimFunc] = {}
    while True:
        try:
            request: BuildRequest = connection.recv()
        except (EOFError, ConnectionResetError):
            return
        if request.function is not None:
            functions[request.workload] = request.function
        # The other side ends what takes too long. Where it was killed itself, the system does.
        signal.setitimer(signal.ITIMER_REAL, seconds + _GRACE_SECONDS)
        reply = _build(functions[request.workload], request.knobs, target)
        signal.setitimer(signal.ITIMER_REAL, 0)
        try:
            connection.send(reply)
        except BrokenPipeError:
            return


def _build(function: tirx.PrimFunc, knobs: Any, target: TargetSpec) -> BuildReply:
    try:
        scheduled = (
            schedule_reference(function, target) if knobs is None else schedule_function(function, target, knobs)
        )
        if knobs is not None and scheduled.refused is not None:
            return BuildReply(None, scheduled.refused, refused=True)
        return BuildReply(build_kernel_library(scheduled.func, target))
    except (LeptonError, MemoryError) as error:
        return BuildReply(None, str(error) or "the memory limit was reached")
    except Exception as error:  # noqa: BLE001 (whatever TVM raises, it is this candidate's result)
        return BuildReply(None, f"{type(error).__name__}: {error}")


def _limit_memory(memory_bytes: int) -> None:
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held + memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))
