"""Which kernels of an artifact have knobs from tuning logs, in words."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lepton_compiler.core.manifest import Manifest, TuningEntry


def tuned_kernels(manifest: Manifest) -> dict[str, TuningEntry]:
    """Kernels of which a tuning log knew better knobs, those that could not be used among them, by name."""
    return {kernel.name: kernel.tuning for kernel in manifest.kernels if kernel.tuning is not None}


def tuned_text(manifest: Manifest, logs: Iterable[Path] = ()) -> str:
    """``"2 of 31 kernels, 1.08 to 1.40 times as fast as their defaults, by tuning_logs"``."""
    found = tuned_kernels(manifest)
    gains = [entry.gain for entry in found.values() if not entry.refusal]
    refusals = [str(entry) for entry in found.values() if entry.refusal]
    text = f"{len(gains)} of {len({kernel.name for kernel in manifest.kernels})} kernels"
    if gains:
        text += f", {_range_text(gains)} times as fast as their defaults"
    by = ", ".join(map(str, logs))
    text += f", by {by}" if by else ""
    if not found:
        text += ": no record of these kernels for this target is faster than their defaults"
    if refusals:
        text += f"; {len(refusals)} kept the default, such as one {refusals[0]}"
    return text


def _range_text(gains: list[float]) -> str:
    lowest, highest = f"{min(gains):.2f}", f"{max(gains):.2f}"
    return lowest if lowest == highest else f"{lowest} to {highest}"
