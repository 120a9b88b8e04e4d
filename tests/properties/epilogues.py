"""What stands behind a convolution or product in real models: a bias, an activation, a second tensor, a gate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from case_graph import CaseGraph
from hypothesis import strategies as st

ACTIVATIONS: dict[str, dict[str, float]] = {
    "Relu": {},
    "LeakyRelu": {"alpha": 0.25},
    "Clip": {},
    "Sigmoid": {},
    "Tanh": {},
    "HardSwish": {},
    "Elu": {"alpha": 0.5},
    "Gelu": {},
    "Swish": {},
    "PRelu": {},
}


BINARY = ("Add", "Sub", "Max", "Min", "Div", "Pow")
"""Operators of the result and a second tensor."""

_RIGHT_IS_POSITIVE = ("Div", "Pow")


@dataclass(frozen=True)
class Epilogue:
    """Elementwise operators behind another operator.

    Attributes:
        activation: One of ``ACTIVATIONS``, or none.
        residual: A second tensor: of the ``"full"`` shape, or one number for each ``"channel"``.
        residual_first: Whether it comes before the activation.
        binary: One of ``BINARY``, which joins it to the rest.
        gate: A factor for each channel of each batch element, as in squeeze-and-excitation.
    """

    activation: str | None = None
    residual: str | None = None
    residual_first: bool = False
    gate: bool = False
    binary: str = "Add"

    def write(self, graph: CaseGraph, x: str, shape: Sequence[int], channel_axis: int, symbolic: bool) -> str:
        """Adds the nodes behind ``x``, whose shape and channel axis these are."""
        if self.residual_first:
            x = self._join_residual(graph, x, shape, channel_axis, symbolic)
        if self.activation is not None:
            x = _activate(graph, self.activation, x, shape, channel_axis)
        if not self.residual_first:
            x = self._join_residual(graph, x, shape, channel_axis, symbolic)
        if self.gate:
            sizes = [size if axis in (0, channel_axis) else 1 for axis, size in enumerate(shape)]
            x = graph.node("Mul", [x, graph.input(*sizes, symbolic=symbolic, limit=8)])
        return x

    def _join_residual(self, graph: CaseGraph, x: str, shape: Sequence[int], channel_axis: int, symbolic: bool) -> str:
        if self.residual == "full":
            other = graph.input(*shape, symbolic=symbolic)
            if self.binary in _RIGHT_IS_POSITIVE:
                graph.feeds[other] = _one_or_two(graph.feeds[other])
                return graph.node(self.binary, [x, other])
            return graph.node(self.binary, [other, x])
        if self.residual == "channel":
            sizes = _channel_shape(shape, channel_axis)
            if self.binary in _RIGHT_IS_POSITIVE:
                return graph.node(self.binary, [x, graph.given(_one_or_two(_around_zero(sizes)))])
            return graph.node(self.binary, [x, graph.constant(*sizes)])
        return x


def _one_or_two(values: np.ndarray) -> np.ndarray:
    """A divisor that can't be 0, or an exponent for which a negative base has a power."""
    return np.where(values > 0, 2, 1).astype(np.float32)


def _around_zero(sizes: Sequence[int]) -> np.ndarray:
    return np.random.default_rng(list(sizes)).normal(size=sizes)


def _channel_shape(shape: Sequence[int], channel_axis: int) -> list[int]:
    """``[C, 1, ..., 1]``: broadcasts along all axes but the channels."""
    return [shape[channel_axis], *[1] * (len(shape) - 1 - channel_axis)]


def _activate(graph: CaseGraph, activation: str, x: str, shape: Sequence[int], channel_axis: int) -> str:
    if activation == "Clip":
        return graph.node("Clip", [x, graph.given(np.array(-0.5, np.float32)), graph.given(np.array(1.5, np.float32))])
    if activation == "Swish":
        return graph.node("Mul", [x, graph.node("Sigmoid", [x])])
    if activation == "PRelu":
        return graph.node("PRelu", [x, graph.constant(*_channel_shape(shape, channel_axis))])
    return graph.node(activation, [x], **ACTIVATIONS[activation])


def epilogues() -> st.SearchStrategy[Epilogue]:
    """Any of them, and often none."""
    some = st.builds(
        Epilogue,
        activation=st.sampled_from([None, *ACTIVATIONS]),
        residual=st.sampled_from([None, "full", "channel"]),
        residual_first=st.booleans(),
        gate=st.sampled_from([False, False, False, True]),
        binary=st.sampled_from(BINARY),
    )
    return st.just(Epilogue()) | some
