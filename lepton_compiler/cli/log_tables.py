"""Tuning records as cells of tables and as JSON documents."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lepton_compiler.tuning.log_reader import Entry
    from lepton_compiler.tuning.record import TunedTarget, TuningRecord

OUTCOME_COLUMNS = ("target", "kernel", "anchor", "median>", "spread>", "knobs or reason", "device")

_KEY_CHARACTERS = 11
"""Of a workload key in tables: enough to tell kernels apart, and ``--workload`` takes it."""


def outcome_cells(record: TuningRecord) -> tuple[str, ...]:
    """What was tried on what, and how it went, for ``OUTCOME_COLUMNS``."""
    outcome, times = record.outcome, record.outcome.times
    ending = (
        (outcome.status.value, "", f"{outcome.reason}; {knobs_text(record)}")
        if times is None
        else (seconds_text(times.median_s), seconds_text(times.spread_s), knobs_text(record))
    )
    key = record.workload[:_KEY_CHARACTERS]
    return record.target.name, key, record.anchor, *ending, record.device.name


def knobs_text(record: TuningRecord) -> str:
    """``"tile.rows=1 chunks=4"``."""
    return " ".join(f"{name}={'none' if value is None else value}" for name, value in record.knobs.items())


def seconds_text(seconds: float) -> str:
    """``"125.0 us"``, from nanoseconds to seconds."""
    for limit, factor, unit in ((1e-6, 1e9, "ns"), (1e-3, 1e6, "us"), (1.0, 1e3, "ms")):
        if seconds < limit:
            return f"{seconds * factor:.1f} {unit}"
    return f"{seconds:.1f} s"


def place_text(entry: Entry) -> str:
    """Where a record stands: ``"resnet50/records.jsonl:12"``."""
    return f"{entry.log.parent.name}/{entry.log.name}:{entry.line}"


def entry_json(entry: Entry) -> dict[str, Any]:
    """A record as its line has it, and where it stands."""
    from lepton_compiler.tuning.log_export import as_document

    return as_document(entry)


def target_json(target: TunedTarget) -> dict[str, Any]:
    """A target as records have it."""
    return {"name": target.name, "cpu_features": list(target.cpu_features)}
