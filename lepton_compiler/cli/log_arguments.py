"""What the verbs of ``lepton logs`` are given: paths, filters, and the warnings about lines that were skipped."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lepton_compiler.cli.options import complete_target, file_path
from lepton_compiler.cli.rendering import progress, warn
from lepton_compiler.core.errors import TargetError, TuningLogError

if TYPE_CHECKING:
    from lepton_compiler.tuning.log_reader import Entry, LogContents, Problem

_DEFAULT_PATHS = (Path("tuning_logs"),)


def paths_argument(command: Callable[..., Any]) -> Callable[..., Any]:
    """``[PATHS]...``: logs and folders of them, ``tuning_logs`` where none is given."""
    return click.argument("paths", nargs=-1, type=file_path)(command)


def read(paths: Sequence[Path]) -> LogContents:
    """Everything in the logs at ``paths``.

    Raises:
        TuningLogError: There is none, or one can't be read.
    """
    from lepton_compiler.tuning.log_files import find_logs
    from lepton_compiler.tuning.log_reader import read_logs

    with progress("read the logs"):
        return read_logs(find_logs(paths or _DEFAULT_PATHS))


def report_problems(problems: Sequence[Problem]) -> None:
    """Warns about lines that were skipped."""
    from lepton_compiler.tuning.log_reader import problem_sentences

    for sentence in problem_sentences(problems):
        warn(sentence)


@dataclass(frozen=True)
class LogFilter:
    """Which records a user wants to see; None is all.

    Attributes:
        target: Name of a target, or ``native``.
        workload: The beginning of workload keys.
        anchor: Name of a schedule.
    """

    target: str | None
    workload: str | None
    anchor: str | None

    def apply(self, entries: Iterable[Entry]) -> list[Entry]:
        """The entries that fit.

        Raises:
            TuningLogError: None fits, though there are some; the message says what there is instead.
        """
        entries = list(entries)
        target = _resolved(self.target)
        for option, wanted, value in (
            ("--target", target, lambda entry: entry.record.target.name),
            ("--anchor", self.anchor, lambda entry: entry.record.anchor),
        ):
            if wanted is not None:
                present = sorted({value(entry) for entry in entries})
                entries = [entry for entry in entries if value(entry) == wanted]
                if present and not entries:
                    raise TuningLogError(f'no record has {option} "{wanted}"; there are: {", ".join(present)}')
        if self.workload is not None:
            fitting = [entry for entry in entries if entry.record.workload.startswith(self.workload)]
            if entries and not fitting:
                raise TuningLogError(f'no record has a workload key that begins with "{self.workload}"')
            entries = fitting
        return entries

    def applied(self, contents: LogContents) -> LogContents:
        """Contents with the entries that fit."""
        import dataclasses

        return dataclasses.replace(contents, entries=tuple(self.apply(contents.entries)))


def _resolved(target: str | None) -> str | None:
    """The target's name; records may well be of targets that this version doesn't know."""
    if target != "native":
        return target
    from lepton_compiler.targets.registry import UnknownTargetError, native_target

    try:
        return native_target().name
    except UnknownTargetError as error:
        raise TargetError(str(error)) from error


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """``--target``, ``--workload`` and ``--anchor``, given to the command as ``log_filter``."""

    @click.option("--target", metavar="NAME", shell_complete=complete_target, help="Only records for this target.")
    @click.option("--workload", metavar="KEY", help="Only kernels whose key begins so.")
    @click.option("--anchor", metavar="NAME", help="Only records of this schedule.")
    @functools.wraps(command)
    def filtered(*, target: str | None, workload: str | None, anchor: str | None, **others: Any) -> Any:
        return command(log_filter=LogFilter(target, workload, anchor), **others)

    return filtered
