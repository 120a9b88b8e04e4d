"""Instruments watch passes run: they time them or write the program out. They never change it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Protocol

import tvm


class Instrument(Protocol):
    """Called around every pass."""

    def before_pass(self, name: str, module: tvm.IRModule) -> None:
        """The pass is about to run on ``module``."""
        ...

    def after_pass(self, name: str, module: tvm.IRModule) -> None:
        """The pass has returned ``module``."""
        ...


class PassTimer:
    """Adds up the seconds that each pass took, by name, in order of first run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._started = 0.0

    def before_pass(self, name: str, module: tvm.IRModule) -> None:
        """Starts the clock."""
        self._started = time.perf_counter()

    def after_pass(self, name: str, module: tvm.IRModule) -> None:
        """Stops the clock."""
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - self._started


class ModuleDumper:
    """Writes the module after every pass as TVMScript, ``003_fold-batch-norm.py``, into a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._count = 0
        folder.mkdir(parents=True, exist_ok=True)

    def before_pass(self, name: str, module: tvm.IRModule) -> None:
        """Writes the program as imported, once."""
        if self._count == 0:
            self._write("imported", module)

    def after_pass(self, name: str, module: tvm.IRModule) -> None:
        """Writes the program as the pass left it."""
        self._write(name, module)

    def _write(self, name: str, module: tvm.IRModule) -> None:
        path = self.folder / f"{self._count:03d}_{name}.py"
        path.write_text(module.script(), encoding="utf-8")
        self._count += 1
