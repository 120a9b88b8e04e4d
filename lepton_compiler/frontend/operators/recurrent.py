"""LSTM, GRU and RNN: one matrix product for all inputs, then the time loop of ``recurrent_kernels.py``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, dtype_of, shape_of, tensor_constant
from lepton_compiler.frontend.operators.recurrent_kernels import (
    LANES,
    Cell,
    Scalar,
    clipped,
    hidden_gate_start,
    recurrent_outputs,
    scalar_activation,
)
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.run_time_checks import require_equal

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_ACTIVATIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}


@dataclass(frozen=True)
class _Layout:
    """Where each gate's columns start in the kernel's rows."""

    hidden: int
    starts: tuple[int, ...]
    padded: int


@converter("LSTM", "GRU", "RNN")
def recurrent(conversion: Conversion) -> list[relax.Expr]:
    """All hidden states, the last one, and for an LSTM the last cell state."""
    batch_first = bool(conversion.attribute("layout", 0))
    x = conversion.tensor(0)
    if batch_first:
        x = conversion.emit(relax.op.permute_dims(x, [1, 0, 2]))
    batch = shape_of(x)[1]
    directions, depth = _directions(conversion)
    layout = _layout(conversion.op, depth)
    cell = _cell(conversion, directions, layout)
    gates = _input_gates(conversion, x, directions, layout)
    weights = _recurrence_weights(conversion, layout)
    _require_sizes(conversion, x, directions, depth)
    first = [_first_state(conversion, index, directions, batch, depth, batch_first) for index in (5, 6)]
    results = conversion.emit(
        conversion.call_te(
            lambda *tensors: recurrent_outputs(cell, *tensors),
            gates,
            weights,
            *first,
            *_optional_inputs(conversion, cell),
            name=conversion.op.lower(),
        )
    )
    sequence, hidden, state = (conversion.emit(relax.TupleGetItem(results, i)) for i in range(3))
    if batch_first:
        sequence = relax.op.permute_dims(sequence, [2, 0, 1, 3])
        hidden, state = (relax.op.permute_dims(tensor, [1, 0, 2]) for tensor in (hidden, state))
    return [sequence, hidden, state] if conversion.op == "LSTM" else [sequence, hidden]


def _require_sizes(conversion: Conversion, x: relax.Expr, directions: int, depth: int) -> None:
    """The sizes that the inputs must have, given ``x`` with the time in front."""
    _, batch, features = shape_of(x)
    rows = _GATES[conversion.op] * depth
    state = [batch, directions, depth] if conversion.attribute("layout", 0) else [directions, batch, depth]
    wanted: dict[int, list[Size]] = {
        1: [directions, rows, features],
        2: [directions, rows, depth],
        3: [directions, 2 * rows],
        4: [batch],
        5: state,
    }
    if conversion.op == "LSTM":
        wanted |= {6: state, 7: [directions, 3 * depth]}
    for index, shape in wanted.items():
        if conversion.has(index):
            require_equal(conversion, f"the shape of input {index}", shape_of(conversion.tensor(index)), shape)


def _directions(conversion: Conversion) -> tuple[int, int]:
    """Number of directions and of hidden cells."""
    directions, _, depth = shape_of(conversion.tensor(2))
    if not (isinstance(directions, int) and isinstance(depth, int)):
        raise ConversionError("its weights must have a fixed shape")
    return directions, depth


def _layout(op: str, hidden: int) -> _Layout:
    starts = [gate * hidden for gate in range(_GATES[op])]
    if op == "GRU":
        starts[2] = hidden_gate_start(hidden)
    return _Layout(hidden, tuple(starts), -(-(starts[-1] + hidden) // LANES) * LANES)


def _cell(conversion: Conversion, directions: int, layout: _Layout) -> Cell:
    direction = conversion.attribute("direction", "forward")
    reverse = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    if len(reverse) != directions:
        raise ConversionError(f'direction "{direction}" does not fit weights of {directions} directions')
    return Cell(
        conversion.op,
        layout.hidden,
        layout.padded,
        _activations(conversion, directions),
        reverse,
        has_lengths=conversion.has(4),
        has_peepholes=conversion.op == "LSTM" and conversion.has(7),
        linear_before_reset=bool(conversion.attribute("linear_before_reset", 0)),
        input_forget=bool(conversion.attribute("input_forget", 0)),
    )


def _activations(conversion: Conversion, directions: int) -> tuple[tuple[Scalar, ...], ...]:
    defaults = _ACTIVATIONS[conversion.op]
    names = conversion.attribute("activations", list(defaults) * directions)
    alphas, betas = (iter(conversion.attribute(f"activation_{which}", [])) for which in ("alpha", "beta"))
    limit = conversion.attribute("clip", None)
    functions: dict[tuple[str, float | None, float | None, float | None], Scalar] = {}
    result = []
    for position, name in enumerate(names):
        alpha = next(alphas, None) if name.lower() not in ("sigmoid", "tanh", "relu", "softsign", "softplus") else None
        beta = next(betas, None) if name.lower() in ("affine", "scaledtanh", "hardsigmoid") else None
        function = scalar_activation(name, alpha, beta)
        if function is None:
            raise ConversionError(f'unknown activation "{name}"')
        # An LSTM's third activation sees the cell state, which ONNX Runtime does not clip.
        bound = None if position % len(defaults) == 2 else limit
        # The same activation is the same object, so that directions that agree share their code.
        result.append(functions.setdefault((name.lower(), alpha, beta, bound), clipped(function, bound)))
    count = len(defaults)
    return tuple(tuple(result[d * count : (d + 1) * count]) for d in range(directions))


def _input_gates(conversion: Conversion, x: relax.Expr, directions: int, layout: _Layout) -> relax.Expr:
    """``(time, batch, directions, padded)``: what the inputs add to the gates, with all biases that can join them."""
    time, batch, features = shape_of(x)
    width = directions * layout.padded
    rows = _reshaped(_spread(conversion, _value(conversion, 1), layout), [width, features])
    product = relax.op.matmul(relax.op.reshape(x, [time * batch, features]), _tensor(_transposed(rows, [1, 0])))
    if conversion.has(3):
        product = relax.op.add(product, _gate_bias(conversion, directions, layout))
    return conversion.emit(relax.op.reshape(product, [time, batch, directions, layout.padded]))


def _gate_bias(conversion: Conversion, directions: int, layout: _Layout) -> relax.Expr:
    """Both biases in one row; the recurrence bias that a reset gate scales stays out."""
    count = _GATES[conversion.op] * layout.hidden
    joined = count - layout.hidden if conversion.attribute("linear_before_reset", 0) else count
    inputs = _columns(conversion, 3, 0, count)
    recurrence = _columns(conversion, 3, count, count + joined)
    if isinstance(inputs, np.ndarray):
        total = inputs.copy()
        total[:, :joined] += recurrence
    else:
        padding = [0, 0, 0, count - joined]
        total = conversion.emit(relax.op.add(inputs, relax.op.nn.pad(recurrence, padding)))
    return _tensor(_reshaped(_spread(conversion, total, layout), [directions * layout.padded]))


def _recurrence_weights(conversion: Conversion, layout: _Layout) -> relax.Expr:
    return conversion.emit(_tensor(_transposed(_spread(conversion, _value(conversion, 2), layout), [0, 2, 1])))


def _spread(conversion: Conversion, values: np.ndarray | relax.Expr, layout: _Layout) -> np.ndarray | relax.Expr:
    """Gates, packed along axis 1, at the columns where the kernel wants them; zeros between."""
    ends = [start + layout.hidden for start in layout.starts]
    gaps = [after - end for end, after in zip(ends, [*layout.starts[1:], layout.padded], strict=True)]
    if isinstance(values, np.ndarray):
        gates = np.split(values, len(gaps), axis=1)
        rest = [(0, 0)] * (values.ndim - 2)
        return np.concatenate(
            [np.pad(g, [(0, 0), (0, gap), *rest]) for g, gap in zip(gates, gaps, strict=True)], axis=1
        )
    shape = shape_of(values)
    parts = []
    for gate, gap in enumerate(gaps):
        first = gate * layout.hidden
        part = relax.op.strided_slice(values, [1], [first], [first + layout.hidden])
        parts.append(relax.op.nn.pad(part, [0, 0, 0, gap, *[0, 0] * (len(shape) - 2)]) if gap else part)
    return conversion.emit(relax.op.concat(parts, 1) if len(parts) > 1 else parts[0])


def _value(conversion: Conversion, index: int) -> np.ndarray | relax.Expr:
    """Input ``index`` as an array where it is constant, so that it is laid out at compile time."""
    value = conversion.inputs[index]
    return value if isinstance(value, np.ndarray) else conversion.tensor(index)


def _columns(conversion: Conversion, index: int, first: int, last: int) -> np.ndarray | relax.Expr:
    value = _value(conversion, index)
    if isinstance(value, np.ndarray):
        return value[:, first:last]
    return conversion.emit(relax.op.strided_slice(value, [1], [first], [last]))


def _reshaped(value: np.ndarray | relax.Expr, shape: list[Size]) -> np.ndarray | relax.Expr:
    return value.reshape(shape) if isinstance(value, np.ndarray) else relax.op.reshape(value, shape)


def _transposed(value: np.ndarray | relax.Expr, axes: list[int]) -> np.ndarray | relax.Expr:
    if isinstance(value, np.ndarray):
        return np.ascontiguousarray(value.transpose(axes))
    return relax.op.permute_dims(value, axes)


def _tensor(value: np.ndarray | relax.Expr) -> relax.Expr:
    return tensor_constant(value) if isinstance(value, np.ndarray) else value


def _first_state(
    conversion: Conversion, index: int, directions: int, batch: Size, hidden: int, batch_first: bool
) -> relax.Expr:
    if conversion.has(index):
        state = conversion.tensor(index)
        return conversion.emit(relax.op.permute_dims(state, [1, 0, 2])) if batch_first else state
    dtype = dtype_of(conversion.tensor(0))
    return conversion.emit(conversion.filled([directions, batch, hidden], 0, dtype))


def _optional_inputs(conversion: Conversion, cell: Cell) -> Sequence[relax.Expr]:
    inputs = []
    if cell.has_lengths:
        inputs.append(conversion.tensor(4))
    if cell.has_peepholes:
        inputs.append(conversion.tensor(7))
    if cell.linear_before_reset and conversion.has(3):
        inputs.append(_tensor(_columns(conversion, 3, 5 * cell.hidden, 6 * cell.hidden)))
    elif cell.linear_before_reset:
        shape = (len(cell.reverse), cell.hidden)
        inputs.append(tensor_constant(np.zeros(shape, dtype_of(conversion.tensor(0)))))
    return inputs
