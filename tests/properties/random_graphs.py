"""Random small graphs: two to five neighbouring operators of any kind, that read each other's results."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from case_graph import CaseGraph
from hypothesis import strategies as st

LARGEST_TENSOR = 1 << 15
CHANNELS = (1, 1, 3, 4, 8, 16, 17, 32)
ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, {}) for name in ("Relu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Mish", "Softplus")},
    **{name: (name, {}) for name in ("Gelu", "Erf", "Neg", "Abs", "Softsign")},
    "LeakyRelu": ("LeakyRelu", {"alpha": 0.25}),
    "Elu": ("Elu", {"alpha": 0.5}),
    "tanh Gelu": ("Gelu", {"approximate": "tanh"}),
}
TRIES = 6
"""Operators that are drawn for one place in a graph."""

WHOLE_REST = 1 << 40
"""An end of a slice behind every axis."""


@dataclass(frozen=True)
class Weight:
    """A random constant; with ``positive`` at least 1/2."""

    shape: tuple[int, ...]
    limit: int = 8
    positive: bool = False


@dataclass(frozen=True)
class Integers:
    """A constant vector of integers."""

    values: tuple[int, ...]


@dataclass(frozen=True)
class Floats:
    """A constant vector of floats."""

    values: tuple[float, ...]


Operand = int | Weight | Integers | Floats | None
"""The result of a step, counted from 1 (0 is the input), a constant, or nothing."""


@dataclass(frozen=True)
class Step:
    """One node."""

    operator: str
    operands: tuple[Operand, ...]
    attributes: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True)
class GraphCase:
    """Nodes in order; the last one's result is the output.

    Attributes:
        data: Shape of the input.
        symbolic: Its axes with symbolic sizes.
        steps: The nodes.
    """

    amplification: ClassVar[float] = 30.0

    data: tuple[int, ...]
    symbolic: tuple[int, ...]
    steps: tuple[Step, ...]

    def write(self, graph: CaseGraph) -> tuple[str, str]:
        """All nodes; the first one's result says how large values are."""
        results = [graph.input(*self.data, symbolic=self.symbolic)]
        for step in self.steps:
            operands = [_operand(graph, results, operand) for operand in step.operands]
            results.append(graph.node(step.operator, operands, **dict(step.attributes)))
        return results[1], results[-1]


def _operand(graph: CaseGraph, results: list[str], operand: Operand) -> str:
    if operand is None:
        return ""
    if isinstance(operand, int):
        return results[operand]
    if isinstance(operand, Integers):
        return graph.given(np.array(operand.values, np.int64))
    if isinstance(operand, Floats):
        return graph.given(np.array(operand.values, np.float32))
    return graph.constant(*operand.shape, limit=operand.limit, positive=operand.positive)


@dataclass(frozen=True)
class _Size:
    """Size of an axis: its number, and how it is computed from the input's where that is symbolic."""

    number: int
    formula: str | None = None

    def windows(self, reach: int, stride: int, pads: int) -> _Size:
        """Steps of a window, rounded as pools round."""
        number = math.trunc((self.number + pads - reach) / stride) + 1
        return self.changed(number, f"({{}} + {pads - reach}) / {stride}" if stride > 1 or pads - reach + 1 else "{}")

    def changed(self, number: int, formula: str) -> _Size:
        """Another number, computed by this formula of the old one."""
        return _Size(number, None if self.formula is None else formula.format(self.formula))


Sizes = tuple[_Size, ...]


class _Impossible(Exception):
    """The operator that was drawn has no place here."""


@dataclass
class _Builder:
    """The steps so far, and the sizes of what they compute."""

    draw: st.DrawFn
    values: list[Sizes]
    steps: list[Step] = field(default_factory=list)

    def choose(self, *options: Any) -> Any:
        return self.draw(st.sampled_from(options))

    def source(self, *ranks: int) -> tuple[int, Sizes]:
        """An operand of one of these ranks; most often the latest result."""
        fit = [index for index, sizes in enumerate(self.values) if len(sizes) in ranks]
        if not fit:
            raise _Impossible
        index = fit[-1] if self.choose(True, True, True, False) else self.choose(*fit)
        return index, self.values[index]

    def add(self, operator: str, operands: tuple[Operand, ...], sizes: Sizes, **attributes: Any) -> int:
        """Adds a node whose result has these sizes."""
        if any(size.number < 1 for size in sizes) or math.prod(size.number for size in sizes) > LARGEST_TENSOR:
            raise _Impossible
        self.steps.append(Step(operator, operands, tuple(attributes.items())))
        self.values.append(sizes)
        return len(self.steps)


def _fixed(size: _Size) -> int:
    if size.formula is not None:
        raise _Impossible
    return size.number


def _window(b: _Builder, spatial: Sizes, kernels: tuple[int, ...]) -> tuple[Sizes, dict[str, list[int]]]:
    kernel, stride, before, after, sizes = [], [], [], [], []
    for size in spatial:
        k, s = b.choose(*kernels), b.choose(1, 1, 2, 3)
        low, high = (b.choose(0, k // 2), b.choose(0, k // 2)) if k > 1 else (0, 0)
        if size.formula is not None and size.number + low + high < k:
            raise _Impossible
        kernel.append(k)
        stride.append(s)
        before.append(low)
        after.append(high)
        sizes.append(size.windows(k, s, low + high))
    return tuple(sizes), {"kernel_shape": kernel, "strides": stride, "pads": [*before, *after]}


def _convolution(b: _Builder) -> None:
    index, (n, c, *spatial) = b.source(3, 4)
    channels = _fixed(c)
    sizes, attributes = _window(b, tuple(spatial), (1, 1, 3))
    if any(
        size.number + attributes["pads"][i] + attributes["pads"][i + len(spatial)] < attributes["kernel_shape"][i]
        for i, size in enumerate(spatial)
    ):
        raise _Impossible
    depthwise = channels > 1 and b.choose(True, False, False)
    outputs = channels if depthwise else b.choose(*CHANNELS)
    weight = Weight((outputs, 1 if depthwise else channels, *attributes["kernel_shape"]), limit=4)
    bias = (Weight((outputs,)),) if b.choose(True, False) else ()
    group = {"group": channels} if depthwise else {}
    b.add("Conv", (index, weight, *bias), (n, _Size(outputs), *sizes), **attributes, **group)


def _pool(b: _Builder) -> None:
    index, (n, c, *spatial) = b.source(3, 4)
    sizes, attributes = _window(b, tuple(spatial), (1, 2, 3))
    b.add(b.choose("MaxPool", "AveragePool"), (index,), (n, c, *sizes), **attributes)


def _global_pool(b: _Builder) -> None:
    index, (n, c, *spatial) = b.source(3, 4)
    b.add(b.choose("GlobalAveragePool", "GlobalMaxPool"), (index,), (n, c, *[_Size(1)] * len(spatial)))


def _product(b: _Builder) -> None:
    index, (*rows, inner) = b.source(2, 3, 4)
    columns = b.choose(*CHANNELS)
    index = b.add("MatMul", (index, Weight((_fixed(inner), columns), limit=4)), (*rows, _Size(columns)))
    if b.choose(True, False):
        b.add("Add", (index, Weight((columns,))), (*rows, _Size(columns)))


def _softmax(b: _Builder) -> None:
    index, sizes = b.source(2, 3, 4)
    b.add(b.choose("Softmax", "LogSoftmax"), (index,), sizes, axis=b.choose(-1, 1))


def _layer_norm(b: _Builder) -> None:
    index, sizes = b.source(2, 3, 4)
    length = _fixed(sizes[-1])
    if length < 3:
        raise _Impossible
    b.add("LayerNormalization", (index, Weight((length,)), Weight((length,))), sizes, axis=-1, epsilon=0.01)


def _instance_norm(b: _Builder) -> None:
    index, sizes = b.source(3, 4)
    if math.prod(size.number for size in sizes[2:]) < 4:
        raise _Impossible
    channels = _fixed(sizes[1])
    b.add("InstanceNormalization", (index, Weight((channels,)), Weight((channels,))), sizes, epsilon=0.01)


def _reduce(b: _Builder) -> None:
    index, sizes = b.source(3, 4)
    axes = b.choose(*[(axis,) for axis in range(1, len(sizes))], tuple(range(2, len(sizes))))
    keep = b.choose(1, 1, 0)
    left = tuple(_Size(1) if axis in axes else size for axis, size in enumerate(sizes) if keep or axis not in axes)
    b.add(b.choose("ReduceMean", "ReduceSum", "ReduceMax"), (index, Integers(axes)), left, keepdims=keep)


def _concat(b: _Builder) -> None:
    index, sizes = b.source(3, 4)
    axis = b.choose(1, 1, len(sizes) - 1)
    fits = [
        other
        for other, given in enumerate(b.values)
        if len(given) == len(sizes) and given[:axis] + given[axis + 1 :] == sizes[:axis] + sizes[axis + 1 :]
    ]
    parts = [index, *(b.choose(*fits) for _ in range(b.choose(1, 1, 2)))]
    total = sum(b.values[part][axis].number for part in parts)
    formulas = [b.values[part][axis].formula for part in parts]
    joined = _Size(total, None if formulas == [None] * len(parts) else f"concat {formulas} {total}")
    operands: list[Operand] = [*parts]
    if b.choose(True, False):
        operands.reverse()
    b.add("Concat", tuple(operands), (*sizes[:axis], joined, *sizes[axis + 1 :]), axis=axis)


def _pad(b: _Builder) -> None:
    index, sizes = b.source(3, 4)
    mode = b.choose("constant", "constant", "reflect", "edge")
    before, after = [0] * len(sizes), [0] * len(sizes)
    for axis in range(b.choose(1, 2, 2), len(sizes)):
        most = 2 if mode != "reflect" else min(2, sizes[axis].number - 1)
        before[axis], after[axis] = b.draw(st.integers(0, most)), b.draw(st.integers(0, most))
    padded = tuple(
        size.changed(size.number + low + high, f"{{}} + {low + high}" if low + high else "{}")
        for size, low, high in zip(sizes, before, after, strict=True)
    )
    b.add("Pad", (index, Integers((*before, *after))), padded, mode=mode)


def _slice(b: _Builder) -> None:
    index, sizes = b.source(2, 3, 4)
    axis = b.draw(st.integers(1, len(sizes) - 1))
    count = sizes[axis].number
    if sizes[axis].formula is None:
        start = b.draw(st.integers(0, count - 1))
        end, step = b.draw(st.integers(start + 1, count)), b.choose(1, 1, 2)
    else:
        start, end, step = b.choose((1, WHOLE_REST, 1), (0, -1, 1), (-2, WHOLE_REST, 1), (0, WHOLE_REST, 2))
    left = len(range(count)[start:end:step])
    part = sizes[axis].changed(left, f"{{}}[{start}:{end}:{step}]")
    operands = (index, *(Integers((value,)) for value in (start, end, axis, step)))
    b.add("Slice", operands, (*sizes[:axis], part, *sizes[axis + 1 :]))


def _transpose(b: _Builder) -> None:
    index, sizes = b.source(3, 4)
    order = (0, *b.draw(st.permutations(range(1, len(sizes)))))
    b.add("Transpose", (index,), tuple(sizes[axis] for axis in order), perm=list(order))


def _reshape(b: _Builder) -> None:
    index, (n, *rest) = b.source(3, 4)
    kept = b.choose(0, 1, 1)
    joined = rest[kept:]
    number = math.prod(size.number for size in joined)
    flat = _Size(number, None if all(size.formula is None for size in joined) else f"product {joined}")
    b.add("Reshape", (index, Integers((0, *[0] * kept, -1))), (n, *rest[:kept], flat))


def _squeeze(b: _Builder) -> None:
    index, sizes = b.source(2, 3, 4)
    single = [axis for axis in range(1, len(sizes)) if sizes[axis] == _Size(1)]
    if single and b.choose(True, True, False):
        axis = b.choose(*single)
        b.add("Squeeze", (index, Integers((axis,))), (*sizes[:axis], *sizes[axis + 1 :]))
    elif len(sizes) < 4:
        axis = b.draw(st.integers(1, len(sizes)))
        b.add("Unsqueeze", (index, Integers((axis,))), (*sizes[:axis], _Size(1), *sizes[axis:]))
    else:
        raise _Impossible


def _resize(b: _Builder) -> None:
    index, (n, c, *spatial) = b.source(4)
    mode = "nearest" if any(size.formula is not None for size in spatial) else b.choose("nearest", "linear")
    sizes = (n, c, *(size.changed(2 * size.number, "2 * {}") for size in spatial))
    b.add("Resize", (index, None, Floats((1, 1, 2, 2))), sizes, mode=mode)


def _binary(b: _Builder) -> None:
    index, sizes = b.source(2, 3, 4)
    operator = b.choose("Add", "Add", "Mul", "Mul", "Sub", "Max", "Min", "Div")
    other: int | Weight
    if b.choose(True, True, False):
        fits = [
            position
            for position, given in enumerate(b.values)
            if len(given) == len(sizes) and all(a in (c, _Size(1)) for a, c in zip(given, sizes, strict=True))
        ]
        other = b.choose(*fits)
        if operator == "Div":
            absolute = b.add("Abs", (other,), b.values[other])
            other = b.add("Add", (absolute, Weight((), positive=True)), b.values[other])
    else:
        full = [1 if size.formula is not None or axis == 0 else size.number for axis, size in enumerate(sizes)]
        kept = b.choose(1, 1, 1, len(sizes) - 1, None)
        shape = tuple(size if axis == kept or kept is None else 1 for axis, size in enumerate(full))
        other = Weight(shape[b.choose(0, 1) :], positive=operator == "Div")
    swap = operator != "Div" and b.choose(True, False)
    b.add(operator, (other, index) if swap else (index, other), sizes)


def _activation(b: _Builder) -> None:
    index, sizes = b.source(2, 3, 4)
    operator, attributes = ACTIVATIONS[b.choose(*ACTIVATIONS)]
    b.add(operator, (index,), sizes, **attributes)


OPERATORS: tuple[Callable[[_Builder], None], ...] = (
    *(_convolution,) * 4,
    *(_binary,) * 4,
    *(_activation,) * 3,
    *(_pool, _product, _concat) * 2,
    *(_global_pool, _softmax, _layer_norm, _instance_norm, _reduce),
    *(_pad, _slice, _transpose, _reshape, _squeeze, _resize),
)


@st.composite
def graphs(draw: st.DrawFn) -> GraphCase:
    """Any of them, with fixed sizes, a symbolic batch, or all sizes but the channels symbolic."""
    rank = draw(st.sampled_from([4, 4, 4, 3]))
    symbolic = draw(st.sampled_from([(), (), (0,), (0, *range(2, rank))]))
    data = (
        draw(st.integers(1, 3)),
        draw(st.sampled_from(CHANNELS)),
        *(draw(st.integers(3, 12)) for _ in range(rank - 2)),
    )
    names = {axis: f"axis {axis}" for axis in symbolic}
    builder = _Builder(draw, [tuple(_Size(size, names.get(axis)) for axis, size in enumerate(data))])
    for _ in range(draw(st.integers(2, 5))):
        _extend(builder)
    return GraphCase(data, symbolic, tuple(builder.steps))


def _extend(builder: _Builder) -> None:
    """Adds an operator that has a place here; an activation always has."""
    for _ in range(TRIES):
        before = len(builder.steps)
        try:
            return builder.choose(*OPERATORS)(builder)
        except _Impossible:
            del builder.steps[before:], builder.values[before + 1 :]
    return _activation(builder)
