"""Compiles the hand-written models of ``models/`` into artifacts, as the compiler would, without the compiler."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import lepton_compiler.runtime
from lepton_compiler.core.abi import DTYPES
from lepton_compiler.core.manifest import (
    FORMAT,
    KernelEntry,
    Manifest,
    MemoryEntry,
    ModelEntry,
    TargetEntry,
    TensorEntry,
    WeightsEntry,
)
from lepton_compiler.runtime.artifact_file import seal

MODELS = Path(__file__).with_name("models")
CSRC = Path(lepton_compiler.runtime.__file__).with_name("csrc")
RUNTIME_SOURCES = sorted(CSRC.glob("*.c"))

ZIG = (sys.executable, "-m", "ziglang", "cc", "-fno-sanitize=undefined")
TRIPLES = {
    "x86_64": "x86_64-linux-gnu.2.17",
    "aarch64": "aarch64-linux-gnu.2.17",
    "armv7l": "arm-linux-gnueabihf.2.28",
}
FLAGS = ("-std=c11", "-O2", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror")
HOST = platform.machine()


def tensor(name: str, dtype: str, *shape: int | str) -> TensorEntry:
    """One entry of a manifest."""
    return TensorEntry(name, dtype, shape)


_TENSORS = {
    "affine": (
        (tensor("x", "float32", 4, 6),),
        (tensor("y", "float32", 4, 6), tensor("s", "float32")),
    ),
    "symbolic": (
        (tensor("a", "float32", "batch", "width"), tensor("b", "float32", "batch", 4)),
        (
            tensor("sum", "float32", "batch", "width"),
            tensor("row_ids", "int64", "batch * 2"),
            tensor("tail", "bool", "width - 2"),
        ),
    ),
    "copies": (
        tuple(tensor(f"x{code}", name, 3) for name, code in DTYPES.items()),
        tuple(tensor(f"y{code}", name, 3) for name, code in DTYPES.items()),
    ),
    "behaviours": ((tensor("behaviour", "int32", 1),), (tensor("seen", "int64", 8),)),
}


def manifest_of(model: str, architecture: str = HOST) -> Manifest:
    """The manifest that the compiler would write for a hand-written model."""
    inputs, outputs = _TENSORS[model]
    return Manifest(
        format=FORMAT,
        compiler_version="0",
        precision="fp32",
        versions={},
        model=ModelEntry(f"{model}.onnx", "0" * 64, 17, {}),
        target=TargetEntry("test", architecture, ()),
        inputs=inputs,
        outputs=outputs,
        symbols=("batch", "width") if model == "symbolic" else (),
        weights=WeightsEntry(0, None, "0" * 64),
        memory=MemoryEntry(0, 0, 0, None),
        kernels=(KernelEntry("kernel", "node", "elementwise", "default", 24, 192, "float32", ""),),
        passes=(),
    )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Writes ``manifest.inc``, which the hand-written models include."""
    values = ",".join(map(str, manifest.to_json()))
    section = '__attribute__((section(".lepton_manifest"), used))'
    (folder / "manifest.inc").write_text(
        f"static const uint8_t manifest[] {section} = {{{values}}};\n", encoding="ascii"
    )


def run_compiler(arguments: Sequence[str | Path]) -> None:
    """Runs a compiler and shows what it printed if it fails."""
    done = subprocess.run([*map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


class LibraryBuilder:
    """Links models against the runtime, whose objects are compiled once for each architecture."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._runtime: dict[str, list[Path]] = {}
        self._count = 0

    def scratch(self) -> Path:
        """A new empty folder."""
        self._count += 1
        path = self.folder / str(self._count)
        path.mkdir(parents=True)
        return path

    def runtime_objects(self, architecture: str) -> list[Path]:
        """The runtime's objects for an architecture, with the flags of the real build."""
        if architecture not in self._runtime:
            folder = self.scratch()
            objects = []
            for source in RUNTIME_SOURCES:
                objects.append(folder / f"{source.stem}.o")
                run_compiler([*ZIG, "-target", TRIPLES[architecture], *FLAGS, "-c", source, "-o", objects[-1]])
            self._runtime[architecture] = objects
        return self._runtime[architecture]

    def build(
        self,
        model: str,
        output: Path | None = None,
        manifest: Manifest | None = None,
        architecture: str = HOST,
        defines: Sequence[str] = (),
        marker: Path | None = None,
    ) -> Path:
        """Builds and seals the library of a hand-written model.

        Args:
            model: Name of its source file.
            output: Where to write it; a new folder by default.
            manifest: What it says of itself; by default the truth.
            architecture: What to compile it for.
            defines: Macros for the model's source.
            marker: A file that the library creates when its code runs.
        """
        folder = self.scratch()
        output = output or folder / f"{model}.so"
        write_manifest(manifest or manifest_of(model, architecture), folder)
        sources: list[str | Path] = [MODELS / f"{model}.c", *(f"-D{define}" for define in defines)]
        if marker is not None:
            sources += [MODELS / "leave_marker.c", f'-DMARKER="{marker}"']
        flags = ["-target", TRIPLES[architecture], *FLAGS, f"-I{CSRC}", f"-I{folder}", "-shared", "-s"]
        run_compiler([*ZIG, *flags, "-o", output, *sources, *self.runtime_objects(architecture), "-lpthread"])
        seal(output)
        return output


def with_target(manifest: Manifest, **changes: object) -> Manifest:
    """The manifest with another target entry."""
    return replace(manifest, target=replace(manifest.target, **changes))
