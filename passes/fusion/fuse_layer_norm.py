"""FuseLayerNorm: layer normalization written out in arithmetic becomes one operator.

    d = x - mean(x);  d / sqrt(mean(d ** 2) + epsilon)   ->   layer_norm(x, 1, 0)
    layer_norm(x, 1, 0) * gamma                          ->   layer_norm(x, gamma, 0)
    layer_norm(x, gamma, 0) + beta                       ->   layer_norm(x, gamma, beta)

Exporters wrote it like this before ONNX had the operator (opset 17). Ba, Kiros and Hinton, "Layer Normalization", 2016.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_NORM = "relax.nn.layer_norm"


@dataclass(frozen=True)
class FuseLayerNorm(Pass):
    """Recognizes layer normalization that the exporter wrote as arithmetic."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Fuses the normalization first, then the scale and the shift behind it."""
        return rewrite_main(module, _fuse)


def _fuse(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if node.operator == "relax.divide":
        return _normalization(graph, node)
    if node.operator in ("relax.multiply", "relax.add"):
        for normalized, parameter in (node.args, node.args[::-1]):
            norm, array = graph.definition(normalized), array_of(parameter)
            if norm is not None and operator_name(norm) == _NORM and array is not None:
                return _with_parameter(graph, node, normalized, norm, array)
    return None


def _normalization(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    difference, deviation = node.args
    x = _centred(graph, difference)
    root = _of(graph, deviation, "relax.sqrt")
    total = _of(graph, root.args[0], "relax.add") if x is not None and root is not None else None
    if x is None or total is None:
        return None
    variance, epsilon = total.args if array_of(total.args[1]) is not None else total.args[::-1]
    mean, scalar = _of(graph, variance, "relax.mean"), array_of(epsilon)
    if mean is None or scalar is None or scalar.size != 1 or not _is_square_of(graph, mean.args[0], difference):
        return None
    axes = _axes(mean)
    if axes is None:
        return None
    if axes != _axes(graph.definition(graph.definition(difference).args[1])):
        return Decline(node.name, "its mean and its variance are taken over different axes")
    shape = x.ty.shape.values
    if axes != list(range(len(shape) - len(axes), len(shape))):
        return Decline(node.name, f"it normalizes axes {axes}, which are not the last ones")
    extents = [shape[axis] for axis in axes]
    if not all(isinstance(extent, tvm.tirx.IntImm) for extent in extents):
        return Decline(node.name, "a normalized dimension is symbolic")
    ones = np.ones([int(extent) for extent in extents], str(x.ty.dtype))
    norm = _layer_norm(x, ones, np.zeros_like(ones), axes, float(scalar.reshape(())))
    nodes = (graph.definition(difference).args[1], difference, mean.args[0], variance, root.args[0], deviation)
    return Replacement(norm, "recognized as layer normalization", tuple(node.name for node in nodes))


def _centred(graph: MainGraph, difference: relax.Expr) -> relax.Expr | None:
    """x where ``difference`` is ``x - mean(x)``."""
    value = _of(graph, difference, "relax.subtract")
    mean = _of(graph, value.args[1], "relax.mean") if value is not None else None
    return mean.args[0] if mean is not None and mean.args[0].same_as(value.args[0]) else None


def _is_square_of(graph: MainGraph, square: relax.Expr, base: relax.Expr) -> bool:
    value = graph.definition(square)
    name = operator_name(value) if value is not None else None
    if name == "relax.square":
        return value.args[0].same_as(base)
    if name == "relax.multiply":
        return value.args[0].same_as(base) and value.args[1].same_as(base)
    if name == "relax.power":
        exponent = array_of(value.args[1])
        return value.args[0].same_as(base) and exponent is not None and bool((exponent == 2).all())
    return False


def _with_parameter(
    graph: MainGraph, node: Node, normalized: relax.Var, norm: relax.Call, array: np.ndarray
) -> Replacement | Decline | None:
    """Takes gamma (of a multiplication) or beta (of an addition) into the layer norm before it."""
    gamma, beta = array_of(norm.args[1]), array_of(norm.args[2])
    scales = node.operator == "relax.multiply"
    if gamma is None or beta is None or beta.any() or (scales and not (gamma == 1).all()):
        return None
    if graph.readers(normalized) > 1:
        return Decline(node.name, f"the output of {normalized.name} is read by {graph.readers(normalized)} nodes")
    rank = norm.ty.ndim
    if array.ndim > rank:
        reason = f"its constant has {array.ndim} dimensions, more than the {rank} of {normalized.name}"
        return Decline(node.name, reason)
    leading = array.shape[: max(0, array.ndim - gamma.ndim)]
    trailing = array.shape[len(leading) :]
    if any(extent != 1 for extent in leading) or np.broadcast_shapes(trailing, gamma.shape) != gamma.shape:
        return Decline(node.name, f"its constant varies along other axes than those that {normalized.name} normalizes")
    full = np.broadcast_to(array.reshape(trailing), gamma.shape).astype(gamma.dtype)
    pair = (full, beta) if scales else (gamma, full)
    call = _layer_norm(norm.args[0], *pair, [int(axis) for axis in norm.attrs.axes], float(norm.attrs.epsilon))
    what = "scale" if scales else "shift"
    return Replacement(call, f"{what} taken into the layer normalization", (normalized.name,))


def _layer_norm(x: relax.Expr, gamma: np.ndarray, beta: np.ndarray, axes: list[int], epsilon: float) -> relax.Expr:
    return relax.op.nn.layer_norm(x, constant(gamma), constant(beta), axes, epsilon)


def _of(graph: MainGraph, expr: relax.Expr, operator: str) -> relax.Call | None:
    value = graph.definition(expr)
    return value if isinstance(value, relax.Call) and operator_name(value) == operator else None


def _axes(mean: relax.Call) -> list[int] | None:
    """The reduced axes in order, None unless their dimensions are kept."""
    if not mean.attrs.keepdims:
        return None
    rank = mean.args[0].ty.ndim
    return list(range(rank)) if mean.attrs.axis is None else sorted(int(axis) % rank for axis in mean.attrs.axis)
