"""What this machine can do: the checks behind ``lepton doctor``, each with the command that mends it."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from lepton_compiler.core.errors import LeptonError
from lepton_compiler.core.optional_packages import OPTIONAL_PACKAGES
from lepton_compiler.evaluation.emulators import EMULATOR_NAMES, find_emulator
from lepton_compiler.evaluation.machine import memory_bytes, processor_name
from lepton_compiler.evaluation.runner import PEERS
from lepton_compiler.targets.registry import (
    TARGETS,
    UnknownTargetError,
    host_architecture,
    host_cpu_features,
    missing_features,
    native_target,
    runs_here,
)

DISTRIBUTION = "lepton-compiler"
_LOW_MEMORY_BYTES = 4 << 30
_LOW_DISK_BYTES = 2 << 30
_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)\s*(?P<bounds>[^;\[]*)")
_BOUND = re.compile(r"(?P<relation>==|>=|<=|<|>)\s*(?P<version>[^,\s]+)")


class Status(Enum):
    """Result of a check."""

    OK = "ok"
    NOTE = "note"
    """Works, with a limit that is good to know."""
    MISSING = "missing"
    """Something optional: what needs it doesn't work."""
    FAILED = "failed"
    """Something that compiling and running need."""


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What.
        status: How it is.
        detail: What was found.
        remedy: Command that mends it, empty where nothing is wrong or no command can.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""


def check_machine(on_check: Callable[[str], None] = lambda name: None) -> list[Check]:
    """Runs all checks; ``on_check`` is told the name of each group as it begins."""
    checks: list[Check] = []
    for name, group in _GROUPS:
        on_check(name)
        checks += group()
    return checks


def _python() -> Iterator[Check]:
    implementation = f"{platform.python_implementation()} {platform.python_version()}"
    yield Check("python", Status.OK, f"{implementation}, {platform.system()} {platform.release()}")


def _packages() -> Iterator[Check]:
    """Every plain dependency against the bounds that the installed project declares."""
    for requirement in importlib.metadata.requires(DISTRIBUTION) or ():
        match = _REQUIREMENT.match(requirement)
        if match is None or "extra ==" in requirement:
            continue
        yield _package(match["name"], match["bounds"].strip())


def _package(name: str, bounds: str) -> Check:
    remedy = f"pip install '{name}{bounds}'"
    try:
        version = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, Status.FAILED, f"not installed; needs {bounds}", remedy)
    if not within_bounds(version, bounds):
        return Check(name, Status.FAILED, f"{version} is installed; needs {bounds}", remedy)
    return Check(name, Status.OK, f"{version} ({bounds})")


def within_bounds(version: str, bounds: str) -> bool:
    """Whether ``version`` fits bounds such as ``>=1.17,<2``; ``==`` compares the text, the others the numbers."""
    for bound in _BOUND.finditer(bounds):
        wanted, relation = bound["version"], bound["relation"]
        if relation == "==":
            if version != wanted:
                return False
            continue
        left, right = _release(version), _release(wanted)
        holds = {">=": left >= right, "<=": left <= right, "<": left < right, ">": left > right}[relation]
        if not holds:
            return False
    return True


def _release(version: str) -> tuple[int, ...]:
    """``"1.17.0rc1"`` to ``(1, 17)``: the leading numbers, without zeros at the end."""
    match = re.match(r"\d+(\.\d+)*", version)
    numbers = [int(part) for part in match.group().split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


def _toolchain() -> Iterator[Check]:
    """Compiles and links a library of one function, loads it and calls it."""
    from lepton_compiler.build.toolchain import compile_c, run_zig

    try:
        target = native_target()
    except UnknownTargetError as error:
        yield Check("zig cc", Status.FAILED, str(error))
        return
    started = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="lepton-doctor-") as scratch:
            folder = Path(scratch)
            visible = '__attribute__((visibility("default"))) int lepton_doctor(void) { return 42; }\n'
            (folder / "doctor.c").write_text(visible, encoding="ascii")
            compile_c("doctor.c", "doctor.o", folder, target.zig_triple, target.zig_cpu)
            run_zig(["-target", target.zig_triple, "-shared", "-o", "doctor.so", "doctor.o"], folder)
            answer = ctypes.CDLL(str(folder / "doctor.so")).lepton_doctor()
    except (LeptonError, OSError) as error:
        yield Check("zig cc", Status.FAILED, str(error), "pip install --force-reinstall ziglang")
        return
    status = Status.OK if answer == 42 else Status.FAILED
    yield Check("zig cc", status, f"links a library for {target.zig_triple} in {time.perf_counter() - started:.1f} s")


def _processor() -> Iterator[Check]:
    try:
        native = native_target()
    except UnknownTargetError as error:
        yield Check("native target", Status.FAILED, str(error))
        return
    yield Check("native target", Status.OK, f"{native.name} ({native.description}) on {processor_name()}")
    features = host_cpu_features()
    for spec in TARGETS.values():
        if spec.architecture is host_architecture() and not runs_here(spec, features):
            missing = ", ".join(missing_features(spec.cpu_features, features))
            yield Check(f"target {spec.name}", Status.NOTE, f"compiles, but doesn't run here: no {missing}")


def _resources() -> Iterator[Check]:
    yield Check("processors", Status.OK, f"{len(os.sched_getaffinity(0))} for this process, {os.cpu_count()} installed")
    memory = memory_bytes()
    if memory is not None:
        status = Status.OK if memory >= _LOW_MEMORY_BYTES else Status.NOTE
        yield Check("memory", status, f"{memory / 2**30:.1f} GiB")
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if free >= _LOW_DISK_BYTES:
        yield Check("disk", Status.OK, f"{free / 2**30:.1f} GiB free in {folder}")
    else:
        remedy = "export TMPDIR=FOLDER_ON_A_LARGER_DISK"
        yield Check("disk", Status.NOTE, f"{free / 2**30:.1f} GiB free in {folder}", remedy)


def _peers() -> Iterator[Check]:
    for peer in PEERS.values():
        if not peer.extra:
            continue
        version = peer.version()
        if version is not None:
            yield Check(peer.name, Status.OK, version)
        else:
            remedy = f"pip install '{DISTRIBUTION}[{peer.extra}]'"
            yield Check(peer.name, Status.MISSING, "not installed: no comparison or benchmark with it", remedy)


def _extras() -> Iterator[Check]:
    for package in OPTIONAL_PACKAGES:
        version = package.version()
        if version is not None:
            yield Check(package.name, Status.OK, version)
        else:
            remedy = f"pip install '{DISTRIBUTION}[{package.extra}]'"
            yield Check(package.name, Status.MISSING, f"not installed: needed for {package.serves}", remedy)


def _emulators() -> Iterator[Check]:
    """User-mode emulators for the architectures that this machine is not."""
    for architecture, names in EMULATOR_NAMES.items():
        if architecture is host_architecture():
            continue
        place = find_emulator(architecture)
        if place:
            what = f"{place} runs programs with {architecture.value} artifacts (docs/guide/run.md)"
            yield Check(Path(place).name, Status.OK, what)
        else:
            detail = f"not installed: {architecture.value} artifacts compile, but can't be tried here"
            yield Check(names[0], Status.MISSING, detail, "sudo apt-get install qemu-user-static")


_GROUPS: tuple[tuple[str, Callable[[], Iterator[Check]]], ...] = (
    ("python", _python),
    ("packages", _packages),
    ("toolchain", _toolchain),
    ("processor", _processor),
    ("resources", _resources),
    ("peers", _peers),
    ("extras", _extras),
    ("emulators", _emulators),
)
