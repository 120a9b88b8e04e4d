"""BuildPool: processes that build kernels, each candidate within limits of time and memory.

Every process belongs to a thread here that feeds it. A candidate that crashes, hangs or devours the memory of the
compiler costs its process, which is replaced, and nothing else.
"""

from __future__ import annotations

import multiprocessing
import shutil
import signal
import tempfile
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import TracebackType
from typing import Any, cast

from tvm import tirx

from lepton_compiler.core.errors import UserError
from lepton_compiler.devices.trial import KernelLibrary
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.build_worker import BuildLimits, BuildReply, BuildRequest, serve

_PRELOADED = "lepton_compiler.tuning.build_worker"
_END_SECONDS = 1.0


class BuildFailure(Exception):
    """A candidate could not be built; ``refused`` where its schedule does not take the knobs."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


class BuildPool:
    """A number of processes that build for one target; used as a context."""

    def __init__(
        self,
        target: TargetSpec,
        processes: int,
        limits: BuildLimits,
        cores: Sequence[int] = (),
    ) -> None:
        """Starts nothing yet: a process starts with its first candidate.

        Args:
            target: What to build for.
            processes: How many candidates are built at once.
            limits: What each may take.
            cores: Processors to build on; empty for all.
        """
        self._target = target
        self._limits = limits
        self._cores = tuple(cores)
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload([_PRELOADED])
        self._own = threading.local()
        self._processes: set[_Process] = set()
        self._guard = threading.Lock()
        self._is_closed = False
        self._threads = ThreadPoolExecutor(processes, thread_name_prefix="build")

    def submit(self, workload: str, function: tirx.PrimFunc, knobs: Any) -> Future[KernelLibrary]:
        """Builds a kernel, with its reference schedule where ``knobs`` is None.

        The future's result is the library, or raises ``BuildFailure``.
        """
        return self._threads.submit(self._build, workload, function, knobs)

    def close(self) -> None:
        """Drops what was not begun, and ends the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        with self._guard:
            self._is_closed = True
            for process in self._processes:
                process.kill()
        self._threads.shutdown()

    def __enter__(self) -> BuildPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _build(self, workload: str, function: tirx.PrimFunc, knobs: Any) -> KernelLibrary:
        process: _Process = getattr(self._own, "process", None) or self._start()
        try:
            reply = process.ask(workload, function, knobs, self._limits.seconds)
        except BuildFailure:
            self._own.process = None
            with self._guard:
                self._processes.discard(process)
            raise
        if reply.library is None:
            raise BuildFailure(reply.failure, refused=reply.refused)
        return reply.library

    def _start(self) -> _Process:
        """A process for this thread."""
        with self._guard:
            if self._is_closed:
                raise BuildFailure("the pool of builders was closed")
            process = self._own.process = _Process(self._context, self._target, self._limits, self._cores)
            self._processes.add(process)
        return process


class _Process:
    """One process with its pipe, for one thread."""

    def __init__(
        self, context: ForkServerContext, target: TargetSpec, limits: BuildLimits, cores: tuple[int, ...]
    ) -> None:
        connection, far_end = context.Pipe()
        self._connection = cast(Connection, connection)
        self._seen: set[str] = set()
        self._scratch = Path(tempfile.mkdtemp(prefix="lepton-builder-"))
        self._process = context.Process(target=serve, args=(far_end, target, limits, cores, self._scratch), daemon=True)
        try:
            self._process.start()
        except OSError as error:
            # The server that forks listens on a socket in the temporary folder: of a path of at most 107 bytes.
            shutil.rmtree(self._scratch)
            folder = tempfile.gettempdir()
            raise UserError(
                f"builders can't start with the temporary folder {folder}: {error.strerror or error}; "
                "TMPDIR names another one, best with a short path"
            ) from error
        far_end.close()

    def ask(self, workload: str, function: tirx.PrimFunc, knobs: Any, seconds: float) -> BuildReply:
        """Builds one kernel.

        Raises:
            BuildFailure: The process died or took too long, and is no more.
        """
        request = BuildRequest(workload, None if workload in self._seen else function, knobs)
        try:
            self._connection.send(request)
            self._seen.add(workload)
            if self._connection.poll(seconds):
                return self._connection.recv()
        except (EOFError, OSError) as error:
            self._process.join(_END_SECONDS)
            ending = _ending(self._process.exitcode)
            self.kill()
            raise BuildFailure(f"the compiler's process {ending}") from error
        self.kill()
        raise BuildFailure(f"the compiler took longer than {seconds:g} s")

    def kill(self) -> None:
        """Ends the process at once, and removes what it leaves."""
        self._process.kill()
        self._process.join(_END_SECONDS)
        shutil.rmtree(self._scratch, ignore_errors=True)


def _ending(code: int | None) -> str:
    if code is None:
        return "no longer answers"
    if code < 0 and -code in signal.Signals.__members__.values():
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code}"
