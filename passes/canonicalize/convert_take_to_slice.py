"""ConvertTakeToSlice: a take of constant, evenly spaced indices becomes a slice, which needs no table lookup.

take(x, 2, axis)            ->   reshape(strided_slice(x, axis, 2:3))
take(x, [0, 2, 4], axis)    ->   strided_slice(x, axis, 0:5:2)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import tvm
from tvm import relax

from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline
from lepton_compiler.passes.canonicalize.constant_arrays import array_of
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement, rewrite_main
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class ConvertTakeToSlice(Pass):
    """Writes takes of constant, evenly spaced indices as slices, which fuse with what reads them."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Converts takes whose indices provably lie inside of a fixed extent."""
        return rewrite_main(module, _convert)


def _convert(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if node.operator != "relax.take":
        return None
    data, indices = node.args[0], array_of(node.args[1])
    if indices is None or node.value.attrs.axis is None or array_of(data) is not None:
        return None
    axis = int(node.value.attrs.axis) % data.ty.ndim
    extent = data.ty.shape.values[axis]
    if not isinstance(extent, tvm.tirx.IntImm):
        return Decline(node.name, f"the extent {extent} of axis {axis} is symbolic, so its indices can't be checked")
    step = _step(indices)
    if step is None:
        return Decline(node.name, "its indices are not evenly spaced and growing")
    first, last = int(indices.min()), int(indices.max())
    if first < 0 or last >= int(extent):
        return Decline(node.name, f"its indices {first} to {last} leave the extent {int(extent)} of axis {axis}")
    piece = relax.op.strided_slice(data, [axis], [first], [last + 1], [step])
    if indices.ndim != 1:
        piece = relax.op.reshape(graph.emit(node.name, piece), node.var.ty.shape)
    return Replacement(piece, f"its indices are constants: now the slice {first}:{last + 1}:{step} of axis {axis}")


def _step(indices: np.ndarray) -> int | None:
    """Distance of neighbours, None where it is not always the same positive one."""
    if indices.size == 0:
        return None
    if indices.size == 1:
        return 1
    steps = np.diff(indices.reshape(-1).astype(np.int64))
    return int(steps[0]) if steps[0] > 0 and (steps == steps[0]).all() else None
