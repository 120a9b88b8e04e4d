"""Knobs that make a builder's process fail while a schedule asks for them. Builders import this module."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class TakeDefault:
    """Builds the kernel as it would be without knobs, after ``seconds``."""

    seconds: float = 0.0

    def choose(self, default: Any, candidates: Any) -> Any:
        time.sleep(self.seconds)
        return default


@dataclass(frozen=True)
class Die:
    """Ends the process by a signal, as a fault of LLVM does."""

    number: int = signal.SIGSEGV

    def choose(self, default: Any, candidates: Any) -> Any:
        os.kill(os.getpid(), self.number)
        time.sleep(60)


@dataclass(frozen=True)
class Exit:
    """Ends the process in order."""

    def choose(self, default: Any, candidates: Any) -> Any:
        os._exit(3)


@dataclass(frozen=True)
class Hang:
    """Computes for ever. Says in a file which process does so, and where that builds."""

    file: Path | None = None

    def choose(self, default: Any, candidates: Any) -> Any:
        if self.file is not None:
            self.file.with_suffix(".tmp").write_text(f"{os.getpid()}", encoding="utf-8")
            self.file.with_suffix(".tmp").replace(self.file)
        while True:
            pass


@dataclass(frozen=True)
class Devour:
    """Takes all memory that it gets, and touches it."""

    def choose(self, default: Any, candidates: Any) -> Any:
        taken = []
        while True:
            taken.append(bytearray(16 << 20))


@dataclass(frozen=True)
class Fault:
    """A fault of a schedule."""

    def choose(self, default: Any, candidates: Any) -> Any:
        raise ValueError("this schedule has a fault")
