"""Direct convolution or Winograd's, and with which tile: measured times where there are any, else the cost model.

Cycles of one core. Products run at the rate of the register tiles; transforms are bound by vector operations and by the
second cache; transformed weights are ``size * size / 9`` times as large as the direct ones and have to come from
memory once a run:

    direct      pixels * C * O * 9 / (lanes * fma)
    winograd    max(tiles * size^2 * C * O / (lanes * fma), weight bytes / stream rate) + transforms

The constants were fitted to layers of 64 to 512 channels on a Zen 5 core.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lepton_compiler.passes.winograd.measured_algorithms import LayerTimes
from lepton_compiler.passes.winograd.transforms import TRANSFORMS, WinogradTransform
from lepton_compiler.targets.spec import TargetSpec

_EFFICIENCY = 0.92
"""Share of the arithmetic peak that register tiles reach."""
_STREAM_BYTES_PER_CYCLE = 7.0
"""Bytes of weights that a core takes in from the last cache or from memory in a cycle."""
_TRANSFORM_CYCLES = 1.25
"""Cycles of one vector in one place of a tile, both passes of a transform, loads and stores included."""
_FEWEST_CHANNELS = 8
"""Below, transforms cost more than the products that they save."""
_WORTH_IT = 0.9
"""Winograd costs accuracy; it is taken for a clear gain only."""

DIRECT = "direct"
"""The algorithm whose numbers are those of the model."""


@dataclass(frozen=True)
class Choice:
    """The algorithm of one convolution.

    Attributes:
        transform: Winograd's, None for the direct one.
        reason: Why, in one sentence.
    """

    transform: WinogradTransform | None
    reason: str


@dataclass(frozen=True)
class WinogradPolicy:
    """When Winograd's algorithms may be used.

    Attributes:
        enabled: Whether at all.
        max_error: Largest estimated error, as a share of the output's range. An estimate and no bound: it knows the
            transform alone, while the error grows slowly with the channels.
        only: The one of ``algorithms()`` to take wherever it is possible, whatever it costs, so that it can be
            measured; None to choose.
    """

    enabled: bool = True
    max_error: float = 1e-4
    only: str | None = None

    def algorithms(self) -> tuple[str, ...]:
        """What there is to choose from, the most exact first."""
        return DIRECT, *(_name(m) for m in self._allowed())

    def _allowed(self) -> list[int]:
        """Tiles whose error is small enough, the most exact first."""
        errors = {m: transform.expected_error() for m, transform in TRANSFORMS.items()}
        return sorted((m for m in errors if self.enabled and errors[m] <= self.max_error), key=lambda m: errors[m])

    def choose(
        self,
        target: TargetSpec,
        weight: Sequence[int],
        output: Sequence[int | None],
        direct_rate: float = 1.0,
        times: LayerTimes | None = None,
    ) -> Choice:
        """Chooses for a 3 by 3 convolution with stride 1.

        Args:
            target: For the rates.
            weight: ``(out_channels, in_channels, 3, 3)``.
            output: ``(batch, height, width)``, None for a symbolic size; a symbolic batch is judged as one image.
            direct_rate: How many times as fast as in float32 the direct convolution multiplies.
            times: What was measured of this layer.
        """
        if not self.enabled:
            return Choice(None, "direct: Winograd is switched off")
        if None in output[1:]:
            return Choice(None, "direct: the size of the image is not known, and so not whether Winograd is faster")
        if min(weight[:2]) < _FEWEST_CHANNELS:
            return Choice(None, f"direct: {min(weight[:2])} channels are too few for Winograd")
        allowed = self._allowed()
        if self.only is not None:
            m = next((m for m in allowed if _name(m) == self.only), None)
            return Choice(None if m is None else TRANSFORMS[m], f"{self.only}: no other may be taken")
        left = [m for m in allowed if times is None or _name(m) not in times.refused]
        choice = _estimate(target, weight, [int(size or 1) for size in output], direct_rate, left)
        if not left:
            refusal = "no Winograd algorithm may be taken"
            if not allowed:
                refusal = f"no Winograd error is estimated below {self.max_error:g} of the range"
            choice = Choice(None, f"direct: {refusal}; {choice.reason}")
        return choice if times is None else _measured(choice, left, times)


def _estimate(
    target: TargetSpec,
    weight: Sequence[int],
    output: Sequence[int],
    direct_rate: float,
    allowed: Sequence[int],
) -> Choice:
    """What the cost model says, among the direct algorithm and ``allowed`` tiles."""
    batch, height, width = output
    direct = direct_cycles(target, weight, batch * height * width) / direct_rate
    costs = {m: winograd_cycles(target, weight, (batch, height, width), TRANSFORMS[m]) for m in TRANSFORMS}
    estimates = _estimates(direct, costs)
    if not allowed:
        return Choice(None, estimates)
    m = min(allowed, key=lambda tile: costs[tile])
    share = costs[m] / direct
    if share > _WORTH_IT:
        return Choice(None, f"direct: Winograd {_name(m)} is estimated at {share:.2f} of its cycles; {estimates}")
    error = TRANSFORMS[m].expected_error()
    return Choice(
        TRANSFORMS[m],
        f"Winograd {_name(m)}: estimated {share:.2f} of the direct cycles, "
        f"estimated error {error:.1e} of the range; {estimates}",
    )


def _measured(estimate: Choice, allowed: Sequence[int], times: LayerTimes) -> Choice:
    """What measurements say, where the one that the cost model chose was measured beside another; else its choice."""
    estimated = DIRECT if estimate.transform is None else _name(estimate.transform.outputs)
    found = times.choose(estimated, [DIRECT, *map(_name, allowed)])
    refusals = "".join(f"; not {name}: {why}" for name, why in times.refused.items())
    if found is None:
        return Choice(estimate.transform, f"{estimate.reason}{refusals}")
    name, words = found
    m = next((m for m in allowed if _name(m) == name), None)
    title = name if m is None else f"Winograd {name}"
    return Choice(None if m is None else TRANSFORMS[m], f"{title}: {words}{refusals}")


def expected_error(algorithm: str) -> float:
    """The estimated error of an algorithm, as a share of the output's range; 0 for the direct one."""
    return next((TRANSFORMS[m].expected_error() for m in TRANSFORMS if _name(m) == algorithm), 0.0)


def _estimates(direct: float, costs: Mapping[int, float]) -> str:
    """What the model says of every algorithm, so that a reader can check the choice."""
    others = [
        f"{_name(m)} {cost / 1e6:.3g} M with error {TRANSFORMS[m].expected_error():.1e}" for m, cost in costs.items()
    ]
    return f"cycles of a core: direct {direct / 1e6:.3g} M, {', '.join(others)}"


def _name(outputs: int) -> str:
    return f"F({outputs}x{outputs}, 3x3)"


def direct_cycles(target: TargetSpec, weight: Sequence[int], pixels: int) -> float:
    """Cycles of the direct convolution."""
    outputs, inputs, *_ = weight
    lanes = target.vector_lanes()
    blocks = math.ceil(outputs / lanes)
    return pixels * inputs * blocks * 9 / (target.fma_per_cycle * _EFFICIENCY)


def winograd_cycles(
    target: TargetSpec, weight: Sequence[int], output: tuple[int, int, int], transform: WinogradTransform
) -> float:
    """Cycles of Winograd's, for ``(batch, height, width)`` outputs."""
    outputs, inputs, *_ = weight
    batch, height, width = output
    lanes, places = target.vector_lanes(), transform.size**2
    in_blocks, out_blocks = math.ceil(inputs / lanes), math.ceil(outputs / lanes)
    tiles = batch * math.ceil(height / transform.outputs) * math.ceil(width / transform.outputs)
    products = tiles * places * inputs * out_blocks / (target.fma_per_cycle * _EFFICIENCY)
    weights = places * inputs * out_blocks * lanes * 4 / _STREAM_BYTES_PER_CYCLE
    transforms = tiles * places * (in_blocks + out_blocks) * _TRANSFORM_CYCLES
    return max(products, weights) + transforms
