"""The whole model with its defaults and with tuned knobs, timed against each other, and kernel by kernel.

Kernels that are faster alone may be slower beside each other, so a tuning session ends with this.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lepton_compiler.core.manifest import KernelEntry
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.evaluation.input_values import fixed_shapes, random_values
from lepton_compiler.evaluation.interleaved_timing import Spread, time_interleaved
from lepton_compiler.evaluation.kernel_profile import profile_model
from lepton_compiler.runtime.model import load

_DEFAULT, _TUNED = "default", "tuned"
_TURNS, _RUNS = 5, 5
"""How often each library is profiled, by turns, and with how many runs."""


@dataclass(frozen=True)
class TunedModelTimes:
    """Both libraries on this machine.

    Attributes:
        threads: Threads of each.
        default_ms: Milliseconds of a call with defaults.
        tuned_ms: The same with tuned knobs.
        gain: Default's time over the tuned one's, round by round.
        kernels: Seconds in a run of each kernel that is computed in another way, by its name with defaults: with
            defaults and tuned. Another way is another schedule, or another algorithm for the same nodes.
    """

    threads: int
    default_ms: Spread
    tuned_ms: Spread
    gain: Spread
    kernels: Mapping[str, tuple[float, float]]


def time_tuned_model(
    model: Path, options: CompileOptions, logs: tuple[Path, ...], threads: int, rounds: int, seed: int
) -> TunedModelTimes:
    """Compiles a model with and without tuned knobs and times both by turns.

    Args:
        model: The ONNX file.
        options: How it is compiled.
        logs: Tuning logs of the tuned one.
        threads: Threads of both.
        rounds: Samples of each.
        seed: Seed of the inputs.
    """
    with tempfile.TemporaryDirectory(prefix="lepton-tuned-") as folder:
        files = {name: Path(folder) / f"{name}.so" for name in (_DEFAULT, _TUNED)}
        compile_model(model, files[_DEFAULT], replace(options, tuning_logs=()))
        compile_model(model, files[_TUNED], replace(options, tuning_logs=logs))
        with load(files[_DEFAULT], threads=threads) as default, load(files[_TUNED], threads=threads) as tuned:
            feed = random_values(default.inputs, fixed_shapes(default.inputs, options.input_shapes), seed)
            times = time_interleaved(
                {_DEFAULT: lambda: default(**feed), _TUNED: lambda: tuned(**feed)}, rounds=rounds, warmup=3
            )
        kernels = _time_kernels(files, feed, threads)
    gain = times.ratio(_DEFAULT, _TUNED)
    return TunedModelTimes(threads, times.spread_ms(_DEFAULT), times.spread_ms(_TUNED), gain, kernels)


def _time_kernels(
    files: Mapping[str, Path], feed: Mapping[str, np.ndarray], threads: int
) -> dict[str, tuple[float, float]]:
    """Seconds of the kernels that differ: the least median of some turns, all calls of one together."""
    turns: dict[str, list[dict[str, float]]] = {name: [] for name in files}
    kernels: dict[str, dict[str, KernelEntry]] = {name: {} for name in files}
    for _ in range(_TURNS):
        for name, file in files.items():
            seconds: dict[str, float] = {}
            for kernel in profile_model(file, feed, threads, _RUNS).kernels:
                nodes = kernel.entry.nodes
                kernels[name][nodes] = kernel.entry
                seconds[nodes] = seconds.get(nodes, 0.0) + kernel.seconds
            turns[name].append(seconds)
    least = {name: {nodes: min(turn[nodes] for turn in taken) for nodes in taken[0]} for name, taken in turns.items()}
    changed: dict[str, tuple[float, float]] = {}
    for nodes, entry in kernels[_DEFAULT].items():
        if nodes in kernels[_TUNED] and _way(kernels[_TUNED][nodes]) != _way(entry):
            before, after = changed.get(entry.name, (0.0, 0.0))
            changed[entry.name] = before + least[_DEFAULT][nodes], after + least[_TUNED][nodes]
    return changed


def _way(kernel: KernelEntry) -> tuple[str, str]:
    """How a kernel computes its nodes: its operators without the number that tells equal names apart, and schedule."""
    return re.sub(r"_\d+$", "", kernel.name), kernel.schedule
