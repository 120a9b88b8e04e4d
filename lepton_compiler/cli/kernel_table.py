"""Kernels of a profile as rows: for ``lepton profile``, its HTML page, and ``lepton inspect --profile``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lepton_compiler.evaluation.kernel_profile import KernelProfile, ModelProfile
    from lepton_compiler.evaluation.machine_probe import MachinePeaks

_UNKNOWN = "?"
_NOTHING = "-"


def kernel_columns(peaks: MachinePeaks | None) -> tuple[str, ...]:
    """Headings; without ``peaks`` nothing is compared with the machine."""
    if peaks is None:
        return ("#>", "share>", "ms>", "GFLOP/s>", "GB/s>", "nodes", "schedule")
    return ("#>", "share>", "ms>", "GFLOP/s>", "of peak>", "GB/s>", "of memory>", "limit", "nodes", "schedule")


def kernel_rows(kernels: Sequence[KernelProfile], peaks: MachinePeaks | None) -> list[tuple[str, ...]]:
    """One row a kernel."""
    return [_row(kernel, peaks) for kernel in kernels]


def _row(kernel: KernelProfile, peaks: MachinePeaks | None) -> tuple[str, ...]:
    from lepton_compiler.evaluation.kernel_profile import share_of_peaks

    first = (str(kernel.number), f"{100 * kernel.share:.1f} %", f"{kernel.seconds * 1e3:.3f}")
    flops = _rate_text(kernel.flops, kernel.flops_per_second)
    traffic = _rate_text(kernel.moved_bytes, kernel.bytes_per_second)
    last = (kernel.entry.nodes, kernel.entry.schedule)
    if peaks is None:
        return (*first, flops, traffic, *last)
    share = share_of_peaks(kernel, peaks)
    of_peak, of_memory = _percent_text(share.arithmetic), _percent_text(share.memory)
    return (*first, flops, of_peak, traffic, of_memory, share.limit or _NOTHING, *last)


def _rate_text(amount: int | None, rate: float | None) -> str:
    if amount is None:
        return _UNKNOWN
    return _NOTHING if rate is None else f"{rate / 1e9:.3g}" if rate < 1e12 else f"{rate / 1e9:.0f}"


def _percent_text(share: float | None) -> str:
    return _NOTHING if share is None else f"{100 * share:.0f} %"


def profile_summary(profile: ModelProfile) -> list[str]:
    """Sentences below the table: the sum, and what the question marks mean."""
    threads = f"{profile.threads} thread{'s' if profile.threads > 1 else ''}"
    sentences = [
        f"{profile.kernel_seconds * 1e3:.3f} ms in {len(profile.kernels)} kernel calls with {threads}, "
        f"{profile.call_seconds * 1e3:.3f} ms a whole call; medians of {profile.runs} runs"
    ]
    uncounted = sum(kernel.flops is None or kernel.moved_bytes is None for kernel in profile.kernels)
    if uncounted:
        sentences.append(
            f"{_UNKNOWN}: the work of {uncounted} kernel calls can't be counted: loops that depend on values, "
            "or a library whose compiler did not count"
        )
    return sentences
