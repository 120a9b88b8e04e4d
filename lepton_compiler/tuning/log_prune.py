"""Prunes tuning logs: drops the trials that a better one of the same folder dominates.

What stays of a kernel and target are its best candidates and the trials with a wrong result, which keep others from
choosing them; where no trial is right, everything stays. Lines that can't be read stay unless they are asked to go: a
newer version may read them.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.core.result_files import complete_file
from lepton_compiler.tuning.log_merge import best_entries
from lepton_compiler.tuning.log_reader import Entry, Problem, ProblemKind, read_lines, read_logs
from lepton_compiler.tuning.log_writer import locked_log
from lepton_compiler.tuning.ranking import by_kernel, ranked


@dataclass(frozen=True)
class PruneReport:
    """What a pruning drops.

    Attributes:
        kept: Records that stay.
        dropped: Records that go.
        damaged: Lines that go because they can't be read.
        problems: Lines that can't be read, whether they go or not.
    """

    kept: int
    dropped: int
    damaged: int
    problems: tuple[Problem, ...]


def prune_logs(logs: Iterable[Path], keep: int, *, damaged: bool = False, dry_run: bool = False) -> PruneReport:
    """Prunes each folder's logs for itself; a log is replaced whole or not at all.

    Args:
        logs: The files.
        keep: Candidates that stay of each kernel and target.
        damaged: Whether torn and corrupt lines go as well. Lines of a newer format never do.
        dry_run: Whether the logs stay as they are, and only the report is made.

    Raises:
        TuningLogError: A log is being written by somebody, or can't be read.
        OutputError: A log can't be replaced.
    """
    folders: dict[Path, list[Path]] = defaultdict(list)
    for log in logs:
        folders[log.parent].append(log)
    reports = [_prune_folder(files, keep, damaged, dry_run) for files in folders.values()]
    return PruneReport(
        sum(report.kept for report in reports),
        sum(report.dropped for report in reports),
        sum(report.damaged for report in reports),
        tuple(problem for report in reports for problem in report.problems),
    )


def _prune_folder(logs: list[Path], keep: int, damaged: bool, dry_run: bool) -> PruneReport:
    with ExitStack() as locks:
        if not dry_run:
            for log in logs:
                locks.enter_context(locked_log(log))
        contents = read_logs(logs)
        dominated = dominated_entries(contents.entries, keep)
        bad = [p for p in contents.problems if damaged and p.kind in (ProblemKind.TORN, ProblemKind.CORRUPT)]
        if not dry_run:
            _drop_lines([(item.log, item.line) for item in (*dominated, *bad)])
    kept = len(contents.entries) - len(dominated)
    return PruneReport(kept, len(dominated), len(bad), contents.problems)


def dominated_entries(entries: Iterable[Entry], keep: int) -> list[Entry]:
    """Trials of kernels that have a right one, but for their ``keep`` best candidates and wrong results."""
    tuned = [entry for trials in by_kernel(entries).values() if ranked(trials) for entry in trials]
    staying = {(entry.log, entry.line) for entry in best_entries(tuned, keep)}
    return [entry for entry in tuned if (entry.log, entry.line) not in staying]


def _drop_lines(places: Iterable[tuple[Path, int]]) -> None:
    numbers: dict[Path, set[int]] = defaultdict(set)
    for log, line in places:
        numbers[log].add(line)
    for log, dropped in numbers.items():
        lines = [line for number, line in enumerate(read_lines(log), 1) if number not in dropped]
        # A link keeps leading to its file.
        with complete_file(log.resolve()) as file:
            file.writelines(lines)
            file.flush()
            os.fsync(file.fileno())
