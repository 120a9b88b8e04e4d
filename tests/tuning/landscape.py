"""A kernel that nobody has to compile: its candidates, and a formula for their times."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from tvm import te, tirx

from lepton_compiler.tuning.cost_model import KernelSize
from lepton_compiler.tuning.record import Outcome
from lepton_compiler.tuning.tasks import TuningTask

ANCHOR = "landscape"
REGISTERS = 32


@dataclass(frozen=True)
class LandscapeKnobs:
    """A register tile and the pieces for cores."""

    rows: int
    vectors: int
    chunks: int


SIZE = KernelSize(2_000_000, 50_000, (1, 56, 64))
DEFAULT = LandscapeKnobs(4, 1, 1)
CANDIDATES = tuple(
    dict.fromkeys(
        [DEFAULT, *itertools.starmap(LandscapeKnobs, itertools.product(range(1, 25), range(1, 7), (1, 2, 4)))]
    )
)


def knob_values() -> Iterator[dict[str, int]]:
    """All candidates as records have them."""
    for knobs in CANDIDATES:
        yield vars(knobs).copy()


def seconds(knobs: Mapping[str, Any], size: KernelSize = SIZE) -> float:
    """More accumulators hide latency until the registers spill; rows that no tile covers are computed for nothing."""
    rows, vectors, chunks = knobs["rows"], knobs["vectors"], knobs["chunks"]
    accumulators = rows * vectors
    waiting = max(1.0, 12 / accumulators)
    spilling = 1.0 + max(0, accumulators + rows - REGISTERS) * 0.2
    height = size.output[-2]
    padded = math.ceil(height / rows) * rows / height
    return size.flops / 1e10 * waiting * spilling * padded * (1 + 0.05 * (chunks - 1)) * (1 + 1e-3 * rows)


def outcome(knobs: LandscapeKnobs, size: KernelSize = SIZE) -> Outcome:
    """A right trial."""
    return Outcome.ok(seconds(vars(knobs), size), 1e-9, 15)


@cache
def function(columns: int) -> tirx.PrimFunc:
    """Any kernel: tasks have one."""
    data = te.placeholder((4, columns), "float32", name="data")
    return te.create_prim_func([data, te.compute((4, columns), lambda i, j: data[i, j] * 2.0, name="doubled")])


def task(name: str = "kernel", calls: int = 1, candidates: tuple[Any, ...] = CANDIDATES) -> TuningTask:
    """A task over the landscape, of its own name and key."""
    return TuningTask(f"w1-{name}", (name,), calls, function(8), ANCHOR, candidates[0], candidates, SIZE.flops)


BEST = min(CANDIDATES, key=lambda knobs: seconds(vars(knobs)))
