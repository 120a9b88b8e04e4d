"""Knobs of schedules: the closed form's values, a record's, or what a search picks among the same candidates.

A schedule describes its knobs by a frozen dataclass, computes their default, and lists the candidates that make sense
for the kernel at hand. ``choose`` is the one place where it asks which to take.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from tvm import tirx

from lepton_compiler.targets.spec import TargetSpec

Knobs = TypeVar("Knobs")

CHUNK_FACTORS = (1, 2, 4)
"""Multiples of the pieces that the cores need. Fewer would leave cores idle that the search did not see."""


@dataclass(frozen=True)
class TunedChoice:
    """Knobs that a search has found for one kernel.

    Attributes:
        anchor: Whose knobs they are.
        knobs: The knobs.
        source: The record that says so.
        gain: The default's time over theirs, as measured.
    """

    anchor: str
    knobs: Any
    source: str
    gain: float

    def __str__(self) -> str:
        return f"tuned by {self.source}, {self.gain:.2f} times as fast as the default"


class KnobSource(Protocol):
    """Who knows better knobs than the default."""

    def find(self, function: tirx.PrimFunc, target: TargetSpec) -> TunedChoice | None:
        """Those of one unscheduled kernel; None where it knows none."""
        ...


class KnobChooser(Protocol):
    """Who picks the knobs of one kernel."""

    def choose(self, default: Knobs, candidates: Callable[[], Iterable[Knobs]]) -> Knobs:
        """Picks the default or a candidate; the default may be missing among the candidates."""
        ...


def choose(knobs: Knobs | KnobChooser | None, default: Knobs, candidates: Callable[[], Iterable[Knobs]]) -> Knobs:
    """The knobs to schedule with: given ones as they are, else the chooser's pick, else the default."""
    if knobs is None:
        return default
    if isinstance(knobs, type(default)):
        return knobs
    return knobs.choose(default, candidates)  # type: ignore[union-attr]


class CandidateCollector(Generic[Knobs]):
    """Takes the default, and remembers what else there was.

    Attributes:
        default: What the closed form gives; None until a schedule has asked.
        candidates: Every candidate once, the default first.
    """

    def __init__(self) -> None:
        self.default: Knobs | None = None
        self.candidates: tuple[Knobs, ...] = ()

    def choose(self, default: Knobs, candidates: Callable[[], Iterable[Knobs]]) -> Knobs:
        """See ``KnobChooser``."""
        self.default = default
        self.candidates = tuple(dict.fromkeys([default, *candidates()]))
        return default
