"""Folding of a per-channel scale and shift into the constant weights and bias before it.

    (linear(x, w) + b) * s + t   ->   linear(x, w * s) + (b * s + t)

Weights are scaled in float64 and rounded once, so that the result is at least as exact as the operators that vanish.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.passes.canonicalize.constant_arrays import along_axis, array_of, constant, per_channel
from lepton_compiler.passes.canonicalize.linear_operators import LinearOperator, is_linear, read_linear_operator
from lepton_compiler.passes.main_graph import MainGraph, Replacement


@dataclass(frozen=True)
class LinearSource:
    """A linear operator with its bias, whose output nothing else reads.

    Attributes:
        operator: The operator.
        name: Its node name.
        bias: One value a channel, float64; zeros where there is none.
        bias_name: Node name of the addition, None where there is none.
    """

    operator: LinearOperator
    name: str
    bias: np.ndarray
    bias_name: str | None


def find_linear_source(graph: MainGraph, expr: relax.Expr) -> LinearSource | str:
    """The linear operator that computes ``expr``, perhaps with a bias added, or what is in the way."""
    value = graph.definition(expr)
    if value is None:
        return "its input is no output of a convolution or matmul"
    if is_linear(value):
        return _plain_source(graph, expr, value)
    if operator_name(value) == "relax.add":
        for linear, bias in (value.args, value.args[::-1]):
            if is_linear(graph.definition(linear)) and array_of(bias) is not None:
                return _biased_source(graph, expr, linear, array_of(bias))
    return f"its input {expr.name} is no convolution or matmul"


def fold_affine(
    graph: MainGraph, source: LinearSource, scale: np.ndarray, shift: np.ndarray, what: str
) -> Replacement | str:
    """Replaces ``source * scale + shift`` by the operator with scaled weights and one bias.

    Args:
        graph: The graph being written.
        source: What ``find_linear_source`` found.
        scale: One factor a channel.
        shift: One addend a channel.
        what: What was folded, for the record.
    """
    operator = source.operator
    call = operator.scaled(scale)
    bias = (source.bias * scale + shift).astype(operator.weights.dtype)
    if call is None or not np.isfinite(bias.astype(np.float64)).all():
        return f"the folded weights of {source.name} leave the range of {operator.weights.dtype}"
    what = f"{what} folded into the weights of {source.name}"
    if not bias.any():
        return Replacement(call, what, (source.name,))
    linear = graph.emit(source.name, call)
    total = relax.op.add(linear, constant(along_axis(bias, operator.rank, operator.axis)))
    own_bias = source.bias_name is not None and source.bias_name != source.name
    return Replacement(total, what, (source.bias_name,) if own_bias else ())


def _plain_source(graph: MainGraph, expr: relax.Var, value: relax.Call) -> LinearSource | str:
    if graph.readers(expr) > 1:
        return f"the output of {expr.name} is read by {graph.readers(expr)} nodes"
    operator = read_linear_operator(value)
    if isinstance(operator, str):
        return f"{expr.name} can't take it: {operator}"
    return LinearSource(operator, expr.name, np.zeros(operator.channels), None)


def _biased_source(graph: MainGraph, total: relax.Var, linear: relax.Var, bias: np.ndarray) -> LinearSource | str:
    if graph.readers(total) > 1:
        return f"the output of {total.name} is read by {graph.readers(total)} nodes"
    source = _plain_source(graph, linear, graph.definition(linear))
    if isinstance(source, str):
        return source
    operator = source.operator
    vector = per_channel(bias, operator.rank, operator.axis, operator.channels)
    if vector is None:
        return f"the constant that {total.name} adds to {linear.name} is not one value a channel"
    return LinearSource(operator, linear.name, vector.astype(np.float64), total.name)
