"""What a session found, kernel by kernel and for the model's kernels together, for tables and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.build.kernel_work import kernel_work
from lepton_compiler.passes.winograd.measured_algorithms import fastest
from lepton_compiler.tuning.record import KnobValue
from lepton_compiler.tuning.session import Plan
from lepton_compiler.tuning.task_scheduler import best_seconds
from lepton_compiler.tuning.task_search import SIGNIFICANT_GAIN, TaskSearch
from lepton_compiler.tuning.tuner import TuningResult

NEAR_THE_BEST = 0.03
"""A default within this share of the best that was found is called as good as it."""


@dataclass(frozen=True)
class TaskReport:
    """One kernel.

    Attributes:
        kernel: Its names in the model.
        workload: Key of its records.
        anchor: Its schedule.
        calls: How often a run of the model calls it.
        candidates: How many there are.
        trials: How many were tried, in earlier sessions too.
        flops: Operations of a call; None where they can't be counted.
        moved_bytes: Bytes of its operands and results; None where they can't be counted.
        operand_type: Element type of what most of its operations read.
        default_seconds: Time of the default; None where it did not run.
        best_seconds: Time of the best; None where none ran.
        gain: Default's time over the best's, 1 where the difference is noise.
        knobs: Those of the best.
        curve_seconds: Best time after each trial.
        problem: Why it could not be tuned, or may not be used.
        algorithm: What it computes its layer by, where there are several algorithms.
        is_called: Whether the model calls it unless logs say otherwise.
        taken: The algorithm that is taken for its layer after this session, where it is another one.
        taken_seconds: Time of a call then, its own or the other's.
    """

    kernel: tuple[str, ...]
    workload: str
    anchor: str
    calls: int
    candidates: int
    trials: int
    flops: int | None
    moved_bytes: int | None
    operand_type: str
    default_seconds: float | None
    best_seconds: float | None
    gain: float
    knobs: Mapping[str, KnobValue] | None
    curve_seconds: tuple[float | None, ...]
    problem: str | None
    algorithm: str | None = None
    is_called: bool = True
    taken: str | None = None
    taken_seconds: float | None = None

    @property
    def is_near_the_best(self) -> bool:
        """Whether the default was as good as the best that was found, or nearly; not where it was never timed."""
        return self.default_seconds is not None and self.gain <= 1 / (1 - NEAR_THE_BEST)


@dataclass(frozen=True)
class TuningReport:
    """One session.

    Attributes:
        tasks: Kernels, those that matter most first.
        known: Kernels that had records and were left as they are.
        folder: Where the records are.
        trials: Candidates that were tried.
        seconds: Time of the search.
        device_idle: Share of it in which the device waited for builders.
        interrupted: Whether the user ended it.
        default_seconds: The kernels of one run of the model, with their defaults.
        tuned_seconds: The same with the best that was found.
    """

    tasks: tuple[TaskReport, ...]
    known: tuple[str, ...]
    folder: Path
    trials: int
    seconds: float
    device_idle: float
    interrupted: bool
    default_seconds: float
    tuned_seconds: float

    @property
    def gain(self) -> float:
        """How much faster the kernels that were tuned are together."""
        return self.default_seconds / self.tuned_seconds if self.tuned_seconds else 1.0


def make_report(plan: Plan, result: TuningResult) -> TuningReport:
    """The report of a session."""
    best = best_seconds(result.searches, result.known)
    algorithms = {task.workload: task.algorithm for task in (*plan.tasks, *plan.known)}
    tasks = tuple(_task(search, best, algorithms) for search in result.searches)
    measured = [task for task in tasks if task.is_called and task.default_seconds is not None]
    return TuningReport(
        tasks,
        tuple(task.title for task in plan.known),
        plan.folder,
        result.trials,
        result.seconds,
        result.build_wait_seconds / result.seconds if result.seconds else 0.0,
        result.interrupted,
        sum(task.calls * (task.default_seconds or 0.0) for task in measured),
        sum(task.calls * (task.taken_seconds or 0.0) for task in measured),
    )


def _task(search: TaskSearch, best: Mapping[str, float], algorithms: Mapping[str, str | None]) -> TaskReport:
    task = search.task
    work = kernel_work(task.function)
    gain = search.gain if search.gain >= 1 / (1 - SIGNIFICANT_GAIN) else 1.0
    own = None if search.default_seconds is None else search.default_seconds / gain
    times = {key: best[key] for key in task.layer if key in best}
    # Where its own kernel did not run nothing is known of the layer, but for one that may not be taken.
    taken = fastest(times) if task.workload in times or (times and search.problem) else task.workload
    return TaskReport(
        task.names,
        task.workload,
        task.anchor,
        task.calls,
        len(task.candidates),
        search.tried,
        task.flops,
        work.moved_bytes if isinstance(work.moved_bytes, int) else None,
        work.operand_type,
        search.default_seconds,
        search.best_seconds,
        gain,
        None if search.best is None else search.values(search.best),
        tuple(search.curve),
        search.problem,
        task.algorithm,
        task.is_called,
        algorithms.get(taken) if taken != task.workload else None,
        own if taken == task.workload else times[taken],
    )
