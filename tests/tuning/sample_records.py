"""Records and logs to test with."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lepton_compiler.tuning.log_writer import LogWriter
from lepton_compiler.tuning.record import Device, Outcome, Status, TunedTarget, TuningRecord, Versions

V3 = TunedTarget("x86-64-v3", ("avx2", "fma"))
V4 = TunedTarget("x86-64-v4", ("avx512bw", "avx512f", "fma"))
LAB = Device("lab-1", "AMD EPYC 9R14", 2)
BOARD = Device("desk", "Intel(R) Xeon(R) Gold 6240", 4)

RECORD = TuningRecord(
    workload="w1-0123456789abcdef0123456789abcdef",
    anchor="packed_convolution",
    knobs={"tile.vectors": 2, "tile.rows": 1, "tile.columns": 6, "chunks": 4},
    outcome=Outcome.ok(1.25e-4, 3e-6, 20),
    target=V3,
    device=LAB,
    versions=Versions("0.1.0", "0.27.0.post1", "22"),
    seed=7,
    time="2026-01-31T12:00:00Z",
)


def record(median_s: float = 1e-4, chunks: int = 4, **changes: Any) -> TuningRecord:
    """``RECORD`` with another time and knob, and other fields."""
    base = dataclasses.replace(RECORD, outcome=Outcome.ok(median_s, 1e-6, 20), knobs={**RECORD.knobs, "chunks": chunks})
    return dataclasses.replace(base, **changes)


def wrong(chunks: int, **changes: Any) -> TuningRecord:
    """A trial of a candidate that computed something else."""
    return record(chunks=chunks, outcome=Outcome.failed(Status.WRONG_RESULT, "12 of 64 elements differ"), **changes)


def write_log(folder: Path, records: Iterable[TuningRecord]) -> Path:
    """A log of these records in ``folder``."""
    with LogWriter(folder) as writer:
        for item in records:
            writer.append(item)
        return writer.path
