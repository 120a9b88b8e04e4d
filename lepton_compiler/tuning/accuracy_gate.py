"""The accuracy gate: choices that change numbers are kept only as long as the whole model stays exact enough.

    error of the model with all choices > limit
        --> the fewest of the worst choices, found by halves, whose refusal brings it below
        --> what takes their place may change numbers too, so the same again, until it holds or nothing is left

A choice is a layer's algorithm that is not the most exact one. What it is does not matter here: a choice is named by
the workload key of its kernel, and a record with the status ``inexact_in_model`` refuses it to every compilation with
these logs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lepton_compiler.passes.winograd.choose_algorithm import expected_error
from lepton_compiler.targets.cpu.knobs import CandidateCollector
from lepton_compiler.targets.cpu.schedule import schedule_function
from lepton_compiler.targets.spec import TargetSpec
from lepton_compiler.tuning.algorithm_layers import Alternative, Layer
from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.lowered_model import LoweredModel
from lepton_compiler.tuning.record import Outcome, Status
from lepton_compiler.tuning.tasks import TuningTask
from lepton_compiler.tuning.tuner import Bench


@dataclass(frozen=True)
class OutputError:
    """The least exact output of a model.

    Attributes:
        output: Its name.
        share: Largest error as a share of the output's range; infinite where it is no number in one of the two alone.
    """

    output: str
    share: float


@dataclass(frozen=True)
class Choice:
    """A kernel whose algorithm changes numbers.

    Attributes:
        alternative: The algorithm.
        layers: The layers that it computes.
    """

    alternative: Alternative
    layers: tuple[str, ...]

    @property
    def workload(self) -> str:
        """What refuses it."""
        return self.alternative.workload


@dataclass(frozen=True)
class GateReport:
    """What the gate found.

    Attributes:
        max_error: The limit, as a share of each output's range.
        before: The error with all choices.
        after: The error with those that are kept.
        kept: Choices that change numbers and stay.
        refused: Choices that were taken back.
    """

    max_error: float
    before: OutputError
    after: OutputError
    kept: tuple[Choice, ...]
    refused: tuple[Choice, ...]

    @property
    def holds(self) -> bool:
        """Whether the model is exact enough in the end."""
        return self.after.share <= self.max_error


Refused = Sequence[Choice]
"""Choices that may not be taken, in the order in which they were refused."""


def hold_to_error(
    max_error: float,
    error_without: Callable[[Refused], OutputError],
    choices_without: Callable[[Refused], Sequence[Choice]],
) -> GateReport:
    """Finds the choices that have to go.

    Args:
        max_error: Largest error of an output, as a share of its range.
        error_without: The model's error where some choices are refused.
        choices_without: What is chosen then, the most harmful first.
    """
    before = after = error_without(())
    refused: list[Choice] = []
    while after.share > max_error:
        suspects = [choice for choice in choices_without(refused) if choice not in refused]
        if not suspects:
            break
        count, after = _fewest(max_error, len(suspects), partial(_error, error_without, refused, suspects))
        refused += suspects[:count]
    return GateReport(max_error, before, after, tuple(choices_without(refused)), tuple(refused))


def _error(
    error_without: Callable[[Refused], OutputError], refused: Refused, suspects: Sequence[Choice], count: int
) -> OutputError:
    return error_without([*refused, *suspects[:count]])


def _fewest(max_error: float, most: int, error_of: Callable[[int], OutputError]) -> tuple[int, OutputError]:
    """The smallest number from 1 to ``most`` with which the error is small enough, by halves, and the error.

    It is ``most`` where none is enough.
    """
    low, high = 1, most
    measured: dict[int, OutputError] = {}
    while low < high:
        middle = (low + high) // 2
        measured[middle] = error_of(middle)
        if measured[middle].share <= max_error:
            high = middle
        else:
            low = middle + 1
    return low, measured[low] if low in measured else error_of(low)


def inexact_choices(model: LoweredModel) -> list[Choice]:
    """The choices of a model that change numbers: the least exact algorithms first, and of those what computes most."""
    layers: dict[str, tuple[Alternative, list[Layer]]] = {}
    for layer, made in model.inexact():
        layers.setdefault(made.workload, (made, []))[1].append(layer)
    found = [Choice(made, tuple(layer.name for layer in its)) for made, its in layers.values()]
    return sorted(found, key=lambda choice: (-expected_error(choice.alternative.algorithm), -len(choice.layers)))


def write_refusals(bench: Bench, choices: Collection[Choice], reason: str, folder: Path) -> None:
    """Writes down that these choices cost the model too much accuracy.

    Raises:
        TuningLogError: A record could not be written.
    """
    if choices:
        with LogWriter(folder) as writer:
            for choice in choices:
                task = _task(choice, bench.target)
                outcome = Outcome.failed(Status.INEXACT_IN_MODEL, reason)
                writer.append(bench.record(task, to_values(task.default), outcome, None))


def with_refusals(bench: Bench, logs: Sequence[Path], choices: Refused, use: Callable[[Sequence[Path]], Any]) -> Any:
    """What ``use`` makes of logs that refuse these choices as well; nothing is written to ``logs``."""
    with tempfile.TemporaryDirectory(prefix="lepton-gate-") as folder:
        write_refusals(bench, choices, "tried", Path(folder))
        return use([*logs, Path(folder)] if choices else logs)


def _task(choice: Choice, target: TargetSpec) -> TuningTask:
    """The kernel with its default knobs, for a record; it need not be one that can be tuned."""
    made = choice.alternative
    collector = CandidateCollector[Any]()
    scheduled = schedule_function(made.function, target, collector)
    default = collector.default
    return TuningTask(made.workload, choice.layers, 1, made.function, scheduled.anchor, default, (default,), None)
