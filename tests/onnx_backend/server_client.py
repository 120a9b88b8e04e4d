"""The test process's end of ``case_server.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_SERVER = Path(__file__).with_name("case_server.py")


@dataclass(frozen=True)
class Reply:
    """What the server says of a case; the fields are those of ``case_outcome.Outcome``."""

    result: str
    detail: str


class CaseServer:
    """Starts the server with the first case and stops it in the end."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def run(self, name: str) -> Reply:
        """Runs a case.

        Raises:
            RuntimeError: The server itself has died.
        """
        if self._process is None:
            command = [sys.executable, str(_SERVER)]
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(name + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server of the backend cases ended with exit code {self._process.wait()} at {name}")
        return Reply(**json.loads(line))

    def close(self) -> None:
        """Ends the server."""
        if self._process is not None:
            self._process.communicate(timeout=60)
