"""Measured times of the algorithms that one layer can be computed by, and which of them is fastest.

The cost model of ``choose_algorithm.py`` knows a layer by its sizes. Who has measured its kernels, with everything that
is fused into them, knows better. Nothing here knows which algorithms there are: an algorithm is a name, and the order
in which names are given is that of their accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import tvm

from lepton_compiler.targets.spec import TargetSpec

WORTH_IT = 0.97
"""Share of a more exact algorithm's time that a less exact one may take at the most: numbers change for a gain that is
more than noise."""


@dataclass(frozen=True)
class MeasuredTime:
    """The best time of one algorithm's kernel.

    Attributes:
        seconds: Of one call.
        record: Where it stands.
    """

    seconds: float
    record: str


@dataclass(frozen=True)
class LayerTimes:
    """What was measured of one layer.

    Attributes:
        groups: Times by algorithm; those of one group can be compared, being of one device and timed in one way.
        refused: Algorithms that may not be taken, each with the reason.
    """

    groups: tuple[Mapping[str, MeasuredTime], ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def choose(self, estimated: str, allowed: Sequence[str]) -> tuple[str, str] | None:
        """The fastest of the allowed algorithms, and why in words.

        Args:
            estimated: What the cost model takes. Groups without its time, or with no other, say nothing.
            allowed: What may be taken, the most exact first.

        Returns:
            None where no group says anything. Of several groups the one where the choice gains most counts.
        """
        verdicts = []
        for group in self.groups:
            times = {name: group[name] for name in allowed if name in group}
            if estimated in times and len(times) > 1:
                name = fastest({name: time.seconds for name, time in times.items()})
                verdicts.append((times[estimated].seconds / times[name].seconds, name, _words(name, times)))
        if not verdicts:
            return None
        _, name, words = max(verdicts)
        return name, words


class AlgorithmSource(Protocol):
    """Who knows measured times."""

    def find(
        self, algorithms: Sequence[str], pack: Callable[[str], tvm.IRModule], target: TargetSpec
    ) -> Mapping[str, LayerTimes]:
        """Those of the layers of a model.

        Args:
            algorithms: What a layer can be computed by, the most exact first.
            pack: Makes the packed module in which every layer that can takes this algorithm.
            target: What is compiled for.

        Returns:
            By the model's node.
        """
        ...


def fastest(seconds: Mapping[str, float]) -> str:
    """The algorithm to take: a less exact one only where it is faster by more than noise.

    Args:
        seconds: Times by algorithm, the most exact first; at least one.
    """
    names: Iterable[str] = iter(seconds)
    best = next(names)
    for name in names:
        if seconds[name] <= WORTH_IT * seconds[best]:
            best = name
    return best


def _words(name: str, times: Mapping[str, MeasuredTime]) -> str:
    """``"measured 81.2 us (logs/records.jsonl:7), direct 130.0 us (logs/records.jsonl:3)"``."""
    own = times[name]
    others = [f"{other} {_time(time)}" for other, time in times.items() if other != name]
    return f"measured {_time(own)}, {', '.join(others)}"


def _time(time: MeasuredTime) -> str:
    return f"{time.seconds * 1e6:.1f} us ({time.record})"
