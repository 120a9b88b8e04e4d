"""Targets by name, and the one that fits this machine."""

from __future__ import annotations

import platform
from pathlib import Path

from lepton_compiler.targets.arm import specs as arm
from lepton_compiler.targets.spec import Architecture, TargetSpec
from lepton_compiler.targets.x86 import specs as x86

TARGETS: dict[str, TargetSpec] = {spec.name: spec for spec in (*x86.TARGETS, *arm.TARGETS)}


class UnknownTargetError(LookupError):
    """No target has this name."""


def get_target(name: str) -> TargetSpec:
    """Finds a target; ``"native"`` is the best one that this machine can run.

    Raises:
        UnknownTargetError: No target has this name, or none fits this machine; the message lists the known ones.
    """
    if name == "native":
        return native_target()
    try:
        return TARGETS[name]
    except KeyError:
        raise UnknownTargetError(f'unknown target "{name}"; known: native, {", ".join(TARGETS)}') from None


def native_target() -> TargetSpec:
    """The most capable target whose features this machine has.

    Raises:
        UnknownTargetError: This machine is of a family without a target, or older than every target of it.
    """
    features = host_cpu_features()
    fitting = [spec for spec in TARGETS.values() if runs_here(spec, features)]
    if not fitting:
        raise UnknownTargetError(
            f"no target fits this machine ({platform.machine()}); name one with --target: {', '.join(TARGETS)}"
        )
    return max(fitting, key=lambda spec: (spec.vector_bits, len(spec.cpu_features), spec.name == "armv8-a"))


def runs_here(spec: TargetSpec, features: frozenset[str] | None = None) -> bool:
    """Whether this machine can execute code for ``spec``."""
    return spec.architecture is host_architecture() and not missing_features(spec.cpu_features, features)


def missing_features(required: tuple[str, ...], features: frozenset[str] | None = None) -> tuple[str, ...]:
    """Those of ``required`` that this machine's processor lacks."""
    present = host_cpu_features() if features is None else features
    return tuple(feature for feature in required if feature not in present)


def host_architecture() -> Architecture | None:
    """Instruction set of this machine, None for one that no target has."""
    machine = platform.machine()
    return next((a for a in Architecture if a.value == machine), None)


def host_cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Feature names of the first processor in ``/proc/cpuinfo``; empty where the system has no such file."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            return frozenset(value.split())
    return frozenset()
