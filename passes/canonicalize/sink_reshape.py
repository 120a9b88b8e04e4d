"""SinkReshape: an elementwise operator behind a reshape moves before it, next to what computes its input.

    relu(reshape(matmul(x, w)))          ->   reshape(relu(matmul(x, w)))
    reshape(matmul(x, w)) + bias         ->   reshape(matmul(x, w) + bias)     where the last extent stays the same

A reshape is a view and no kernel, so it only stands between an anchor and what could run in the anchor's kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax, sym

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.canonicalize.elementwise_operators import ELEMENTWISE
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.passes.relax_expressions import same_shape
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class SinkReshape(Pass):
    """Moves elementwise operators from behind a reshape to before it, so that they fuse with what is there."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Moves operators with one tensor and otherwise constants that fit the shape before the reshape too."""
        return rewrite_main(module, _sink)


def _sink(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if node.operator not in ELEMENTWISE:
        return None
    reshaped = [arg for arg in node.args if _is_reshape(graph, arg)]
    if len(reshaped) != 1 or graph.definition(graph.definition(reshaped[0]).args[0]) is None:
        return None
    view = reshaped[0]
    source = graph.definition(view).args[0]
    if graph.readers(view) > 1:
        return Decline(node.name, f"the reshape {view.name} before it is read by {graph.readers(view)} nodes")
    if not same_shape(view.ty.shape, node.var.ty.shape):
        return Decline(node.name, f"it broadcasts the output of the reshape {view.name}")
    args = [source if arg.same_as(view) else _fitted(arg, view, source) for arg in node.args]
    blocking = [old for old, new in zip(node.args, args, strict=True) if new is None]
    if blocking:
        what = "a constant" if array_of(blocking[0]) is not None else "an operand"
        return Decline(node.name, f"it reads {what} that does not fit the shape before the reshape {view.name}")
    moved = graph.emit(node.name, relax.Call(node.value.op, args, node.value.attrs, node.value.ty_args))
    what = f"moved before the reshape {view.name}"
    return Replacement(relax.op.reshape(moved, node.var.ty.shape), what, name=view.name)


def _is_reshape(graph: MainGraph, expr: relax.Expr) -> bool:
    value = graph.definition(expr)
    return value is not None and operator_name(value) == "relax.reshape"


def _fitted(operand: relax.Expr, view: relax.Expr, source: relax.Expr) -> relax.Expr | None:
    """The operand for the shape before the reshape, None where that is impossible."""
    array = array_of(operand)
    if array is None:
        return None if isinstance(operand.ty, relax.TensorType) else operand
    if array.size == 1:
        return constant(array.reshape(()))
    before, after = source.ty.shape.values, view.ty.shape.values
    last_stays = bool(before and after) and sym.Analyzer().can_prove_equal(before[-1], after[-1])
    return constant(array.reshape(-1)) if last_stays and array.size == array.shape[-1] else None
