"""The suite against its peers: each model compiled, then timed with each number of threads, in processes of their own.

What one model can't do ends in its rows and leaves the others alone.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.core.options import CompileOptions, Dim
from lepton_compiler.evaluation.benchmark import BenchmarkRequest, RunnerTimes, run_benchmark
from lepton_compiler.evaluation.interleaved_timing import Spread
from lepton_compiler.evaluation.machine import load_average
from lepton_compiler.evaluation.own_process import in_own_process
from lepton_compiler.evaluation.runner import REFERENCE_PEER
from lepton_compiler.evaluation.suite.models import SuiteModel

SYMBOL = "batch"
"""Name of a symbolic batch."""


@dataclass(frozen=True)
class SuiteRequest:
    """What to measure.

    Attributes:
        models: Models in the order of the table.
        peers: Names of peers, each installed.
        threads: Numbers of threads, one row each.
        batch: First dimension of every input.
        rounds: Samples of each runner.
        warmup: Calls of each before the first sample.
        seed: Seed of the inputs.
        precision: What Lepton's libraries are compiled to, one of ``PRECISIONS``.
        symbolic_batch: Whether libraries are compiled for any batch, and only run with this one.
    """

    models: tuple[SuiteModel, ...]
    peers: tuple[str, ...]
    threads: tuple[int, ...]
    batch: int
    rounds: int
    warmup: int
    seed: int
    precision: str = "fp32"
    symbolic_batch: bool = False


@dataclass(frozen=True)
class PeerTimes:
    """One peer in a row.

    Attributes:
        name: The peer.
        milliseconds: Of one call.
        speedup: Its time divided by Lepton's, round by round: above 1, Lepton is faster.
        max_error_of_range: Largest difference of an output from Lepton's, as a share of its range.
    """

    name: str
    milliseconds: Spread
    speedup: Spread
    max_error_of_range: float


@dataclass(frozen=True)
class SuiteRow:
    """One model with one number of threads.

    Attributes:
        model: Name of the model.
        title: What tables call it.
        threads: Threads of every runner.
        load_average: Load of the machine over the last minute, before the timing; a compilation before it counts.
        compile_seconds: Time of the compilation, which all rows of a model share; None where it failed.
        milliseconds: Lepton's, of one call; None where there are no times.
        peers: The peers' times.
        best_peer: The peer with the smallest median; None without peers or times.
        speedup: Against the best peer.
        max_error_of_range: Against ONNX Runtime; None where it did not take part.
        problem: What failed or is wrong; None where all is well.
    """

    model: str
    title: str
    threads: int
    load_average: float
    compile_seconds: float | None
    milliseconds: Spread | None = None
    peers: tuple[PeerTimes, ...] = ()
    best_peer: str | None = None
    speedup: Spread | None = None
    max_error_of_range: float | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Compilation:
    """What the compiling process is given."""

    model: SuiteModel
    folder: Path
    batch: Dim
    precision: str

    @property
    def library(self) -> Path:
        return self.folder / f"{self.model.name}.so"


def measure_suite(request: SuiteRequest, on_step: Callable[[str], None]) -> Iterator[SuiteRow]:
    """Yields the rows as they are measured, model by model.

    Args:
        request: What to measure.
        on_step: Told what begins.
    """
    for position, model in enumerate(request.models, start=1):
        batch = SYMBOL if request.symbolic_batch else request.batch
        place = f"{model.title} ({position} of {len(request.models)})"
        # Folders of one model at a time: all libraries and files of the suite together are gigabytes.
        with tempfile.TemporaryDirectory(prefix="lepton-suite-") as folder:
            compilation = _Compilation(model, Path(folder), batch, request.precision)
            yield from _measure_model(request, compilation, place, on_step)


def _measure_model(
    request: SuiteRequest, compilation: _Compilation, place: str, on_step: Callable[[str], None]
) -> Iterator[SuiteRow]:
    model = compilation.model
    on_step(f"{place}: compile")
    try:
        onnx_file, seconds = in_own_process(_compile, compilation, f"compiled {model.name}")
    except Exception as error:  # noqa: BLE001 (whatever it is, it is this model's result)
        for threads in request.threads:
            yield SuiteRow(model.name, model.title, threads, load_average(), None, problem=_one_line(error))
        return
    feed = model.inputs(request.batch, request.seed)
    for threads in request.threads:
        on_step(f"{place}: time with {threads} thread{'s' if threads > 1 else ''}")
        load = load_average()
        timing = BenchmarkRequest(
            compilation.library, onnx_file, request.peers, threads, feed, request.rounds, request.warmup
        )
        try:
            yield _row(model, threads, load, seconds, run_benchmark(timing))
        except Exception as error:  # noqa: BLE001 (peers raise what they like, and it is this row's result)
            yield SuiteRow(model.name, model.title, threads, load, seconds, problem=_one_line(error))


def _compile(compilation: _Compilation) -> tuple[Path, float]:
    """The ONNX file, and the seconds that its compilation took."""
    from lepton_compiler.driver import compile_model

    model = compilation.model
    file = model.file(compilation.folder, compilation.batch)
    options = CompileOptions(input_shapes=model.batch_shapes(compilation.batch), precision=compilation.precision)
    report = compile_model(file, compilation.library, options)
    return file, sum(report.seconds.values())


def _row(model: SuiteModel, threads: int, load: float, seconds: float, times: list[RunnerTimes]) -> SuiteRow:
    ours, *others = times
    peers = tuple(
        PeerTimes(entry.name, entry.milliseconds, entry.speedup, entry.max_error_of_range)
        for entry in others
        if entry.speedup is not None and entry.max_error_of_range is not None
    )
    best = min(peers, key=lambda peer: peer.milliseconds.median, default=None)
    reference = next((entry for entry in others if entry.name == REFERENCE_PEER), None)
    return SuiteRow(
        model.name,
        model.title,
        threads,
        load,
        seconds,
        ours.milliseconds,
        peers,
        best_peer=best.name if best else None,
        speedup=best.speedup if best else None,
        max_error_of_range=reference.max_error_of_range if reference else None,
        problem=_disagreement(others),
    )


def _disagreement(others: list[RunnerTimes]) -> str | None:
    """A wrong result is a failure, however fast; where ONNX Runtime takes part, it is the judge."""
    judges = [entry for entry in others if entry.name == REFERENCE_PEER] or others
    wrong = [f"disagrees with {entry.name}: {entry.disagreement}" for entry in judges if entry.disagreement]
    return "; ".join(wrong) or None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
