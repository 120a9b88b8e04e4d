"""Measurement: a candidate's outputs compared with a reference on the device, and only then its time.

The reference is the same kernel with the generic schedule, which shares no code with the schedules that are tuned. It
runs once a kernel; its outputs stay on the device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from lepton_compiler.core.errors import DeviceError
from lepton_compiler.devices import protocol
from lepton_compiler.devices.agent_client import AgentRefusal
from lepton_compiler.devices.arrays import ArrayType, SeededArray, StoredArray
from lepton_compiler.devices.device import Device
from lepton_compiler.devices.timing_summary import summarize
from lepton_compiler.devices.trial import Argument, Input, KernelLibrary, Limits, Output, Timing, Trial, TrialResult
from lepton_compiler.tuning.record import Outcome, Status
from lepton_compiler.tuning.tasks import TuningTask, written_parameters

Result = TypeVar("Result")

TOLERANCE = 1e-5
"""Largest error of a candidate's output, as a share of its range: another order of the same float32 sums."""

COLD_BYTES = 64 << 20
"""Memory that is written to empty every cache."""

_REFERENCE_LIMITS = Limits(seconds=120.0)
_CANDIDATE_LIMITS = Limits(seconds=30.0)
_STATUS = {
    protocol.Outcome.WRONG: Status.WRONG_RESULT,
    protocol.Outcome.CRASHED: Status.CRASH,
    protocol.Outcome.TIMEOUT: Status.TIMEOUT,
    protocol.Outcome.MEMORY: Status.CRASH,
    protocol.Outcome.FAILED: Status.CRASH,
    protocol.Outcome.UNLOADABLE: Status.BUILD_FAILURE,
}


class _TrialLost(Exception):
    """A trial took the agent with it, twice, or the agent refused it, and the device is well."""


class ReferenceFailure(Exception):
    """The reference of a kernel did not run, so none of its candidates can be checked."""


@dataclass(frozen=True)
class TimingPlan:
    """How candidates are timed.

    Attributes:
        threads: Threads that run a candidate.
        flush_bytes: Memory that is written before each call, so that operands lie in no nearer cache; 0 for none.
        samples: Samples of one trial, at the most.
        budget_ms: Time of one trial's samples, about.
    """

    threads: int = 1
    flush_bytes: int = 0
    samples: int = 15
    budget_ms: float = 250.0

    def timing(self) -> Timing:
        """As a trial has it."""
        return Timing(self.samples, min_repeat_ms=2.0, budget_ms=self.budget_ms, flush_bytes=self.flush_bytes)


class Measurer:
    """Measures candidates on one device."""

    def __init__(self, device: Device, plan: TimingPlan, seed: int) -> None:
        self._device = device
        self._plan = plan
        self._seed = seed
        self._references: dict[str, KernelLibrary] = {}
        self._outputs: dict[str, tuple[StoredArray, ...]] = {}
        self._brought: set[SeededArray] = set()

    def has_reference(self, task: TuningTask) -> bool:
        """Whether ``add_reference`` was called for the task."""
        return task.workload in self._references

    def add_reference(self, task: TuningTask, library: KernelLibrary) -> None:
        """Runs the reference of a task.

        Raises:
            ReferenceFailure: It did not run to its end.
            DeviceError: The device can't be reached any more.
        """
        self._references[task.workload] = library
        try:
            self._twice(lambda: self._run_reference(task))
        except _TrialLost as error:
            raise ReferenceFailure(f"the reference of {task.title} did not run: {error}") from error

    def measure(self, task: TuningTask, library: KernelLibrary) -> Outcome:
        """Checks and times one candidate; where contact with the device is lost, once more.

        Raises:
            ReferenceFailure: The device was started anew, and there the reference did not run to its end.
            DeviceError: The device can't be reached any more.
        """
        try:
            return self._twice(lambda: self._measure(task, library))
        except _TrialLost as error:
            return Outcome.failed(Status.CRASH, str(error))

    def _twice(self, ask: Callable[[], Result]) -> Result:
        """The result of ``ask``, which is asked once more where contact is lost: that may be anybody's fault.

        Raises:
            _TrialLost: Contact was lost again, or the agent refused, and it answers other requests.
            DeviceError: The device can't be reached any more.
        """
        try:
            return ask()
        except AgentRefusal:
            # Its memory may be full of what other kernels need.
            self._device.forget([*self._brought, *(array for kept in self._outputs.values() for array in kept)])
            self._outputs.clear()
        except DeviceError:
            # The agent that starts now has no reference.
            self._outputs.clear()
        try:
            return ask()
        except DeviceError as error:
            self._outputs.clear()
            self._device.describe()
            raise _TrialLost(str(error)) from error

    def _measure(self, task: TuningTask, library: KernelLibrary) -> Outcome:
        if task.workload not in self._outputs:
            self._run_reference(task)
        trial = Trial(
            library,
            self._arguments(task, library, self._outputs[task.workload]),
            tolerance=TOLERANCE,
            timing=self._plan.timing(),
            threads=self._plan.threads,
            limits=_CANDIDATE_LIMITS,
        )
        return self._outcome(self._device.run(trial))

    def _outcome(self, result: TrialResult) -> Outcome:
        if result.outcome is protocol.Outcome.WRONG:
            return Outcome.failed(Status.WRONG_RESULT, _difference(result))
        if result.samples is None:
            return Outcome.failed(_STATUS[result.outcome], result.message or result.outcome.name.lower())
        # One thread's own time is not disturbed by what else the machine does.
        summary = summarize(result.samples, "cpu" if self._plan.threads == 1 else "wall")
        return Outcome.ok(summary.seconds, summary.seconds * summary.spread, summary.kept)

    def _run_reference(self, task: TuningTask) -> None:
        library = self._references[task.workload]
        arguments = self._arguments(task, library, None)
        result = self._device.run(Trial(library, arguments, limits=_REFERENCE_LIMITS, keep_outputs=True))
        kept = tuple(array for array in result.kept if array is not None)
        if not result.is_right or not kept:
            raise ReferenceFailure(
                f"the reference of {task.title} did not run: {result.message or result.outcome.name}"
            )
        self._outputs[task.workload] = kept

    def _arguments(
        self, task: TuningTask, library: KernelLibrary, references: tuple[StoredArray, ...] | None
    ) -> list[Argument]:
        inputs = iter(self._inputs(task, library))
        outputs = iter(references or ())
        arguments: list[Argument] = []
        for type_, written in zip(_array_types(library), written_parameters(task.function), strict=True):
            arguments.append(Output(type_, next(outputs, None)) if written else Input(next(inputs)))
        return arguments

    def _inputs(self, task: TuningTask, library: KernelLibrary) -> list[SeededArray]:
        """What the kernel reads: between -1 and 1, another seed for each."""
        read = [
            type_
            for type_, written in zip(_array_types(library), written_parameters(task.function), strict=True)
            if not written
        ]
        inputs = [SeededArray(type_, self._seed + number) for number, type_ in enumerate(read)]
        self._brought.update(inputs)
        return inputs


def _difference(result: TrialResult) -> str:
    """How a candidate's outputs differ from the reference."""
    compared = [comparison for comparison in result.comparisons if comparison is not None]
    errors = [entry.max_error / entry.range if entry.range else entry.max_error for entry in compared]
    mismatched = sum(entry.mismatched for entry in compared)
    words = f"largest error {max(errors, default=0.0):.3g} of the range, {TOLERANCE:g} allowed"
    return f"{words}; {mismatched} elements are finite in one alone" if mismatched else words


def _array_types(library: KernelLibrary) -> list[ArrayType]:
    """Types of the parameters; tasks have no kernels with integers among them."""
    return [type_ for type_ in library.parameters if type_ is not None]
