"""What stands behind a convolution or product in real models: a bias, an activation, a residual, a gate."""

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


@dataclass(frozen=True)
class Epilogue:
    """Elementwise operators behind another operator.

    Attributes:
        activation: One of ``ACTIVATIONS``, or none.
        residual: A tensor that is added: of the ``"full"`` shape, or one number for each ``"channel"``.
        residual_first: Whether it is added before the activation.
        gate: A factor for each channel of each batch element, as in squeeze-and-excitation.
    """

    activation: str | None = None
    residual: str | None = None
    residual_first: bool = False
    gate: bool = False

    def write(self, graph: CaseGraph, x: str, shape: Sequence[int], channel_axis: int, symbolic: bool) -> str:
        """Adds the nodes behind ``x``, whose shape and channel axis these are."""
        if self.residual_first:
            x = self._add_residual(graph, x, shape, channel_axis, symbolic)
        if self.activation is not None:
            x = _activate(graph, self.activation, x, shape, channel_axis)
        if not self.residual_first:
            x = self._add_residual(graph, x, shape, channel_axis, symbolic)
        if self.gate:
            sizes = [size if axis in (0, channel_axis) else 1 for axis, size in enumerate(shape)]
            x = graph.node("Mul", [x, graph.input(*sizes, symbolic=symbolic, limit=8)])
        return x

    def _add_residual(self, graph: CaseGraph, x: str, shape: Sequence[int], channel_axis: int, symbolic: bool) -> str:
        if self.residual == "full":
            return graph.node("Add", [graph.input(*shape, symbolic=symbolic), x])
        if self.residual == "channel":
            return graph.node("Add", [x, graph.constant(*_channel_shape(shape, channel_axis))])
        return x


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
    )
    return st.just(Epilogue()) | some
