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

TUNED_ATTRIBUTE = "lepton.tuned"
"""Of a kernel for which a record has better knobs: ``record``, ``gain``, and ``refusal`` where they can't be used."""

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


class RecordedKnobs:
    """Takes knobs from a log where they are the default or a candidate of the kernel, and else the default.

    What is no candidate was found for other schedules than this version's, or was never measured.

    Attributes:
        refusal: Why the default was taken; None where the knobs were, or no schedule has asked.
    """

    def __init__(self, knobs: Any) -> None:
        self._knobs = knobs
        self.has_asked = False
        self.refusal: str | None = None

    def choose(self, default: Knobs, candidates: Callable[[], Iterable[Knobs]]) -> Knobs:
        """See ``KnobChooser``."""
        self.has_asked = True
        if type(self._knobs) is not type(default):
            self.refusal = f"the kernel's schedule has {type(default).__name__}"
        elif self._knobs != default and self._knobs not in candidates():
            self.refusal = f"its knobs ({self._knobs}) are no candidate of this version's schedule"
        else:
            return self._knobs
        return default


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
