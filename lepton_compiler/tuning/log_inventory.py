"""What there are logs of: targets and models, with the number of their records."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.tuning.log_files import model_of
from lepton_compiler.tuning.log_reader import Entry, LogContents
from lepton_compiler.tuning.record import Status


@dataclass(frozen=True)
class LoggedModel:
    """The logs of one model on one target.

    Attributes:
        target: Name of the target.
        model: The model, as its folder or file is called.
        files: How many logs there are.
        bytes: Their size.
        kernels: How many kernels were tried.
        records: How many trials there are.
        ok: How many of them gave a right result.
        last: When the latest ended.
    """

    target: str
    model: str
    files: int
    bytes: int
    kernels: int
    records: int
    ok: int
    last: str


def take_inventory(contents: LogContents) -> list[LoggedModel]:
    """One item for each target and model, in the order of their names."""
    groups: dict[tuple[str, str], list[Entry]] = defaultdict(list)
    models: dict[tuple[Path, str], str] = {}
    for entry in contents.entries:
        target = entry.record.target.name
        place = entry.log, target
        if place not in models:
            models[place] = model_of(entry.log, target)
        groups[target, models[place]].append(entry)
    return [_item(target, model, entries) for (target, model), entries in sorted(groups.items())]


def _item(target: str, model: str, entries: list[Entry]) -> LoggedModel:
    logs = {entry.log for entry in entries}
    return LoggedModel(
        target=target,
        model=model,
        files=len(logs),
        bytes=sum(log.stat().st_size for log in logs),
        kernels=len({entry.record.workload for entry in entries}),
        records=len(entries),
        ok=sum(entry.record.outcome.status is Status.OK for entry in entries),
        last=max(entry.record.time for entry in entries),
    )
