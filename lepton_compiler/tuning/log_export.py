"""Records for other programs: one JSON document with everything, or a CSV table with one row a record."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from typing import Any

from lepton_compiler.tuning.log_reader import Entry
from lepton_compiler.tuning.record_line import as_object

CSV_COLUMNS = (
    "target",
    "cpu_features",
    "workload",
    "anchor",
    "knobs",
    "status",
    "median_s",
    "spread_s",
    "samples",
    "reason",
    "device",
    "processor",
    "cores",
    "lepton",
    "tvm",
    "llvm",
    "seed",
    "time",
    "log",
    "line",
)


def as_json(entries: Iterable[Entry]) -> str:
    """A list of objects, each a record with where it stands."""
    return json.dumps([as_document(entry) for entry in entries], indent=2) + "\n"


def as_document(entry: Entry) -> dict[str, Any]:
    """A record as its line has it, and where it stands."""
    return {"log": str(entry.log), "line": entry.line, "record": as_object(entry.record)}


def as_csv(entries: Iterable[Entry]) -> str:
    """A header and one row a record, as RFC 4180 says; CPU features stand with spaces between them, knobs as JSON."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(CSV_COLUMNS)
    writer.writerows(_row(entry) for entry in entries)
    return text.getvalue()


def _row(entry: Entry) -> tuple[object, ...]:
    record = entry.record
    outcome, target, device, versions = record.outcome, record.target, record.device, record.versions
    times = (
        ("", "", "")
        if outcome.times is None
        else (outcome.times.median_s, outcome.times.spread_s, outcome.times.samples)
    )
    return (
        target.name,
        " ".join(target.cpu_features),
        record.workload,
        record.anchor,
        json.dumps(dict(record.knobs)),
        outcome.status.value,
        *times,
        outcome.reason or "",
        device.name,
        device.processor,
        device.cores,
        versions.lepton,
        versions.tvm,
        versions.llvm,
        record.seed,
        record.time,
        str(entry.log),
        entry.line,
    )
