"""A tuning session: a model file in, records in its logs and a report out. The first file to read in this folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from lepton_compiler.core.errors import TargetError, UserError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.devices.agent_client import MachineReport
from lepton_compiler.devices.device import Device
from lepton_compiler.driver import resolve_target
from lepton_compiler.targets.cpu.knobs import KnobSource
from lepton_compiler.targets.registry import missing_features
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.build_pool import BuildPool
from lepton_compiler.tuning.build_worker import BuildLimits
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.knob_check import why_knobs_do_not_fit
from lepton_compiler.tuning.log_files import DEFAULT_ROOT, SUFFIX, find_logs, log_folder
from lepton_compiler.tuning.log_reader import Problem, read_logs
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.lowered_model import lower_model
from lepton_compiler.tuning.measurement import Measurer, TimingPlan
from lepton_compiler.tuning.ranking import refusal_of, right_trials, timing_of, timing_text
from lepton_compiler.tuning.record import Device as DeviceRecord
from lepton_compiler.tuning.record import TunedTarget, Versions
from lepton_compiler.tuning.tasks import SYMBOLIC_REASON, SkippedKernel, Tasks, TuningTask, find_tasks
from lepton_compiler.tuning.tuner import Bench, Budget, TrialEvent, Tuner, TuningResult

AHEAD = 3
"""Candidates that each builder has waiting: it is never idle, and the search learns soon."""


@dataclass(frozen=True)
class TuningRequest:
    """What the user asked for.

    Attributes:
        model: The ONNX file.
        options: How it is compiled.
        root: Folder of tuning logs; those of this model lie in ``<root>/<target>/<model>``.
        learn_from: More logs, of which trials of the same kernels count and all others teach the cost model.
        budget: When to stop.
        only: Patterns of kernel names; kernels that none matches are left alone.
        resume: Whether kernels that have records already are searched further.
        timing: How candidates are timed.
        builders: Processes that build.
        build_limits: What building one candidate may take.
        seed: Seed of inputs and search.
    """

    model: Path
    options: CompileOptions
    root: Path = DEFAULT_ROOT
    learn_from: tuple[Path, ...] = ()
    budget: Budget = field(default_factory=Budget)
    only: tuple[str, ...] = ()
    resume: bool = False
    timing: TimingPlan = field(default_factory=TimingPlan)
    builders: int = 1
    build_limits: BuildLimits = field(default_factory=BuildLimits)
    seed: int = 0

    @property
    def logs(self) -> tuple[Path, ...]:
        """What a compilation with everything that is known reads."""
        return (self.root, *self.learn_from)


@dataclass(frozen=True)
class Plan:
    """What a session would do.

    Attributes:
        target: What is tuned for.
        tasks: Kernels to tune, those that matter most first.
        known: Kernels that have records and are not searched further.
        skipped: Kernels that can't be tuned.
        folder: Where the records go.
        database: What is known of this model's kernels.
    """

    target: TargetSpec
    tasks: tuple[TuningTask, ...]
    known: tuple[TuningTask, ...]
    skipped: tuple[SkippedKernel, ...]
    folder: Path
    database: Database

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Lines of logs that were skipped."""
        return self.database.problems


def plan_session(request: TuningRequest, on_step: Callable[[str], None]) -> Plan:
    """Finds out what there is to tune, without measuring anything.

    Raises:
        LeptonError: The model, an option or a log is not usable.
        UserError: There is nothing to tune.
    """
    target = resolve_target(request.options.target)
    folder = log_folder(request.root, target.name, request.model.stem)
    database = _read_database([folder, *request.learn_from], optional=folder)
    lowered = lower_model(request.model, request.options, on_step=on_step)
    on_step("find kernels")
    found = find_tasks(lowered.program, target, lowered.layers)
    chosen = [task for task in found.tuned if _is_chosen(task, request.only)]
    if not chosen:
        raise UserError(f"there is nothing to tune in {request.model.name}: {_why_nothing(found, request.only)}")
    known = tuple(task for task in chosen if not request.resume and _is_known(task, database, target, request.timing))
    tasks = tuple(task for task in chosen if task not in known)
    return Plan(target, tasks, known, found.skipped, folder, database)


def run_session(
    request: TuningRequest, plan: Plan, device: Device, on_trial: Callable[[TrialEvent], None]
) -> tuple[TuningResult, Tuner]:
    """Searches. Whatever ends it, every trial that was made is in the log.

    Raises:
        UserError: The device can't run code for the target, or has too few cores.
        DeviceError: It can't be reached any more.
        TuningLogError: A record could not be written.
    """
    machine = device.describe()
    _check_device(machine, plan.target, request.timing)
    bench = Bench(
        DeviceRecord(device.name, machine.processor or "unknown", machine.cores),
        plan.target,
        Versions.current(),
        request.seed,
        _timing_words(request.timing),
    )
    builder_cores = cores_for_builders(request.timing.threads)
    with (
        BuildPool(plan.target, request.builders, request.build_limits, builder_cores) as pool,
        LogWriter(plan.folder) as writer,
    ):
        tuner = Tuner(
            plan.tasks,
            bench,
            pool,
            Measurer(device, request.timing, request.seed),
            writer,
            in_flight=AHEAD * request.builders,
            overlap=bool(builder_cores),
            on_trial=on_trial,
        )
        tuner.learn(plan.database)
        return tuner.run(request.budget), tuner


def reject_slower(plan: Plan, tuner: Tuner, tuned: KnobSource, times: Mapping[str, tuple[float, float]]) -> int:
    """Takes knobs back that are slower than the default inside of the model, though faster alone.

    A kernel alone finds its operands in other caches than beside all others.

    Args:
        plan: The session's; the kernels that it left alone are looked at as well.
        tuner: What has searched.
        tuned: The knobs that the tuned model was compiled with.
        times: Seconds of each kernel in a run of the model, by name: with the default, and with those knobs.

    Returns:
        How many kernels fall back to their next best knobs, or the default.

    Raises:
        TuningLogError: A record could not be written.
    """
    rejected = 0
    with LogWriter(plan.folder) as writer:
        for task in (*plan.tasks, *plan.known):
            pairs = [times[name] for name in task.names if name in times]
            before, after = (sum(pair) for pair in zip(*pairs, strict=True)) if pairs else (0.0, 0.0)
            choice = tuned.find(task.function, plan.target) if after > before else None
            if choice is not None:
                words = f"{after * 1e6:.1f} us inside of {plan.folder.name}, the default {before * 1e6:.1f} us"
                tuner.reject(task, choice.knobs, words, writer)
                rejected += 1
    return rejected


def cores_for_trials(threads: int) -> list[int]:
    """Processors of this machine that trials run on: the last ones, because the first serve interrupts."""
    return sorted(os.sched_getaffinity(0))[-threads:]


def cores_for_builders(threads: int) -> list[int]:
    """The processors that are left for builders; none where trials need all, and builders take turns with them."""
    return sorted(os.sched_getaffinity(0))[:-threads]


def _read_database(paths: list[Path], optional: Path) -> Database:
    """The logs at ``paths``, each once, of which ``optional`` may be missing or empty."""
    is_empty = not optional.exists() or (optional.is_dir() and not any(optional.rglob(f"*{SUFFIX}")))
    present = [path for path in paths if not (is_empty and path == optional)]
    return Database(read_logs(find_logs(present)), why_knobs_do_not_fit)


def _why_nothing(found: Tasks, patterns: tuple[str, ...]) -> str:
    """Why no kernel is tuned: the names do not match, or what most kernels lack."""
    if found.tuned:
        names = ", ".join(sorted(name for task in found.tuned for name in task.names))
        return f"no kernel is called {' or '.join(patterns)}; kernels with knobs: {names}"
    if not found.skipped:
        return "it has no kernels"
    reason, count = Counter(kernel.reason for kernel in found.skipped).most_common(1)[0]
    advice = "; --input-shapes gives them sizes" if reason == SYMBOLIC_REASON else ""
    return f"none of {len(found.skipped)} kernels can be tuned; {count} of them because: {reason}{advice}"


def _is_chosen(task: TuningTask, patterns: tuple[str, ...]) -> bool:
    return not patterns or any(fnmatchcase(name, pattern) for name in task.names for pattern in patterns)


def _is_known(task: TuningTask, database: Database, target: TargetSpec, timing: TimingPlan) -> bool:
    """Whether there is a right trial that was timed in this way, on whichever device, or none is wanted."""
    trials = database.trials(task.workload, TunedTarget.of(target))
    alike = (timing_of(entry.record) == timing_text(_timing_words(timing)) for entry in right_trials(trials))
    return any(alike) or refusal_of(trials) is not None


def _check_device(machine: MachineReport, target: TargetSpec, timing: TimingPlan) -> None:
    missing = missing_features(target.cpu_features, machine.cpu_features)
    if machine.architecture != target.architecture.value or missing:
        lacks = f"it is {machine.architecture}" if machine.architecture != target.architecture.value else ""
        lacks = lacks or f"it lacks {', '.join(sorted(missing))}"
        raise TargetError(
            f"the device can't run code for {target.name}: {lacks}; name a target that it runs with --target"
        )
    if timing.threads > machine.cores:
        raise UserError(f"the device has {machine.cores} cores, and trials want {timing.threads} threads")


def _timing_words(timing: TimingPlan) -> dict[str, int]:
    return {"threads": timing.threads, "flush_bytes": timing.flush_bytes}
