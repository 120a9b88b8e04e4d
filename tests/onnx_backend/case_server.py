"""A process that runs backend cases: names on standard input, one JSON line per outcome on standard output.

It imports TVM and reads the suite once, then forks for every case. A case that crashes, hangs or is killed by LLVM
takes only its own process along.
"""

from __future__ import annotations

import json
import os
import select
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import IO

from backend_cases import BackendCase, load_cases
from case_outcome import Outcome, outcome_of
from failure_reasons import CRASH, TIMEOUT

_WARM_UP_CASES = ("test_softmax_example", "test_conv_with_strides_padding")
_LIMIT_S = {"real": 300}
_DEFAULT_LIMIT_S = 60


def main() -> None:
    """Serves until standard input ends."""
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    # Kernels and code generators print where they like; the replies have a way of their own.
    os.dup2(2, 1)
    cases = load_cases()
    for name in _WARM_UP_CASES:
        outcome_of(cases[name])
    for line in sys.stdin:
        outcome = run_isolated(cases[line.strip()])
        replies.write(json.dumps(asdict(outcome)) + "\n")


def run_isolated(case: BackendCase) -> Outcome:
    """Runs a case in a forked process and says how it ended, whatever happened to the process."""
    limit_s = _LIMIT_S.get(case.kind, _DEFAULT_LIMIT_S)
    reading, writing = os.pipe()
    with tempfile.TemporaryFile() as log:
        child = os.fork()
        if child == 0:
            _run_in_child(case, writing, log)
        os.close(writing)
        reply = _read_until(reading, time.monotonic() + limit_s)
        if reply is None:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if reply is None:
            return Outcome(TIMEOUT, f"no result after {limit_s} s")
        if status != 0 or not reply:
            log.seek(0)
            tail = log.read()[-2000:].decode("utf-8", "replace")
            return Outcome(CRASH, f"exit status {os.waitstatus_to_exitcode(status)}: {tail}")
    return Outcome(**json.loads(reply))


def _run_in_child(case: BackendCase, writing: int, log: IO[bytes]) -> None:
    status = 1
    try:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        with tempfile.TemporaryDirectory(prefix="lepton-onnx-") as folder:
            tempfile.tempdir = folder
            reply = json.dumps(asdict(outcome_of(case)))
        os.write(writing, reply.encode())
        status = 0
    finally:
        # Neither the tests nor the exit handlers of the parent are this process's business.
        os._exit(status)


def _read_until(descriptor: int, deadline: float) -> bytes | None:
    """Everything up to the end of the pipe, None when time is up before that."""
    received = b""
    try:
        while True:
            ready, _, _ = select.select([descriptor], [], [], max(deadline - time.monotonic(), 0))
            if not ready:
                return None
            data = os.read(descriptor, 1 << 16)
            if not data:
                return received
            received += data
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    main()
