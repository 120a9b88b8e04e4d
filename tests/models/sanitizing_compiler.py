"""The system's C compiler, where its sanitizers work."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def sanitizing_compiler(sanitizers: str, folder: Path) -> str:
    """A system compiler whose sanitizers work on this machine; skips the test where there is none."""
    source, probe = folder / "probe.c", folder / "probe"
    source.write_text("int main(void) { return 0; }\n", encoding="ascii")
    for compiler in filter(shutil.which, ("gcc", "clang")):
        commands = ([compiler, f"-fsanitize={sanitizers}", str(source), "-o", str(probe)], [str(probe)])
        if all(subprocess.run(command, capture_output=True).returncode == 0 for command in commands):
            return compiler
    pytest.skip(f"neither gcc nor clang can build and run programs with -fsanitize={sanitizers} here")
