"""Tables and sentences of ``lepton tune``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lepton_compiler.tuning.record import KnobValue

if TYPE_CHECKING:
    from lepton_compiler.evaluation.tuned_model import TunedModelTimes
    from lepton_compiler.tuning.session import Plan
    from lepton_compiler.tuning.tasks import TuningTask
    from lepton_compiler.tuning.tuning_report import TaskReport, TuningReport

_WIDE = 0.1
"""Distance of the ratios' 10th and 90th percentile, above which they say nothing about a gain of a few percent."""


def report_rows(report: TuningReport) -> list[tuple[str, ...]]:
    """A row for each kernel."""
    return [_report_row(task) for task in report.tasks]


def _report_row(task: TaskReport) -> tuple[str, ...]:
    before = _rate(task.flops, task.default_seconds)
    after = _rate(task.flops, task.best_seconds)
    return (
        _names(task.kernel),
        str(task.calls),
        f"{task.trials} of {task.candidates}",
        _microseconds(task.default_seconds),
        _microseconds(task.best_seconds),
        task.problem or ("" if task.gain == 1 else f"{task.gain:.2f}"),
        before if task.gain == 1 else f"{before} > {after}",
        "default" if task.gain == 1 or task.knobs is None else knobs_text(task.knobs),
    )


def report_sentences(report: TuningReport, logs: Path) -> list[str]:
    """What came of the session, and what to do with it."""
    ending = "interrupted" if report.interrupted else "done"
    called = [task for task in report.tasks if task.is_called]
    near = sum(task.is_near_the_best for task in called)
    gained = sum(task.gain > 1 and task.problem is None for task in called)
    sentences = [
        f"{ending}: {report.trials} trials in {report.seconds / 60:.1f} min "
        f"({report.trials / max(report.seconds, 1e-9) * 60:.0f} a minute); "
        f"the device waited for builders {report.device_idle:.0%} of the time",
        f"{gained} of {len(called)} kernels are faster than their default; {near} defaults are within 3 % of the "
        "best that was found",
        f"these kernels of one run: {report.default_seconds * 1e3:.3f} ms with defaults, "
        f"{report.tuned_seconds * 1e3:.3f} ms tuned, {report.gain:.3f} times as fast",
        f"records: {report.folder}; use them with: lepton compile MODEL.onnx -o MODEL.so --tuning-log {logs}",
    ]
    sentences += [
        f"{_names(task.kernel)} takes another algorithm: {task.taken} ({_microseconds(task.taken_seconds)} us) in "
        f"place of {task.algorithm} ({_microseconds(task.best_seconds) or '?'} us)"
        for task in called
        if task.taken is not None
    ]
    if report.known:
        sentences.append(f"{len(report.known)} kernels had records and were left alone; --resume searches on")
    return sentences


def check_sentences(check: TunedModelTimes | None, *, is_default_exact: bool = True) -> list[str]:
    """What the records do for the whole model.

    Args:
        check: The times; None where the model was not timed.
        is_default_exact: Whether the defaults were taken for exact enough, so that they are something to go back to.
    """
    if check is None:
        return []
    gain, plural = check.gain, "s" if check.threads > 1 else ""
    words = (
        f"the whole model with {check.threads} thread{plural}: {check.default_ms.median:.3f} ms with defaults, "
        f"{check.tuned_ms.median:.3f} ms tuned, {gain.median:.3f} times as fast ({gain.p10:.3f} - {gain.p90:.3f})"
    )
    if not is_default_exact:
        words += "; the defaults are less exact than --max-error allows"
    elif gain.p90 < 1:
        words += "; it is slower with these records, so compile it without them"
    elif gain.p90 - gain.p10 > _WIDE:
        words += "; the machine was too busy to tell, so compare both on a quiet one"
    return [words]


def plan_rows(plan: Plan) -> list[tuple[str, ...]]:
    """A row for each kernel that would be tuned, and for those that have records."""
    called = [task for task in (*plan.tasks, *plan.known) if task.is_called]
    work = sum(task.calls * (task.flops or 0) for task in called) or 1
    return [_plan_row(plan, task, work) for task in (*plan.tasks, *plan.known)]


def _plan_row(plan: Plan, task: TuningTask, work: int) -> tuple[str, ...]:
    known = _known(plan, task)
    return (
        _names(task.names),
        task.anchor,
        str(task.calls),
        "" if task.flops is None else f"{task.flops / 2e6:.1f}",
        f"{task.calls * (task.flops or 0) / work:.1%}" if task.is_called else "",
        str(len(task.candidates)),
        str(known["trials"]),
        _rate(task.flops, known["default_seconds"]),
        _rate(task.flops, known["best_seconds"]),
    )


def plan_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON."""
    return {
        "target": plan.target.name,
        "folder": plan.folder,
        "kernels": [
            {
                "kernel": task.names,
                "workload": task.workload,
                "anchor": task.anchor,
                "calls": task.calls,
                "flops": task.flops,
                "candidates": len(task.candidates),
                "is_searched": task in plan.tasks,
                "algorithm": task.algorithm,
                "stands_for": task.stands_for,
                **_known(plan, task),
            }
            for task in (*plan.tasks, *plan.known)
        ],
        "skipped": [{"kernel": kernel.name, "reason": kernel.reason} for kernel in plan.skipped],
    }


def _known(plan: Plan, task: TuningTask) -> dict[str, Any]:
    """What the logs know of a kernel."""
    from lepton_compiler.tuning.knob_values import to_values
    from lepton_compiler.tuning.ranking import Kernel
    from lepton_compiler.tuning.record import TunedTarget

    target = TunedTarget.of(plan.target)
    ranked = plan.database.ranked(Kernel(task.workload, target))
    default = to_values(task.default)
    return {
        "trials": len(plan.database.trials(task.workload, target)),
        "default_seconds": next((e.record.median_s for e in ranked if e.record.knobs == default), None),
        "best_seconds": ranked[0].record.median_s if ranked else None,
    }


def knobs_text(knobs: Mapping[str, KnobValue]) -> str:
    """Knobs in one line."""
    return " ".join(f"{name}={value}" for name, value in knobs.items())


def _names(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} (and {len(names) - 1} alike)"


def _microseconds(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.1f}"


def _rate(flops: int | None, seconds: float | None) -> str:
    return "" if not flops or not seconds else f"{flops / seconds / 1e9:.0f}"
