"""Tuner: builds candidates, measures them, writes every trial down, and goes on where it pays.

    candidates --> BuildPool (processes) --> Measurer (device) --> LogWriter, CostModel, TaskSearch

While one candidate is measured the next ones are built, on other processors than the device's, or, where there are no
others, by turns. A trial is in the log before the next one begins.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from tvm import tirx

from lepton_compiler.build.kernel_work import kernel_work
from lepton_compiler.devices.trial import KernelLibrary
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.build_pool import BuildFailure, BuildPool
from lepton_compiler.tuning.cost_model import CostModel, KernelSize, Sample
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.measurement import Measurer, ReferenceFailure
from lepton_compiler.tuning.ranking import TIMING_FIELD, conditions_of, refusal_of, right_trials, timing_text
from lepton_compiler.tuning.record import (
    Device,
    KnobValue,
    Outcome,
    Status,
    TunedTarget,
    TuningRecord,
    Versions,
    time_now,
)
from lepton_compiler.tuning.task_scheduler import best_seconds, is_beaten, next_task
from lepton_compiler.tuning.task_search import TaskSearch
from lepton_compiler.tuning.tasks import TuningTask, written_parameters

SIZE_FIELD = "kernel"
"""Field of a record that the cost model learns from: the kernel's size."""
CONFIRMING_SHARE = 0.1
"""Share of the time that is kept for confirmations."""
NOT_EXACT = "not exact enough"
"""Why a kernel is not searched whose algorithm cost a model too much accuracy."""
_FINALISTS = 3
_CONFIRMATIONS = 3


@dataclass(frozen=True)
class Budget:
    """When to stop.

    Attributes:
        trials: Candidates to measure, of all kernels together; None for no limit.
        seconds: Time to spend; None for no limit.
        patience: Trials of a kernel without a gain after which it is done; None for all its candidates.
    """

    trials: int | None = None
    seconds: float | None = None
    patience: int | None = None


@dataclass(frozen=True)
class Bench:
    """What trials run with, for the records.

    Attributes:
        device: What candidates run on.
        target: What they are built for.
        versions: What builds them.
        seed: Seed of inputs and of the search.
        timing: How they are timed, as records say it.
    """

    device: Device
    target: TargetSpec
    versions: Versions
    seed: int
    timing: dict[str, Any]

    def record(
        self, task: TuningTask, knobs: Mapping[str, KnobValue], outcome: Outcome, size: KernelSize | None
    ) -> TuningRecord:
        """The record of a trial that ends now; ``size`` is None where dimensions are known at run time alone."""
        return TuningRecord(
            workload=task.workload,
            anchor=task.anchor,
            knobs=knobs,
            outcome=outcome,
            target=TunedTarget.of(self.target),
            device=self.device,
            versions=self.versions,
            seed=self.seed,
            time=time_now(),
            extra={**({} if size is None else {SIZE_FIELD: size.as_object()}), TIMING_FIELD: self.timing},
        )


@dataclass(frozen=True)
class TrialEvent:
    """One trial that has ended, for who watches."""

    search: TaskSearch
    outcome: Outcome
    trials: int
    seconds: float


@dataclass
class TuningResult:
    """What a search has found.

    Attributes:
        searches: The tasks, each with its best.
        trials: Candidates that were measured or failed in this search.
        seconds: Time it took.
        build_wait_seconds: Of that, time in which the device waited for a candidate to be built.
        interrupted: Whether the user ended it.
        known: Best seconds of other algorithms' kernels that were not searched, by key.
    """

    searches: Sequence[TaskSearch]
    trials: int = 0
    seconds: float = 0.0
    build_wait_seconds: float = 0.0
    interrupted: bool = False
    known: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _InFlight:
    """A candidate that is being built; ``knobs`` is None for the reference."""

    search: TaskSearch
    knobs: Any
    library: Future[KernelLibrary]


class Tuner:
    """One search over the tasks of a model."""

    def __init__(
        self,
        tasks: Iterable[TuningTask],
        bench: Bench,
        pool: BuildPool,
        measurer: Measurer,
        writer: LogWriter,
        *,
        in_flight: int,
        overlap: bool,
        on_trial: Callable[[TrialEvent], None] | None = None,
    ) -> None:
        """Sets a search up.

        Args:
            tasks: What to tune.
            bench: For the records.
            pool: Builds.
            measurer: Measures.
            writer: Takes the records.
            in_flight: Candidates that are built ahead.
            overlap: Whether candidates may be built while one is measured.
            on_trial: Told of every trial.
        """
        self.searches = [TaskSearch(task, kernel_size(task.function), bench.seed) for task in tasks]
        self.model = CostModel()
        self.bench = bench
        self._known: dict[str, float] = {}
        self._pool = pool
        self._measurer = measurer
        self._writer = writer
        self._depth = in_flight
        self._overlap = overlap
        self._on_trial = on_trial
        self._started: set[str] = set()
        self._queue: deque[_InFlight] = deque()

    def learn(self, database: Database) -> None:
        """Takes what is known: trials of these kernels, and for the cost model those of any kernel.

        A trial on another device, or timed in another way, teaches, and is measured again here: its time would say
        nothing beside those of this session.
        """
        target = TunedTarget.of(self.bench.target)
        here = self.bench.device.name, self.bench.device.processor, timing_text(self.bench.timing)
        searched = {search.task.workload for search in self.searches}
        for search in self.searches:
            trials = database.trials(search.task.workload, target)
            refusal = refusal_of(trials)
            if refusal is not None:
                search.problem = NOT_EXACT
            right = set(map(id, right_trials(trials)))
            for entry in trials:
                is_refuted = entry.record.outcome.status is Status.OK and id(entry) not in right
                if conditions_of(entry.record) == here and not is_refuted:
                    search.know(entry.record.knobs, entry.record.outcome)
            for rival in set(search.task.layer) - searched:
                alike = [
                    entry.record.median_s
                    for entry in right_trials(database.trials(rival, target))
                    if conditions_of(entry.record) == here
                ]
                self._known |= {rival: min(filter(None, alike))} if alike else {}
        for record in database.records():
            self._teach(record)

    def run(self, budget: Budget) -> TuningResult:
        """Searches until the budget is spent, everything was tried, or the user interrupts."""
        result = TuningResult(self.searches, known=self._known)
        started = time.monotonic()
        try:
            self._search(budget, result, started)
            self._confirm(budget, result, started)
        except KeyboardInterrupt:
            result.interrupted = True
        finally:
            for waiting in self._queue:
                waiting.library.cancel()
            self._queue.clear()
            result.seconds = time.monotonic() - started
        return result

    def reject(self, task: TuningTask, knobs: Any, reason: str, writer: LogWriter) -> None:
        """Writes down that a task's knobs are slower than the default inside of the model."""
        outcome = Outcome.failed(Status.SLOWER_IN_MODEL, reason)
        writer.append(self.bench.record(task, to_values(knobs), outcome, kernel_size(task.function)))
        for search in self.searches:
            if search.task is task:
                search.add(knobs, outcome)

    def _search(self, budget: Budget, result: TuningResult, started: float) -> None:
        given_out = 0
        while True:
            may_fill = self._overlap or not self._queue
            while may_fill and len(self._queue) < self._depth and not _is_spent(budget, given_out, started):
                search = next_task(self.searches, budget.patience, self._known)
                if search is None:
                    break
                self._submit(search, search.next(self.model))
                given_out += 1
            if not self._queue:
                return
            if not self._overlap:
                for waiting in self._queue:
                    waiting.library.exception()
            self._finish(self._queue.popleft(), result, started)

    def _confirm(self, budget: Budget, result: TuningResult, started: float) -> None:
        """Measures the fastest few again, by turns with the default: the lowest of many samples is often luck.

        The kernels that save most come first, as many as there is time for; those without a trial in this session have
        no reference, and nothing that is new.
        """
        tried = [search for search in self.searches if search.task.workload in self._started]
        for search in sorted(tried, key=_saving, reverse=True):
            finalists = search.finalists(_FINALISTS)
            beaten = is_beaten(search, best_seconds(self.searches, self._known))
            if len(finalists) < 2 or search.problem is not None or beaten:
                continue
            if budget.seconds is not None and time.monotonic() - started >= budget.seconds:
                return
            libraries = [self._pool.submit(search.task.workload, search.task.function, knobs) for knobs in finalists]
            for library in libraries:
                library.exception()
            for _ in range(_CONFIRMATIONS):
                for knobs, library in zip(finalists, libraries, strict=True):
                    self._finish(_InFlight(search, knobs, library), result, started)

    def _submit(self, search: TaskSearch, knobs: Any) -> None:
        task = search.task
        if task.workload not in self._started:
            self._started.add(task.workload)
            self._queue.append(_InFlight(search, None, self._pool.submit(task.workload, task.function, None)))
        self._queue.append(_InFlight(search, knobs, self._pool.submit(task.workload, task.function, knobs)))

    def _finish(self, candidate: _InFlight, result: TuningResult, started: float) -> None:
        search = candidate.search
        if search.problem is not None:
            return
        waited = time.monotonic()
        try:
            library = candidate.library.result()
        except BuildFailure as error:
            if candidate.knobs is None:
                search.problem = f"its reference can't be built: {error}"
                return
            outcome = Outcome.failed(Status.REFUSED if error.refused else Status.BUILD_FAILURE, str(error))
        else:
            result.build_wait_seconds += time.monotonic() - waited
            if candidate.knobs is None:
                self._add_reference(search, library)
                return
            try:
                outcome = self._measurer.measure(search.task, library)
            except ReferenceFailure as error:
                search.problem = str(error)
                return
        self._take(search, candidate.knobs, outcome)
        result.trials += 1
        if self._on_trial is not None:
            self._on_trial(TrialEvent(search, outcome, result.trials, time.monotonic() - started))

    def _add_reference(self, search: TaskSearch, library: KernelLibrary) -> None:
        try:
            self._measurer.add_reference(search.task, library)
        except ReferenceFailure as error:
            search.problem = str(error)

    def _take(self, search: TaskSearch, knobs: Any, outcome: Outcome) -> None:
        record = self.bench.record(search.task, search.values(knobs), outcome, search.size)
        self._writer.append(record)
        search.add(knobs, outcome)
        self._teach(record)

    def _teach(self, record: TuningRecord) -> None:
        size = KernelSize.read(record.extra.get(SIZE_FIELD))
        if size is not None and record.median_s is not None:
            self.model.add(record.anchor, [Sample(size, record.knobs, record.median_s)])


def _is_spent(budget: Budget, given_out: int, started: float) -> bool:
    if budget.trials is not None and given_out >= budget.trials:
        return True
    searching = None if budget.seconds is None else budget.seconds * (1 - CONFIRMING_SHARE)
    return searching is not None and time.monotonic() - started >= searching


def _saving(search: TaskSearch) -> float:
    """Seconds of a run of the model that the best saves."""
    if search.default_seconds is None or search.best_seconds is None:
        return 0.0
    return search.task.calls * (search.default_seconds - search.best_seconds)


def kernel_size(function: tirx.PrimFunc) -> KernelSize:
    """The size of a kernel whose dimensions are all known."""
    work = kernel_work(function)
    written = [
        parameter
        for parameter, is_written in zip(function.params, written_parameters(function), strict=True)
        if is_written
    ]
    shape = tuple(int(dim) for dim in written[0].shape) if written else ()
    flops = work.flops if isinstance(work.flops, int) else 0
    moved = work.moved_bytes if isinstance(work.moved_bytes, int) else 0
    return KernelSize(flops, moved, shape)
