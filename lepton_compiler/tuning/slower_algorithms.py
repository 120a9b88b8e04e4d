"""Algorithms that are faster alone and slower inside of the model: taken back, in the log as well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lepton_compiler.targets.cpu.schedule import knob_types
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.knob_values import from_values
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.ranking import Kernel, refusal_of
from lepton_compiler.tuning.record import TunedTarget
from lepton_compiler.tuning.session import Plan
from lepton_compiler.tuning.tasks import TuningTask
from lepton_compiler.tuning.tuner import Tuner


def stand_ins(plan: Plan, taken: Collection[str]) -> list[TuningTask]:
    """The tasks whose kernels took the place of the model's own.

    Args:
        plan: The session's; the kernels that it left alone are looked at as well.
        taken: Keys of the kernels of the tuned model's layers.
    """
    return [task for task in (*plan.tasks, *plan.known) if not task.is_called and task.workload in taken]


def refused_defaults(plan: Plan, database: Database) -> set[tuple[str, ...]]:
    """The layers whose algorithm in the model without logs may not be taken, because it is not exact enough."""
    target = TunedTarget.of(plan.target)
    called = (task for task in (*plan.tasks, *plan.known) if task.is_called and task.layer)
    return {task.layer for task in called if refusal_of(database.trials(task.workload, target)) is not None}


def reject_slower_algorithms(
    plan: Plan,
    tuner: Tuner,
    tasks: Iterable[TuningTask],
    database: Database,
    times: Mapping[str, tuple[float, float]],
) -> int:
    """Takes algorithms back that are slower inside of the model than the kernels in whose place they stand.

    All their knobs are taken back together: those that are slower alone would be tried in the model for nothing. What
    is not exact enough is no measure for what stands in its place.

    Args:
        plan: The session's.
        tuner: What has searched.
        tasks: What stands in the place of the model's own kernels.
        database: The records that the tuned model was compiled with.
        times: Seconds of each kernel in a run of the model, by name: its own, and with what stands in its place.

    Returns:
        How many layers fall back to another algorithm.

    Raises:
        TuningLogError: A record could not be written.
    """
    rejected, incomparable = 0, refused_defaults(plan, database)
    for task in tasks:
        pairs = [times[name] for name in task.stands_for if name in times]
        before, after = (sum(pair) for pair in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
        if after <= before or task.layer in incomparable:
            continue
        words = f"{after * 1e6:.1f} us inside of {plan.folder.name}, {task.stands_for[0]} {before * 1e6:.1f} us"
        with LogWriter(plan.folder) as writer:
            for entry in database.ranked(Kernel(task.workload, TunedTarget.of(plan.target))):
                knobs = from_values(knob_types()[entry.record.anchor], entry.record.knobs)
                tuner.reject(task, knobs, words, writer)
        rejected += 1
    return rejected
