"""Where a model's time goes: each kernel's time beside the work that it has to do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lepton_compiler.core.manifest import KernelEntry, Manifest
from lepton_compiler.evaluation.size_expressions import evaluate_size, symbol_sizes
from lepton_compiler.runtime.model import Model, load

if TYPE_CHECKING:
    from lepton_compiler.evaluation.machine_probe import MachinePeaks

_WARMUP = 3


@dataclass(frozen=True)
class KernelProfile:
    """One kernel call.

    Attributes:
        number: Its place in the order of execution, from 1.
        entry: What the manifest says of it.
        seconds: Median time.
        share: Part of the time of all kernels, 0 to 1.
        flops: Operations, a multiply-add being two; None where nobody could count them.
        moved_bytes: Bytes of what it reads and writes, each element once; None where nobody could count them.
    """

    number: int
    entry: KernelEntry
    seconds: float
    share: float
    flops: int | None
    moved_bytes: int | None

    @property
    def flops_per_second(self) -> float | None:
        """Arithmetic rate; None without arithmetic."""
        return self.flops / self.seconds if self.flops and self.seconds else None

    @property
    def bytes_per_second(self) -> float | None:
        """Effective memory traffic, which caches may carry."""
        return self.moved_bytes / self.seconds if self.moved_bytes and self.seconds else None

    @property
    def intensity(self) -> float | None:
        """Operations for each byte."""
        return self.flops / self.moved_bytes if self.flops and self.moved_bytes else None


@dataclass(frozen=True)
class PeakShare:
    """How a kernel stands to what the machine reaches.

    Attributes:
        arithmetic: Its operations a second divided by the machine's for its element type; None where either is unknown.
        memory: Its bytes a second divided by the machine's from memory; above 1 where caches carry the data.
        limit: ``"arithmetic"`` where the machine would be busy with operations longer than with bytes from memory,
            ``"memory"`` where not; None where that is unknown.
    """

    arithmetic: float | None
    memory: float | None
    limit: str | None


@dataclass(frozen=True)
class ModelProfile:
    """One model on given inputs.

    Attributes:
        manifest: What the artifact says of itself.
        threads: Threads that it ran with.
        runs: Runs whose medians are given.
        call_seconds: Median time of a whole call, taken without the profile's clock.
        kernels: In the order of execution.
    """

    manifest: Manifest
    threads: int
    runs: int
    call_seconds: float
    kernels: tuple[KernelProfile, ...]

    @property
    def kernel_seconds(self) -> float:
        """All kernels together."""
        return sum(kernel.seconds for kernel in self.kernels)

    def ranked(self, top: int | None = None) -> list[KernelProfile]:
        """Kernels by time, the longest first; the first ``top`` of them."""
        return sorted(self.kernels, key=lambda kernel: -kernel.seconds)[:top]


def profile_model(artifact: Path, feed: Mapping[str, np.ndarray], threads: int | None, runs: int) -> ModelProfile:
    """Runs an artifact and takes each kernel's time.

    Args:
        artifact: The library.
        feed: Input tensors by name.
        threads: Threads of one run; None for one a processor.
        runs: Profiled runs, and as many plain calls.
    """
    with load(artifact, threads=threads) as model:
        values = [feed[entry.name] for entry in model.inputs]
        for _ in range(_WARMUP):
            model(*values)
        # In turn, so that both see the same machine.
        samples = [(_call_seconds(model, values), _kernel_seconds(model, values)) for _ in range(runs)]
        seconds = np.median(np.array([kernels for _, kernels in samples]), axis=0)
        symbols = symbol_sizes(model.inputs, {name: value.shape for name, value in feed.items()})
        return ModelProfile(
            manifest=model.manifest,
            threads=model.threads,
            runs=runs,
            call_seconds=float(np.median([call for call, _ in samples])),
            kernels=_kernels(model.manifest, [float(value) for value in seconds], symbols),
        )


def _call_seconds(model: Model, values: list[np.ndarray]) -> float:
    started = time.perf_counter()
    model(*values)
    return time.perf_counter() - started


def _kernel_seconds(model: Model, values: list[np.ndarray]) -> list[float]:
    return [kernel.seconds for kernel in model.profile(*values)]


def _kernels(manifest: Manifest, seconds: list[float], symbols: Mapping[str, int]) -> tuple[KernelProfile, ...]:
    total = sum(seconds)
    return tuple(
        KernelProfile(
            number=number,
            entry=entry,
            seconds=taken,
            share=taken / total if total else 0.0,
            flops=evaluate_size(entry.flops, symbols),
            moved_bytes=evaluate_size(entry.bytes, symbols),
        )
        for number, (entry, taken) in enumerate(zip(manifest.kernels, seconds, strict=True), 1)
    )


def share_of_peaks(kernel: KernelProfile, peaks: MachinePeaks) -> PeakShare:
    """How near a kernel comes to what the machine reaches with as many threads."""
    peak = peaks.arithmetic_of(kernel.entry.operand_type)
    rate = kernel.flops_per_second
    traffic = kernel.bytes_per_second
    limit = None
    if kernel.flops == 0:
        limit = "memory"
    elif peak is not None and kernel.intensity is not None:
        ridge = peak.operations_per_second / peaks.memory.bytes_per_second
        limit = "arithmetic" if kernel.intensity >= ridge else "memory"
    return PeakShare(
        arithmetic=None if peak is None or rate is None else rate / peak.operations_per_second,
        memory=None if traffic is None else traffic / peaks.memory.bytes_per_second,
        limit=limit,
    )
