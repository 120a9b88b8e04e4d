"""Builds the C example with ``zig cc`` and runs it: on this machine, or emulated for another."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path

import numpy as np

from lepton_compiler.build.artifact import KERNELS_OBJECT, ModelObjects
from lepton_compiler.build.toolchain import C_FLAGS, run_zig, runtime_sources
from lepton_compiler.core.manifest import TensorEntry
from lepton_compiler.targets.spec import Architecture, TargetSpec

_STATIC_TRIPLES = {Architecture.AARCH64: "aarch64-linux-musl", Architecture.ARMV7: "arm-linux-musleabihf"}
"""A program with the C library inside runs on an emulator that has no files of that machine."""

_SOURCE = files("lepton_compiler.runtime") / "csrc" / "example" / "run_model.c"


def build_example(folder: Path) -> Path:
    """The example for this machine, which opens a library that is named when it runs."""
    _write_sources(folder)
    run_zig([*C_FLAGS, "-O2", "run_model.c", "-o", "run_model", "-ldl"], folder)
    return folder / "run_model"


def build_static_example(objects: ModelObjects, target: TargetSpec) -> Path:
    """The example for ``target`` with one model linked in: its kernels, executor and weights, and the C runtime."""
    folder = objects.folder
    _write_sources(folder)
    sources = [name for name in runtime_sources() if name.endswith(".c")]
    flags = ["-target", _STATIC_TRIPLES[target.architecture], f"-mcpu={target.zig_cpu}", "-static", "-O2", *C_FLAGS]
    inputs = ["run_model.c", "executor.c", *sources, KERNELS_OBJECT]
    run_zig([*flags, "-DLEPTON_LINKED", *inputs, "-o", "run_model", "-lm", "-lpthread"], folder)
    return folder / "run_model"


def _write_sources(folder: Path) -> None:
    for name, content in runtime_sources().items():
        (folder / name).write_bytes(content)
    (folder / "run_model.c").write_bytes(_SOURCE.read_bytes())


def run_example(
    command: Sequence[str | Path],
    inputs: Mapping[str, np.ndarray],
    outputs: Sequence[TensorEntry],
    folder: Path,
    library: Path | None = None,
) -> dict[str, np.ndarray]:
    """Outputs of the example, run without any environment in ``folder``: no Python and no library path help it."""
    arguments: list[str] = []
    for index, (name, value) in enumerate(inputs.items()):
        value.tofile(folder / f"in_{index}.raw")
        arguments += ["-i", f"{name}=in_{index}.raw"]
    arguments += ["-o", "out", "-t", "2", "-r", "1", *([str(library)] if library else [])]
    done = subprocess.run(
        [*map(str, command), *arguments], cwd=folder, env={}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {
        entry.name: np.fromfile(folder / f"out_{index}.raw", entry.dtype).reshape(entry.shape)
        for index, entry in enumerate(outputs)
    }
