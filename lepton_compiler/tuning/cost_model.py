"""CostModel: how fast a candidate will be, learned from those that were measured.

Gradient-boosted trees (Chen, Guestrin: "XGBoost: A Scalable Tree Boosting System", 2016) over the knobs and the size of
the kernel, as in Chen et al., "Learning to Optimize Tensor Programs", 2018. What is learned is the logarithm of a
candidate's rate, operations a second, so that kernels of all sizes, and records of other models, teach the same model.
There is one model for each anchor, because each has knobs of its own.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xgboost

from lepton_compiler.tuning.record import KnobValue

_FEWEST_SAMPLES = 12
"""With fewer, a model would only repeat them."""
_MOST_SAMPLES = 20_000
"""The latest ones are kept: training stays below a second."""
_PARAMETERS = {
    "max_depth": 6,
    "eta": 0.15,
    "min_child_weight": 1,
    "objective": "reg:squarederror",
    "nthread": 1,
    "verbosity": 0,
}
_TREES = 120
_OUTPUT_RANK = 6
_LARGEST = 2**31
"""Of knobs; no schedule has larger ones."""


@dataclass(frozen=True)
class KernelSize:
    """What a model knows of a kernel beside the knobs.

    Attributes:
        flops: Operations of a call.
        moved_bytes: Bytes of operands and results.
        output: Shape of the first result.
    """

    flops: int
    moved_bytes: int
    output: tuple[int, ...]

    def as_object(self) -> dict[str, Any]:
        """As a record has it."""
        return {"flops": self.flops, "bytes": self.moved_bytes, "output": list(self.output)}

    @classmethod
    def read(cls, raw: Any) -> KernelSize | None:
        """What ``as_object`` wrote; None for anything else, for logs come from others."""
        if not isinstance(raw, Mapping):
            return None
        flops, moved, output = raw.get("flops"), raw.get("bytes"), raw.get("output")
        numbers = [flops, moved, *output] if isinstance(output, list) else [None]
        if not all(type(number) is int and 0 <= number < 2**63 for number in numbers):
            return None
        return cls(flops, moved, tuple(output))


@dataclass(frozen=True)
class Sample:
    """One right trial."""

    size: KernelSize
    knobs: Mapping[str, KnobValue]
    seconds: float


class CostModel:
    """Predicts rates, per anchor."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        self._trained: dict[str, tuple[xgboost.Booster, tuple[str, ...]]] = {}
        self._untrained: dict[str, int] = defaultdict(int)

    def add(self, anchor: str, samples: Iterable[Sample]) -> None:
        """Adds samples, which count from the next training on."""
        for sample in samples:
            if sample.size.flops > 0 and sample.seconds > 0:
                self._samples[anchor].append(sample)
                self._untrained[anchor] += 1

    def samples(self, anchor: str) -> int:
        """How many samples there are."""
        return len(self._samples[anchor])

    def predict(self, anchor: str, size: KernelSize, knobs: Sequence[Mapping[str, KnobValue]]) -> np.ndarray | None:
        """Logarithms of predicted rates, float32 of shape [candidates]; None while too little is known."""
        self._train(anchor)
        if anchor not in self._trained or not knobs:
            return None
        booster, names = self._trained[anchor]
        rows = np.array([_features(size, values, names) for values in knobs], dtype=np.float32)
        return booster.predict(xgboost.DMatrix(rows))

    def _train(self, anchor: str) -> None:
        samples = self._samples[anchor][-_MOST_SAMPLES:]
        # Trained anew when it has a tenth more to learn from.
        if len(samples) < _FEWEST_SAMPLES or self._untrained[anchor] * 10 < len(samples):
            return
        names = tuple(sorted({name for sample in samples for name in sample.knobs}))
        rows = np.array([_features(sample.size, sample.knobs, names) for sample in samples], dtype=np.float32)
        rates = np.array([math.log(sample.size.flops / sample.seconds) for sample in samples], dtype=np.float32)
        booster = xgboost.train(_PARAMETERS, xgboost.DMatrix(rows, label=rates), num_boost_round=_TREES)
        self._trained[anchor] = booster, names
        self._untrained[anchor] = 0


def _features(size: KernelSize, knobs: Mapping[str, KnobValue], names: Sequence[str]) -> list[float]:
    output = [1] * _OUTPUT_RANK + list(size.output)
    known = [_number(knobs.get(name)) for name in names]
    sizes = [math.log2(max(1, number)) for number in (size.flops, size.moved_bytes, *output[-_OUTPUT_RANK:])]
    # The rest that no whole tile covers; every row has as many, whatever its knobs are.
    remainders = [float(dim % int(number)) if number >= 1 else 0.0 for dim in output[-4:] for number in known]
    return [*known, *sizes, *remainders]


def _number(value: KnobValue) -> float:
    """A knob as a number: text never stands in a knob that is tuned, and no value is apart from all others."""
    # Logs come from others: what XGBoost has no number for counts as the largest.
    return float(max(-_LARGEST, min(value, _LARGEST))) if isinstance(value, int | float) else -1.0
