"""MergeConstantArithmetic: chains of additions and multiplications by constants become one of each at most.

    (x + a) - b        ->   x + (a - b)
    (x * a) / b        ->   x * (a / b)
    (x * a + b) * c    ->   x * (a * c) + b * c

Constants are computed in float64 and rounded once; integers are left alone, since they may wrap around.

What an intermediate result rounds away can be the point, so three kinds of chain stay as they are:

* Sums whose constants cancel: ``(x + 12582912) - 12582912`` rounds x to an integer. Merged constants keep at least half
  of the larger one's magnitude, so that the rounding of ``x + a`` was at most two units in the last place of theirs.
* Products with an extreme factor: ``(x * 1e-30) * 1e30`` flushes small x to 0. A factor may use half of its type's
  exponent range, which leaves the other half to x before the product overflows or becomes subnormal.
* Constants that would grow: ``[H, 1]`` and ``[1, W]`` make ``[H, W]``.
"""

from __future__ import annotations

import math
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

_LARGEST_EXPONENT = {"float16": 8, "bfloat16": 64, "float32": 64, "float64": 512}
"""Half of the exponent range, by element type; factors of narrower types have no room at all."""


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
    if graph.readers(outer.x) > 1:
        return Decline(node.name, f"{outer.x.name} before it is read by {graph.readers(outer.x)} nodes")
    combine = _added if outer.operator == "relax.add" else _multiplied
    merged = combine(inner.operand, outer.operand, outer.dtype)
    if isinstance(merged, str):
        return Decline(node.name, f"its constant merged with that of {outer.x.name} {merged}")
    make = relax.op.add if outer.operator == "relax.add" else relax.op.multiply
    return Replacement(make(inner.x, merged), f"merged with {outer.x.name}", (outer.x.name,))


def _distribute(graph: MainGraph, node: Node, outer: _Step, inner: _Step, product: _Step) -> Replacement | Decline:
    for var in (outer.x, inner.x):
        if graph.readers(var) > 1:
            return Decline(node.name, f"{var.name} before it is read by {graph.readers(var)} nodes")
    scale = _multiplied(product.operand, outer.operand, outer.dtype)
    if isinstance(scale, str):
        return Decline(node.name, f"its constant merged with that of {inner.x.name} {scale}")
    shift = _multiplied(inner.operand, outer.operand, outer.dtype)
    if isinstance(shift, str):
        return Decline(node.name, f"its constant merged with that of {outer.x.name} {shift}")
    scaled = graph.emit(inner.x.name, relax.op.multiply(product.x, scale))
    what = f"merged with {inner.x.name} and {outer.x.name}"
    return Replacement(relax.op.add(scaled, shift), what, (outer.x.name,))


def _added(first: np.ndarray, second: np.ndarray, dtype: np.dtype) -> relax.Expr | str:
    """The sum as a constant of ``dtype``, or what is wrong with it."""
    if growth := _growth(first, second):
        return growth
    merged = first + second
    if (np.abs(merged) < 0.5 * np.maximum(np.abs(first), np.abs(second))).any():
        return "cancels it, and with it what the addition in between rounds away"
    return _rounded(merged, dtype)


def _multiplied(first: np.ndarray, second: np.ndarray, dtype: np.dtype) -> relax.Expr | str:
    """The product as a constant of ``dtype``, or what is wrong with it."""
    if growth := _growth(first, second):
        return growth
    merged = first * second
    rounded = _rounded(merged, dtype)
    if isinstance(rounded, str):
        return rounded
    limit = _LARGEST_EXPONENT.get(dtype.name, 0)
    if _is_extreme(first, limit) or _is_extreme(merged, limit):
        return f"drops a product that may overflow or become 0: a factor is outside of 2^-{limit} to 2^{limit}"
    return rounded


def _growth(first: np.ndarray, second: np.ndarray) -> str | None:
    shape = np.broadcast_shapes(first.shape, second.shape)
    size = math.prod(shape)
    return f"grows to {size} elements" if size > max(first.size, second.size) else None


def _is_extreme(factor: np.ndarray, limit: int) -> bool:
    magnitude = np.abs(factor[factor != 0])
    return bool(((magnitude < 2.0**-limit) | (magnitude > 2.0**limit)).any())


def _rounded(exact: np.ndarray, dtype: np.dtype) -> relax.Expr | str:
    """A constant of ``dtype``, or that a value leaves its range."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(dtype)
    in_range = np.isfinite(rounded.astype(np.float64)).all()
    return constant(rounded) if in_range else f"leaves the range of {dtype}"


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
