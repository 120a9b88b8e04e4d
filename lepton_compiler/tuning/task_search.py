"""TaskSearch: which candidate of one kernel to try next, and what is known of it so far.

The default comes first. Then the cost model's favourites among all candidates that were not tried, some random ones
between them, so that the model also learns where it is wrong; while the model knows too little, neighbours of the best,
which differ in one knob. The candidates of a kernel are some hundreds, so all of them are ranked, and none twice.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.record import REFUTED, KnobValue, Outcome
from lepton_compiler.tuning.tasks import TuningTask

if TYPE_CHECKING:
    # The model imports XGBoost, which compiling with a log does without.
    from lepton_compiler.tuning.cost_model import CostModel, KernelSize

_RANDOM_SHARE = 0.15
SIGNIFICANT_GAIN = 0.01
"""A candidate has to be faster than the default by this share to be called better: below it is noise."""


class TaskSearch:
    """The search of one task.

    Attributes:
        task: The kernel.
        size: What the cost model knows of it.
        curve: Best seconds after each trial, confirmations among them; None before the first right one.
        since_gain: Trials since the last significant gain.
        problem: Why the kernel can't be tuned; None while it can.
    """

    def __init__(self, task: TuningTask, size: KernelSize, seed: int) -> None:
        self.task = task
        self.size = size
        self.curve: list[float | None] = []
        self.since_gain = 0
        self.problem: str | None = None
        self.best: Any = None
        self.best_seconds: float | None = None
        self.default_seconds: float | None = None
        self._random = random.Random(f"{seed} {task.workload}")
        self._values = {knobs: to_values(knobs) for knobs in task.candidates}
        self._open: dict[Any, None] = dict.fromkeys(task.candidates)
        self._seconds: dict[Any, float] = {}
        self._tried: set[Any] = set()
        self._refuted: set[Any] = set()

    @property
    def is_exhausted(self) -> bool:
        """Whether every candidate was tried or given out."""
        return not self._open or self.problem is not None

    @property
    def tried(self) -> int:
        """How many candidates were tried; those that were measured again count once."""
        return len(self._tried)

    @property
    def gain(self) -> float:
        """Default's time over the best's: 1 where nothing better was found."""
        if self.default_seconds is None or self.best_seconds is None:
            return 1.0
        return max(1.0, self.default_seconds / self.best_seconds)

    def values(self, knobs: Any) -> Mapping[str, KnobValue]:
        """Knobs as records have them."""
        return self._values[knobs]

    def next(self, model: CostModel) -> Any:
        """The next candidate, which is never given out again; the caller looks at ``is_exhausted`` first."""
        chosen = self._choose(model)
        del self._open[chosen]
        return chosen

    def know(self, knobs: Mapping[str, KnobValue], outcome: Outcome) -> None:
        """Takes a record from before for a trial of this one; knobs that no candidate has are left alone."""
        known = next((candidate for candidate, values in self._values.items() if values == knobs), None)
        if known is not None:
            self._open.pop(known, None)
            self.add(known, outcome)

    def add(self, knobs: Any, outcome: Outcome) -> None:
        """Takes the outcome of a trial."""
        self._tried.add(knobs)
        seconds = None if outcome.times is None else outcome.times.median_s
        if seconds is not None:
            self._seconds[knobs] = min(seconds, self._seconds.get(knobs, seconds))
        elif outcome.status in REFUTED:
            # Right, or fast, at another time does not help.
            self._refuted.add(knobs)
        if knobs in self._refuted:
            self._seconds.pop(knobs, None)
        before = self.best_seconds
        self.default_seconds = self._seconds.get(self.task.default)
        self.best = min(self._seconds, key=self._seconds.__getitem__, default=None)
        self.best_seconds = None if self.best is None else self._seconds[self.best]
        is_gain = self.best_seconds is not None and (
            before is None or self.best_seconds < before * (1 - SIGNIFICANT_GAIN)
        )
        self.since_gain = 0 if is_gain else self.since_gain + 1
        self.curve.append(self.best_seconds)

    def finalists(self, count: int) -> list[Any]:
        """The default and the fastest candidates that seem to beat it; the default alone where none does."""
        limit = (self.default_seconds or 0.0) * (1 - SIGNIFICANT_GAIN)
        faster = [(seconds, number, knobs) for number, (knobs, seconds) in enumerate(self._seconds.items())]
        ranked = [knobs for seconds, _, knobs in sorted(faster, key=lambda entry: entry[:2]) if seconds < limit]
        return [self.task.default, *ranked[:count]]

    def _choose(self, model: CostModel) -> Any:
        if self.task.default in self._open:
            return self.task.default
        candidates = list(self._open)
        if self._random.random() < _RANDOM_SHARE:
            return self._random.choice(candidates)
        rates = model.predict(self.task.anchor, self.size, [self._values[knobs] for knobs in candidates])
        if rates is not None:
            return candidates[int(rates.argmax())]
        near = [knobs for knobs in candidates if self._distance(knobs) == 1]
        return self._random.choice(near or candidates)

    def _distance(self, knobs: Any) -> int:
        """Number of knobs in which it differs from the best."""
        best, own = self._values[self.best or self.task.default], self._values[knobs]
        return sum(best[name] != value for name, value in own.items())
