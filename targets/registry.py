"""Targets by name, and the one that fits this machine."""

from __future__ import annotations

import platform
import struct
from pathlib import Path

from lepton_compiler.targets.arm import specs as arm
from lepton_compiler.targets.spec import Architecture, TargetSpec
from lepton_compiler.targets.x86 import specs as x86

# What a 32-bit process finds on a 64-bit kernel; "armv8l" is what such a kernel calls itself to a process that asks for
# a 32-bit personality (setarch, arm containers).
_MACHINES_32_BIT = {"aarch64": Architecture.ARMV7, "armv8l": Architecture.ARMV7, "armv7l": Architecture.ARMV7}
_MACHINES = {**{a.value: a for a in Architecture}, "armv8l": Architecture.ARMV7}

# Advanced SIMD of ARMv8 holds all of VFPv4 in 32-bit state, and integer division belongs to its A32 and T32 (Arm
# Architecture Reference Manual for A-profile, G1 and F5); the kernel lists the 64-bit names to a 32-bit process without
# that personality.
_ARMV7_FEATURES_OF_ASIMD = frozenset({"vfp", "neon", "vfpv3", "vfpv4", "idiva", "idivt"})

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
    features, processor = host_cpu_features(), host_processor()
    fitting = [spec for spec in TARGETS.values() if runs_here(spec, features) and describes(spec, processor)]
    if not fitting:
        raise UnknownTargetError(
            f"no target fits this machine ({platform.machine()}); name one with --target: {', '.join(TARGETS)}"
        )
    return max(
        fitting,
        key=lambda spec: (bool(spec.processors), spec.vector_bits, len(spec.cpu_features), spec.name == "armv8-a"),
    )


def describes(spec: TargetSpec, processor: tuple[str, int, int] | None) -> bool:
    """Whether a target is about this processor: a level is about all, a named one about its own models."""
    if not spec.processors:
        return True
    for entry in spec.processors:
        vendor, family, models = entry.split("/")
        first, last = models.split("-")
        if processor is not None and processor[:2] == (vendor, int(family)) and int(first) <= processor[2] <= int(last):
            return True
    return False


def host_processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> tuple[str, int, int] | None:
    """Vendor, family and model of an x86 processor; None where the system doesn't say."""
    if not cpuinfo.is_file():
        return None
    found: dict[str, str] = {}
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    try:
        return found["vendor_id"], int(found["cpu family"]), int(found["model"])
    except (KeyError, ValueError):
        return None


def runs_here(spec: TargetSpec, features: frozenset[str] | None = None) -> bool:
    """Whether this machine can execute code for ``spec``."""
    return spec.architecture is host_architecture() and not missing_features(spec.cpu_features, features)


def missing_features(required: tuple[str, ...], features: frozenset[str] | None = None) -> tuple[str, ...]:
    """Those of ``required`` that this machine's processor lacks."""
    present = host_cpu_features() if features is None else features
    return tuple(feature for feature in required if feature not in present)


def host_architecture() -> Architecture | None:
    """Instruction set that this process runs on this machine, None for one that no target has."""
    machines = _MACHINES if _pointer_bits() == 64 else _MACHINES_32_BIT
    return machines.get(platform.machine())


def _pointer_bits() -> int:
    """Width of this process: an operating system of 32 bits may run on a kernel of 64."""
    return struct.calcsize("P") * 8


def host_cpu_features(cpuinfo: Path = Path("/proc/cpuinfo")) -> frozenset[str]:
    """Feature names of the first processor in ``/proc/cpuinfo``; empty where the system has no such file."""
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("flags", "Features"):
            features = frozenset(value.split())
            is_armv8 = "asimd" in features and host_architecture() is Architecture.ARMV7
            return features | _ARMV7_FEATURES_OF_ASIMD if is_armv8 else features
    return frozenset()
