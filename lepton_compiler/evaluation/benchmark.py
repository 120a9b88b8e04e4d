"""A model timed against its peers, one process for each number of threads.

Thread pools of all runners learn the number of processors when they start and some never look again, so each number
of threads gets a process of its own, pinned to that many processors before anything is loaded.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_compiler.core.errors import UserError
from lepton_compiler.evaluation.comparison import OutputComparison, compare_outputs
from lepton_compiler.evaluation.interleaved_timing import InterleavedTimes, Spread, time_interleaved
from lepton_compiler.evaluation.lepton_runner import LeptonRunner
from lepton_compiler.evaluation.machine import processors_for
from lepton_compiler.evaluation.own_process import in_own_process
from lepton_compiler.evaluation.runner import PEERS, Runner, open_peer
from lepton_compiler.evaluation.tolerances import tolerance_of


@dataclass(frozen=True)
class BenchmarkRequest:
    """What to time.

    Attributes:
        artifact: The compiled library.
        model: The ONNX file that peers load; None without peers.
        peers: Names of peers, each installed.
        threads: Threads and processors of every runner.
        feed: Input tensors by name.
        rounds: Samples of each runner.
        warmup: Calls of each before the first sample.
    """

    artifact: Path
    model: Path | None
    peers: tuple[str, ...]
    threads: int
    feed: Mapping[str, np.ndarray]
    rounds: int
    warmup: int


@dataclass(frozen=True)
class RunnerTimes:
    """Times of one runner.

    Attributes:
        name: ``"lepton"`` or the peer's name.
        version: Version of its package.
        threads: Threads that it ran with.
        milliseconds: Of one call.
        ratio: Lepton's time divided by this runner's, round by round: below 1, Lepton is faster. None for Lepton.
        speedup: The inverse, this runner's time divided by Lepton's, round by round: above 1, Lepton is faster.
        max_error_of_range: Largest difference of an output from Lepton's, as a share of its range; None for Lepton.
        disagreement: Why Lepton's outputs are not this runner's; None where they agree as their precision allows.
    """

    name: str
    version: str
    threads: int
    milliseconds: Spread
    ratio: Spread | None
    speedup: Spread | None
    max_error_of_range: float | None
    disagreement: str | None


def run_benchmark(request: BenchmarkRequest) -> list[RunnerTimes]:
    """Times all runners in a fresh process.

    Raises:
        LeptonError: A runner can't load or run the model, this process may use fewer processors than asked, or the
            process was killed.
    """
    require_processors(request.threads)
    return in_own_process(measure, request, f"timed {request.threads} threads")


def require_processors(threads: int) -> None:
    """Refuses more threads than there are processors for them.

    Raises:
        UserError: This process may use fewer processors.
    """
    available = len(processors_for(threads))
    if available < threads:
        raise UserError(f"{threads} threads need as many processors; this process may use {available}")


def measure(request: BenchmarkRequest) -> list[RunnerTimes]:
    """Pins this process and times all runners in it; ``run_benchmark`` calls it in a process of its own."""
    os.sched_setaffinity(0, processors_for(request.threads))
    shapes = {name: value.shape for name, value in request.feed.items()}
    lepton = LeptonRunner(request.artifact, request.threads)
    runners: list[Runner] = [lepton]
    if request.model is not None:
        runners += [open_peer(PEERS[name], request.model, request.threads, shapes) for name in request.peers]
    outputs = {runner.name: runner.run(request.feed) for runner in runners}
    comparisons = {
        name: compare_outputs(outputs["lepton"], outputs[name], tolerance_of(lepton.precision, PEERS[name].precision))
        for name in request.peers
    }
    times = time_interleaved(
        {runner.name: lambda runner=runner: runner.run(request.feed) for runner in runners},
        rounds=request.rounds,
        warmup=request.warmup,
    )
    results = [_runner_times(runner, request.threads, times, comparisons.get(runner.name)) for runner in runners]
    for runner in runners:
        runner.close()
    return results


def _runner_times(
    runner: Runner, threads: int, times: InterleavedTimes, comparisons: list[OutputComparison] | None
) -> RunnerTimes:
    """A benchmark of wrong results is worth nothing, so it says how far apart they are."""
    milliseconds = times.spread_ms(runner.name)
    if comparisons is None:
        return RunnerTimes(runner.name, runner.version, threads, milliseconds, None, None, None, None)
    reasons = [f'output "{entry.name}": {reason}' for entry in comparisons for reason in entry.reasons]
    return RunnerTimes(
        runner.name,
        runner.version,
        threads,
        milliseconds,
        ratio=times.ratio("lepton", runner.name),
        speedup=times.ratio(runner.name, "lepton"),
        max_error_of_range=max((entry.max_abs / entry.reference_range for entry in comparisons), default=0.0),
        disagreement="; ".join(reasons) or None,
    )
