"""What tuning logs know: the best record of a kernel on a target, and all its trials.

A kernel is asked for with its target, and the target's name and CPU features must both be those of the record: a record
of another target is never given out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lepton_compiler.tuning.log_files import find_logs
from lepton_compiler.tuning.log_reader import Entry, LogContents, Problem, ProblemKind, read_logs
from lepton_compiler.tuning.ranking import Kernel, by_kernel, ranked, ranked_alike
from lepton_compiler.tuning.record import TunedTarget, TuningRecord

KnobCheck = Callable[[TuningRecord], str | None]
"""Why the knobs of a record don't fit this version's schedules, in one sentence; None where they do."""


class Database:
    """Records of some logs.

    Attributes:
        problems: Lines that were skipped, those with knobs that don't fit among them.
    """

    def __init__(self, contents: LogContents, knob_check: KnobCheck | None = None) -> None:
        entries, unfit = split_by_knobs(contents.entries, knob_check)
        self.problems: tuple[Problem, ...] = (*contents.problems, *unfit)
        self._trials = by_kernel(entries)
        self._ranked: dict[Kernel, list[Entry]] = {}

    @classmethod
    def load(cls, paths: Iterable[Path], knob_check: KnobCheck | None = None) -> Database:
        """Reads the logs at ``paths`` and below.

        Raises:
            TuningLogError: A path does not exist, holds no log, or can't be read.
        """
        return cls(read_logs(find_logs(paths)), knob_check)

    def trials(self, workload: str, target: TunedTarget) -> tuple[Entry, ...]:
        """Every trial of a kernel for exactly this target, also those that failed."""
        return tuple(self._trials.get(Kernel(workload, target), ()))

    def best(self, workload: str, target: TunedTarget) -> Entry | None:
        """The fastest right trial of a kernel for exactly this target."""
        order = self.ranked(Kernel(workload, target))
        return order[0] if order else None

    def records(self) -> Iterator[TuningRecord]:
        """Every record, kernel by kernel."""
        for entries in self._trials.values():
            for entry in entries:
                yield entry.record

    def kernels(self) -> list[Kernel]:
        """The kernels with any trial, by target and workload."""
        return sorted(self._trials, key=lambda kernel: (kernel.target.name, kernel.target.cpu_features, kernel[0]))

    def ranked(self, kernel: Kernel) -> list[Entry]:
        """The right candidates of a kernel, best first."""
        if kernel not in self._ranked:
            self._ranked[kernel] = ranked(self._trials.get(kernel, ()))
        return self._ranked[kernel]

    def ranked_alike(self, kernel: Kernel) -> list[list[Entry]]:
        """The right candidates of a kernel, best first, apart for each device and way of timing."""
        return ranked_alike(self._trials.get(kernel, ()))


def split_by_knobs(entries: Iterable[Entry], knob_check: KnobCheck | None) -> tuple[list[Entry], list[Problem]]:
    """Entries whose knobs fit, and a problem for every other one. Without a check all fit."""
    if knob_check is None:
        return list(entries), []
    fitting, problems = [], []
    for entry in entries:
        reason = knob_check(entry.record)
        if reason is None:
            fitting.append(entry)
        else:
            problems.append(Problem(ProblemKind.KNOBS, entry.log, entry.line, reason))
    return fitting, problems
