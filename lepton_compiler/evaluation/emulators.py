"""User-mode emulators of QEMU, which run programs for another architecture here."""

from __future__ import annotations

import shutil

from lepton_compiler.targets.spec import Architecture

EMULATOR_NAMES = {
    Architecture.AARCH64: ("qemu-aarch64-static", "qemu-aarch64"),
    Architecture.ARMV7: ("qemu-arm-static", "qemu-arm"),
}
"""By architecture the commands of Debian's packages qemu-user-static and qemu-user."""


def find_emulator(architecture: Architecture) -> str | None:
    """Path of an emulator for an architecture, None where none is installed."""
    return next(filter(None, map(shutil.which, EMULATOR_NAMES[architecture])), None)
