"""Merges tuning logs of several people or boards: the best by target and workload, each with its origin.

Records are copied as they are, with their device, versions, seed and time. Nothing is overwritten: what the
destination lacks is appended to it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.tuning.log_files import SUFFIX, find_logs, log_folder, model_of
from lepton_compiler.tuning.log_reader import Entry, Problem, read_logs
from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.ranking import by_kernel, ranked, refutations
from lepton_compiler.tuning.record_line import format_record


@dataclass(frozen=True)
class MergeReport:
    """What a merge did.

    Attributes:
        read: Records in the sources.
        written: Records that were appended, by the file that they went to.
        problems: Lines of sources and destination that could not be read.
    """

    read: int
    written: dict[Path, int]
    problems: tuple[Problem, ...]


def merge_logs(sources: Iterable[Path], destination: Path, keep: int | None = 1) -> MergeReport:
    """Appends records of ``sources`` to the logs below ``destination``.

    Args:
        sources: Logs, and folders of them.
        destination: Root of a tree of logs, made where it is missing.
        keep: How many candidates of a kernel and target are taken, best first over sources and destination together;
            trials with a wrong result are taken as well. None takes every record.

    Raises:
        TuningLogError: A source can't be read, or the destination can't be written.
    """
    found = read_logs(find_logs(sources))
    present = read_logs(sorted(destination.rglob(f"*{SUFFIX}")))
    here = _by_folder(present.entries, destination)
    written: dict[Path, int] = {}
    for folder, entries in sorted(_by_folder(found.entries, destination).items()):
        missing = _missing_entries(entries, here.get(folder, []), keep)
        if missing:
            written[_append_all(folder, missing)] = len(missing)
    return MergeReport(len(found.entries), written, (*found.problems, *present.problems))


def _by_folder(entries: Iterable[Entry], root: Path) -> dict[Path, list[Entry]]:
    folders: dict[Path, list[Entry]] = defaultdict(list)
    for entry in entries:
        target = entry.record.target.name
        folders[log_folder(root, target, model_of(entry.log, target))].append(entry)
    return folders


def _missing_entries(entries: list[Entry], present: list[Entry], keep: int | None) -> list[Entry]:
    """Those of ``entries`` that are chosen and not present, each once."""
    chosen = entries if keep is None else best_entries([*present, *entries], keep)
    known = {format_record(entry.record) for entry in present}
    missing: dict[bytes, Entry] = {}
    for entry in chosen:
        line = format_record(entry.record)
        if line not in known:
            missing.setdefault(line, entry)
    return list(missing.values())


def best_entries(entries: Iterable[Entry], keep: int) -> list[Entry]:
    """Of every kernel the ``keep`` best candidates, and the trials with a wrong result, which keep others from it."""
    chosen: list[Entry] = []
    for trials in by_kernel(entries).values():
        chosen += ranked(trials)[:keep]
        chosen += [entry for found in refutations(trials).values() for entry in found]
    return chosen


def _append_all(folder: Path, entries: list[Entry]) -> Path:
    with LogWriter(folder) as writer:
        for entry in entries:
            writer.append(entry.record)
    return writer.path
