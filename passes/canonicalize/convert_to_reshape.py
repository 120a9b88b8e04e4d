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
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, join_names, rewrite_main
from lepton_compiler.targets.spec import TargetSpec

_VIEWS = {"relax.squeeze", "relax.expand_dims", "relax.flatten", "relax.nn.batch_flatten"}


@dataclass(frozen=True)
class ConvertToReshape(Pass):
    """Writes operators that move no element as reshapes, and chains of reshapes as one."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Converts where the result's shape is known."""
        return rewrite_main(module, _convert)


def _convert(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if node.operator == "relax.permute_dims":
        return _convert_transpose(node)
    if node.operator != "relax.reshape" and node.operator not in _VIEWS:
        return None
    source, name = node.args[0], node.name
    value = graph.definition(source)
    merged = value is not None and operator_name(value) == "relax.reshape"
    if merged and graph.readers(source) == 1:
        source, name = value.args[0], join_names(source.name, name)
    elif node.operator == "relax.reshape":
        return Decline(node.name, f"the reshape {source.name} before it is read by other nodes too") if merged else None
    what = "merged with the reshape before it" if source is not node.args[0] else "moves no element: now a reshape"
    return Replacement(relax.op.reshape(source, node.var.ty.shape), what, name)


def _convert_transpose(node: Node) -> Replacement | None:
    shape = node.args[0].ty.shape
    if shape is None:
        return None
    axes = node.value.attrs.axes
    order = list(range(len(shape.values)))[::-1] if axes is None else [int(axis) for axis in axes]
    moved = [axis for axis in order if not _is_one(shape.values[axis])]
    if moved != sorted(moved):
        return None
    return Replacement(
        relax.op.reshape(node.args[0], node.var.ty.shape), "moves dimensions of extent 1 only: now a reshape"
    )


def _is_one(extent: relax.Expr) -> bool:
    return isinstance(extent, tvm.tirx.IntImm) and int(extent) == 1
