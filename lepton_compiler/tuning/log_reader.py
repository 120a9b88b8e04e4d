"""Reads tuning logs: every record that can be read, and a problem for every line that can't.

A line that a writer was killed in has no end; the next writer starts a line of its own, so that nothing behind it is
lost.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from lepton_compiler.core.errors import TuningLogError
from lepton_compiler.tuning.record import TuningRecord
from lepton_compiler.tuning.record_line import LineError, NewerFormatError, RecordParser


class Entry(NamedTuple):
    """A record and where it stands; lines count from 1."""

    record: TuningRecord
    log: Path
    line: int


class ProblemKind(Enum):
    """Why a line was skipped."""

    TORN = "torn"
    CORRUPT = "corrupt"
    NEWER = "newer"
    KNOBS = "knobs"


@dataclass(frozen=True)
class Problem:
    """A line that was skipped.

    Attributes:
        kind: Why, in one word.
        log: The file.
        line: The line, from 1.
        reason: Why, in one sentence.
    """

    kind: ProblemKind
    log: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.log}:{self.line}: {self.reason}"


@dataclass(frozen=True)
class LogContents:
    """What is in some logs.

    Attributes:
        entries: The records, in the order of files and lines.
        problems: The lines that are none.
    """

    entries: tuple[Entry, ...]
    problems: tuple[Problem, ...]


_SHOWN_PROBLEMS = 5


def problem_sentences(problems: Sequence[Problem]) -> list[str]:
    """What users are told about lines that were skipped; of many the first are named."""
    sentences = [f"{problem}; the line is skipped" for problem in problems[:_SHOWN_PROBLEMS]]
    if len(problems) > _SHOWN_PROBLEMS:
        more = len(problems) - _SHOWN_PROBLEMS
        sentences.append(f"{more} more lines are skipped; `lepton logs verify` lists them")
    return sentences


def read_logs(logs: Iterable[Path]) -> LogContents:
    """Reads logs one after the other.

    Raises:
        TuningLogError: A file can't be read at all.
    """
    parser = RecordParser()
    found: list[Entry | Problem] = []
    with _without_garbage_collection():
        for log in logs:
            found += _read(log, read_lines(log), parser)
    return LogContents(
        tuple(item for item in found if isinstance(item, Entry)),
        tuple(item for item in found if isinstance(item, Problem)),
    )


def read_lines(log: Path) -> list[bytes]:
    """A log's lines, each with its newline; the last lacks it where a writer was killed.

    Raises:
        TuningLogError: The file can't be read.
    """
    try:
        data = log.read_bytes()
    except OSError as error:
        raise TuningLogError(f"the tuning log {log} can't be read: {error.strerror or error}") from error
    # Not splitlines(), which also splits at bytes that may stand in damaged lines.
    lines = [line + b"\n" for line in data.split(b"\n")]
    lines[-1] = lines[-1][:-1]
    return lines if lines[-1] else lines[:-1]


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Keeps Python from looking for cycles among ever more records, which have none: that takes half of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _read(log: Path, lines: list[bytes], parser: RecordParser) -> Iterator[Entry | Problem]:
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            yield Entry(parser.parse(line), log, number)
        except NewerFormatError as error:
            yield Problem(ProblemKind.NEWER, log, number, str(error))
        except LineError as error:
            if line.endswith(b"\n"):
                yield Problem(ProblemKind.CORRUPT, log, number, str(error))
            else:
                torn = "the last line is torn: its writer was stopped in the middle, or is still writing"
                yield Problem(ProblemKind.TORN, log, number, torn)
