"""MergeConstantArithmetic: chains of additions and multiplications by constants become one of each at most.

    (x + a) - b        ->   x + (a - b)
    (x * a) / b        ->   x * (a / b)
    (x * a + b) * c    ->   x * (a * c) + b * c

Constants are computed in float64 and rounded once; integers are left alone, since they may wrap around.
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
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, join_names, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class MergeConstantArithmetic(Pass):
    """Merges chains of additions, or of multiplications, with constants."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Merges each node with the one before it, so that a chain of any length becomes one node."""
        return rewrite_main(module, _merge)


@dataclass(frozen=True)
class _Step:
    """``x + operand`` or ``x * operand``, subtraction and division already turned around; the operand is float64."""

    operator: str
    x: relax.Expr
    operand: np.ndarray
    dtype: np.dtype


def _merge(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    outer = _read_step(node.value)
    inner = _read_step(graph.definition(outer.x)) if outer is not None else None
    if outer is None or inner is None:
        return None
    if outer.operator == inner.operator:
        return _merge_equal(graph, node, outer, inner)
    product = _read_step(graph.definition(inner.x))
    if outer.operator == "relax.multiply" and product is not None and product.operator == "relax.multiply":
        return _distribute(graph, node, outer, inner, product)
    return None


def _merge_equal(graph: MainGraph, node: Node, outer: _Step, inner: _Step) -> Replacement | Decline:
    combine = np.add if outer.operator == "relax.add" else np.multiply
    merged = _rounded(combine(inner.operand, outer.operand), outer.dtype)
    if graph.readers(outer.x) > 1:
        return Decline(node.name, f"{outer.x.name} before it is read by {graph.readers(outer.x)} nodes")
    if merged is None:
        return Decline(node.name, f"its constant merged with that of {outer.x.name} leaves the range of {outer.dtype}")
    make = relax.op.add if outer.operator == "relax.add" else relax.op.multiply
    name = join_names(outer.x.name, node.name)
    return Replacement(make(inner.x, merged), f"merged with {outer.x.name}", name)


def _distribute(graph: MainGraph, node: Node, outer: _Step, inner: _Step, product: _Step) -> Replacement | Decline:
    for var in (outer.x, inner.x):
        if graph.readers(var) > 1:
            return Decline(node.name, f"{var.name} before it is read by {graph.readers(var)} nodes")
    scale = _rounded(product.operand * outer.operand, outer.dtype)
    shift = _rounded(inner.operand * outer.operand, outer.dtype)
    if scale is None or shift is None:
        return Decline(node.name, f"its constant merged with that of {outer.x.name} leaves the range of {outer.dtype}")
    scaled = graph.emit(inner.x.name, relax.op.multiply(product.x, scale))
    name = join_names(outer.x.name, node.name)
    return Replacement(relax.op.add(scaled, shift), f"merged with {inner.x.name} and {outer.x.name}", name)


def _rounded(exact: np.ndarray, dtype: np.dtype) -> relax.Expr | None:
    """A constant of ``dtype``, None where a value leaves its range."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(dtype)
    return constant(rounded) if np.isfinite(rounded.astype(np.float64)).all() else None


def _read_step(value: relax.Expr | None) -> _Step | None:
    name = operator_name(value) if value is not None else None
    if name not in ("relax.add", "relax.subtract", "relax.multiply", "relax.divide"):
        return None
    pairs = (value.args, value.args[::-1]) if name in ("relax.add", "relax.multiply") else (value.args,)
    for x, operand in pairs:
        array = array_of(operand)
        if array is None or array.dtype.kind in "iub" or array_of(x) is not None:
            continue
        exact = array.astype(np.float64)
        if name == "relax.subtract":
            return _Step("relax.add", x, -exact, array.dtype)
        if name == "relax.divide":
            return _Step("relax.multiply", x, 1.0 / exact, array.dtype) if exact.all() else None
        return _Step(name, x, exact, array.dtype)
    return None
