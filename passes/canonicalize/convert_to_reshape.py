"""ConvertToReshape: operators that move no element become reshapes, which the executor turns into views.

squeeze(x), expand_dims(x), flatten(x)        ->   reshape(x)
permute_dims(x) that moves extents of 1 only  ->   reshape(x)
reshape(reshape(x))                           ->   reshape(x)
"""

from __future__ import annotations

from dataclasses import dataclass

import tvm
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_VIEWS = {"relax.squeeze", "relax.expand_dims", "relax.flatten", "relax.nn.batch_flatten"}


@dataclass(frozen=True)
class ConvertToReshape(Pass):
    """Writes operators that move no element as reshapes, and chains of reshapes as one."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Converts where the result's shape is known."""
        return rewrite_main(module, _convert)


def _convert(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    moves_none = _reason_to_convert(node)
    if moves_none is None:
        return None
    view = graph.definition(node.args[0])
    behind_reshape = view is not None and operator_name(view) == "relax.reshape"
    if behind_reshape and graph.readers(node.args[0]) == 1:
        name = node.args[0].name
        return Replacement(
            relax.op.reshape(view.args[0], node.var.ty.shape), f"merged with the reshape {name}", (name,)
        )
    if node.operator != "relax.reshape":
        return Replacement(relax.op.reshape(node.args[0], node.var.ty.shape), f"{moves_none}: now a reshape")
    if behind_reshape:
        return Decline(node.name, f"the reshape {node.args[0].name} before it is read by other nodes too")
    return None


def _reason_to_convert(node: Node) -> str | None:
    """Why the node is no more than a reshape, None where it is more."""
    if node.operator == "relax.reshape" or node.operator in _VIEWS:
        return "moves no element"
    if node.operator != "relax.permute_dims" or node.args[0].ty.shape is None:
        return None
    extents = node.args[0].ty.shape.values
    axes = node.value.attrs.axes
    order = list(range(len(extents)))[::-1] if axes is None else [int(axis) for axis in axes]
    moved = [axis for axis in order if not _is_one(extents[axis])]
    return "moves dimensions of extent 1 only" if moved == sorted(moved) else None


def _is_one(extent: relax.Expr) -> bool:
    return isinstance(extent, tvm.tirx.IntImm) and int(extent) == 1
