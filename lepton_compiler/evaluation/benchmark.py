"""A model timed against its peers, one process for each number of threads.

Thread pools of all runners learn the number of processors when they start and some never look again, so each number
of threads gets a process of its own, pinned to that many processors before anything is loaded.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lepton_compiler.core.errors import RunError, UserError
from lepton_compiler.evaluation.comparison import compare_outputs
from lepton_compiler.evaluation.interleaved_timing import Spread, time_interleaved
from lepton_compiler.evaluation.lepton_runner import LeptonRunner
from lepton_compiler.evaluation.machine import processors_for
from lepton_compiler.evaluation.runner import PEERS, open_peer
from lepton_compiler.evaluation.tolerances import TOLERANCES


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
        max_error_of_range: Largest difference of an output from Lepton's, as a share of its range; None for Lepton.
    """

    name: str
    version: str
    threads: int
    milliseconds: Spread
    ratio: Spread | None
    max_error_of_range: float | None


def run_benchmark(request: BenchmarkRequest) -> list[RunnerTimes]:
    """Times all runners in a fresh process.

    Raises:
        LeptonError: A runner can't load or run the model, this process may use fewer processors than asked, or the
            process was killed.
    """
    available = len(processors_for(request.threads))
    if available < request.threads:
        raise UserError(f"{request.threads} threads need as many processors; this process may use {available}")
    # The default action on an interrupt: the process ends at once, without a traceback of its own.
    on_interrupt = {"initializer": signal.signal, "initargs": (signal.SIGINT, signal.SIG_DFL)}
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"), **on_interrupt) as pool:
        try:
            return pool.submit(measure, request).result()
        except BrokenProcessPool as error:
            raise RunError(f"the process that timed {request.threads} threads was killed or crashed") from error


def measure(request: BenchmarkRequest) -> list[RunnerTimes]:
    """Pins this process and times all runners in it; ``run_benchmark`` calls it in a process of its own."""
    os.sched_setaffinity(0, processors_for(request.threads))
    shapes = {name: value.shape for name, value in request.feed.items()}
    runners = [LeptonRunner(request.artifact, request.threads)]
    if request.model is not None:
        runners += [open_peer(PEERS[name], request.model, request.threads, shapes) for name in request.peers]
    outputs = {runner.name: runner.run(request.feed) for runner in runners}
    errors = {name: _max_error(outputs["lepton"], outputs[name]) for name in request.peers}
    times = time_interleaved(
        {runner.name: lambda runner=runner: runner.run(request.feed) for runner in runners},
        rounds=request.rounds,
        warmup=request.warmup,
    )
    results = [
        RunnerTimes(
            runner.name,
            runner.version,
            request.threads,
            times.spread_ms(runner.name),
            times.ratio("lepton", runner.name) if runner.name in errors else None,
            errors.get(runner.name),
        )
        for runner in runners
    ]
    for runner in runners:
        runner.close()
    return results


def _max_error(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """A benchmark of wrong results is worth nothing, so it says how far apart they are."""
    comparisons = compare_outputs(ours, theirs, TOLERANCES["fp32"])
    return max((entry.max_abs / entry.reference_range for entry in comparisons), default=0.0)
