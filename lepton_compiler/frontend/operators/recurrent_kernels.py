"""The time loop of LSTM, GRU and RNN as one kernel; the converters are in ``recurrent.py``.

What the inputs contribute to the gates is a matrix product over all time steps and comes in ready. What is left is
sequential in time: each step adds the product of the last hidden state with the recurrence weights. Every (direction,
example) pair is independent of the others and runs on a core of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import tvm
from tvm import te, tirx
from tvm.script.ir_builder import IRBuilder
from tvm.script.ir_builder import tirx as T

from lepton_compiler.frontend.bounded_indices import clamped

LANES = 32
"""The gates of all cells lie next to each other, padded to a multiple of this, so that they fill vector registers."""
_UNROLL = 8

Scalar = Callable[[Any], Any]


@dataclass(frozen=True)
class Cell:
    """What distinguishes one recurrent operator from another.

    Attributes:
        kind: ``"LSTM"``, ``"GRU"`` or ``"RNN"``.
        hidden: Number of cells.
        padded: Length of a row of gates.
        activations: For each direction the activation functions in ONNX's order.
        reverse: For each direction whether it reads the sequence from its end.
        has_lengths: Whether the sequences have lengths of their own.
        has_peepholes: Whether the LSTM's gates see the cell state.
        linear_before_reset: Whether the GRU applies the reset gate after the recurrence weights.
        input_forget: Whether the LSTM's forget gate is one minus its input gate.
    """

    kind: str
    hidden: int
    padded: int
    activations: tuple[tuple[Scalar, ...], ...]
    reverse: tuple[bool, ...]
    has_lengths: bool = False
    has_peepholes: bool = False
    linear_before_reset: bool = False
    input_forget: bool = False


def recurrent_outputs(
    cell: Cell, gates: te.Tensor, weights: te.Tensor, hidden: te.Tensor, state: te.Tensor, *optional: te.Tensor
) -> list[te.Tensor]:
    """The kernel.

    Args:
        cell: The operator.
        gates: ``(time, batch, directions, padded)``: the inputs' part of the gates, biases included.
        weights: ``(directions, hidden, padded)``: recurrence weights.
        hidden: ``(directions, batch, hidden)``: first hidden state.
        state: ``(directions, batch, hidden)``: first cell state of an LSTM; ignored by the others.
        optional: As far as the cell has them: lengths ``(batch,)``, peepholes ``(directions, 3 * hidden)``, the GRU's
            recurrence bias of the hidden gate ``(directions, hidden)``.

    Returns:
        All hidden states ``(time, directions, batch, hidden)``, the last ones and the last cell states ``(directions,
        batch, hidden)``, and the scratch space ``(directions, batch, padded + hidden)``.
    """
    time, batch, directions, _ = gates.shape
    dtype = gates.dtype
    shapes = [
        (time, directions, batch, cell.hidden),
        (directions, batch, cell.hidden),
        (directions, batch, cell.hidden),
        (directions, batch, cell.padded + cell.hidden),
    ]

    def body(inputs: Sequence[Any], outputs: Sequence[Any]) -> tirx.Stmt:
        return _Emitter(cell, (time, batch, directions), inputs, outputs).function()

    return list(
        te.extern(
            shapes,
            [gates, weights, hidden, state, *optional],
            body,
            name=cell.kind.lower(),
            dtype=[dtype] * len(shapes),
        )
    )


class _Emitter:
    """Writes the loops; the methods follow the order of execution."""

    def __init__(self, cell: Cell, sizes: tuple[Any, Any, Any], inputs: Sequence[Any], outputs: Sequence[Any]) -> None:
        self.cell = cell
        self.time, self.batch, self.directions = sizes
        self.dtype = outputs[0].dtype
        proxies = [T.buffer_proxy(buffer) for buffer in inputs]
        self.gates, self.weights, self.first_hidden, self.first_state = proxies[:4]
        rest = iter(proxies[4:])
        self.lengths = next(rest) if cell.has_lengths else None
        self.peepholes = next(rest) if cell.has_peepholes else None
        self.hidden_bias = next(rest) if cell.linear_before_reset else None
        self.all_hidden, self.hidden, self.state, self.scratch = (T.buffer_proxy(buffer) for buffer in outputs)

    def function(self) -> Any:
        """All directions, examples and steps."""
        with IRBuilder() as builder, T.seq_scope(), T.parallel(0, self.directions * self.batch) as pair:
            direction, example = tirx.floordiv(pair, self.batch), tirx.floormod(pair, self.batch)
            start = pair * self.cell.hidden
            with T.serial(0, self.cell.hidden) as i:
                self.hidden[start + i] = self.first_hidden[start + i]
                self.state[start + i] = self.first_state[start + i]
            steps = self.time
            if self.lengths is not None:
                steps = clamped(self.lengths[example], 0, self.time)
            with T.serial(0, self.time) as step, T.If(step < steps):
                with T.Then():
                    self._step(direction, example, pair, self._place(direction, step, steps))
                with T.Else(), T.serial(0, self.cell.hidden) as i:
                    self.all_hidden[self._output_start(step, pair) + i] = tirx.const(0, self.dtype)
        return builder.get()

    def _place(self, direction: Any, step: Any, steps: Any) -> Any:
        """The position in the sequence that a step reads."""
        backward = steps - 1 - step
        if all(self.cell.reverse):
            return backward
        if not any(self.cell.reverse):
            return step
        return tirx.Select(direction == self.cell.reverse.index(True), backward, step)

    def _output_start(self, place: Any, pair: Any) -> Any:
        return (place * self.directions * self.batch + pair) * self.cell.hidden

    def _step(self, direction: Any, example: Any, pair: Any, place: Any) -> None:
        cell = self.cell
        gates = pair * (cell.padded + cell.hidden)
        source = ((place * self.batch + example) * self.directions + direction) * cell.padded
        with T.serial(0, cell.padded) as i:
            self.scratch[gates + i] = self.gates[source + i]
        weights = direction * cell.hidden * cell.padded
        update = {"LSTM": self._lstm, "GRU": self._gru, "RNN": self._rnn}[cell.kind]
        if len(set(cell.activations)) == 1:
            update(cell.activations[0], direction, pair, gates, weights)
        else:
            with T.If(direction == 0):
                with T.Then():
                    update(cell.activations[0], direction, pair, gates, weights)
                with T.Else():
                    update(cell.activations[1], direction, pair, gates, weights)
        with T.serial(0, cell.hidden) as i:
            self.all_hidden[self._output_start(place, pair) + i] = self.hidden[pair * cell.hidden + i]

    def _accumulate(self, gates: Any, weights: Any, values: Any, start: Any, columns: tuple[int, int]) -> None:
        """Adds ``values @ weights`` to a range of columns of the gates, which are whole vectors."""
        first, last = columns
        depth, padded = self.cell.hidden, self.cell.padded

        def add(k: Any, count: int, column: Any) -> None:
            with T.vectorized(0, LANES) as lane:
                target = gates + column + lane
                total = self.scratch[target]
                for u in range(count):
                    total = total + values[start + k + u] * self.weights[weights + (k + u) * padded + column + lane]
                self.scratch[target] = total

        with T.serial(0, (last - first) // LANES) as tile:
            column = first + tile * LANES
            if depth >= _UNROLL:
                with T.serial(0, depth // _UNROLL) as block:
                    add(block * _UNROLL, _UNROLL, column)
            if depth % _UNROLL:
                add(depth - depth % _UNROLL, depth % _UNROLL, column)

    def _rnn(self, functions: Sequence[Scalar], direction: Any, pair: Any, gates: Any, weights: Any) -> None:
        start = pair * self.cell.hidden
        self._accumulate(gates, weights, self.hidden, start, (0, self.cell.padded))
        with T.serial(0, self.cell.hidden) as i:
            self.hidden[start + i] = functions[0](self.scratch[gates + i])

    def _lstm(self, functions: Sequence[Scalar], direction: Any, pair: Any, gates: Any, weights: Any) -> None:
        """Gates in the order input, output, forget, cell."""
        size = self.cell.hidden
        start = pair * size
        self._accumulate(gates, weights, self.hidden, start, (0, self.cell.padded))
        squash, candidate, output = functions
        with T.serial(0, size) as i:
            old = self.state[start + i]
            entry = squash(self._gate(gates, 0, i) + self._peephole(direction, 0, i, old))
            forget = 1 - entry
            if not self.cell.input_forget:
                forget = squash(self._gate(gates, 2, i) + self._peephole(direction, 2, i, old))
            self.state[start + i] = forget * old + entry * candidate(self._gate(gates, 3, i))
        with T.serial(0, size) as i:
            new = self.state[start + i]
            exposed = squash(self._gate(gates, 1, i) + self._peephole(direction, 1, i, new))
            self.hidden[start + i] = exposed * output(new)

    def _gate(self, gates: Any, number: int, i: Any) -> Any:
        return self.scratch[gates + number * self.cell.hidden + i]

    def _peephole(self, direction: Any, number: int, i: Any, state: Any) -> Any:
        if self.peepholes is None:
            return tirx.const(0, self.dtype)
        return self.peepholes[(direction * 3 + number) * self.cell.hidden + i] * state

    def _gru(self, functions: Sequence[Scalar], direction: Any, pair: Any, gates: Any, weights: Any) -> None:
        """Gates in the order update, reset, hidden; the hidden gate starts at a whole vector."""
        size = self.cell.hidden
        start, split = pair * size, hidden_gate_start(size)
        reset_values = gates + self.cell.padded
        squash, candidate = functions
        self._accumulate(gates, weights, self.hidden, start, (0, split))
        if self.hidden_bias is not None:
            self._gru_linear(squash, candidate, direction, start, split, gates, weights)
            return
        with T.serial(0, size) as i:
            self.scratch[reset_values + i] = squash(self.scratch[gates + size + i]) * self.hidden[start + i]
        self._accumulate(gates, weights, self.scratch, reset_values, (split, self.cell.padded))
        with T.serial(0, size) as i:
            self._mix(squash, candidate(self.scratch[gates + split + i]), start, gates, i)

    def _gru_linear(
        self, squash: Scalar, candidate: Scalar, direction: Any, start: Any, split: int, gates: Any, weights: Any
    ) -> None:
        """The reset gate is applied after the recurrence weights, so the inputs' part is set aside meanwhile."""
        size = self.cell.hidden
        inputs = gates + self.cell.padded
        with T.serial(0, size) as i:
            self.scratch[inputs + i] = self.scratch[gates + split + i]
        with T.serial(0, size) as i:
            self.scratch[gates + split + i] = self.hidden_bias[direction * size + i]
        self._accumulate(gates, weights, self.hidden, start, (split, self.cell.padded))
        with T.serial(0, size) as i:
            reset = squash(self.scratch[gates + size + i])
            new = candidate(self.scratch[inputs + i] + reset * self.scratch[gates + split + i])
            self._mix(squash, new, start, gates, i)

    def _mix(self, squash: Scalar, new: Any, start: Any, gates: Any, i: Any) -> None:
        update = squash(self.scratch[gates + i])
        self.hidden[start + i] = (1 - update) * new + update * self.hidden[start + i]


def hidden_gate_start(hidden: int) -> int:
    """Column where the GRU's hidden gate starts: behind the other two, at a whole vector."""
    return -(-2 * hidden // LANES) * LANES


def scalar_activation(name: str, alpha: float | None, beta: float | None) -> Scalar | None:
    """An activation on one element, None for an unknown name; missing parameters take ONNX's defaults."""

    def number(value: float | None, default: float) -> float:
        return default if value is None else value

    functions: dict[str, Scalar] = {
        "sigmoid": lambda x: 1 / (1 + tirx.exp(-x)),
        "tanh": tirx.tanh,
        "relu": lambda x: tirx.max(x, 0),
        "affine": lambda x: number(alpha, 1.0) * x + number(beta, 0.0),
        "leakyrelu": lambda x: tirx.Select(x < 0, number(alpha, 0.01) * x, x),
        "thresholdedrelu": lambda x: tirx.Select(x > number(alpha, 1.0), x, tirx.const(0, str(x.ty))),
        "scaledtanh": lambda x: number(alpha, 1.0) * tirx.tanh(number(beta, 1.0) * x),
        "hardsigmoid": lambda x: tirx.max(tirx.min(number(alpha, 0.2) * x + number(beta, 0.5), 1), 0),
        "elu": lambda x: tirx.Select(x < 0, number(alpha, 1.0) * (tirx.exp(x) - 1), x),
        "softsign": lambda x: x / (1 + tirx.abs(x)),
        "softplus": lambda x: tirx.max(x, 0) + tirx.log(1 + tirx.exp(-tirx.abs(x))),
    }
    return functions.get(name.lower())


def clipped(function: Scalar, limit: float | None) -> Scalar:
    """The activation with its argument limited to ``[-limit, limit]``."""
    if limit is None:
        return function
    return lambda x: function(tvm.tirx.max(tvm.tirx.min(x, limit), -limit))
