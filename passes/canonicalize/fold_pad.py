"""FoldPad: zeros written around a tensor become the padding of the convolution that reads it.

conv(pad(x, zeros), w, padding=p)   ->   conv(x, w, padding=p + zeros)
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

_CONVOLUTIONS = {
    "relax.nn.conv1d": relax.op.nn.conv1d,
    "relax.nn.conv2d": relax.op.nn.conv2d,
    "relax.nn.conv3d": relax.op.nn.conv3d,
}


@dataclass(frozen=True)
class FoldPad(Pass):
    """Folds zero padding into the convolution behind it, which then reads the unpadded tensor."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Folds constant zero padding of spatial dimensions."""
        return rewrite_main(module, _fold)


def _fold(graph: MainGraph, node: Node) -> Replacement | Decline | None:
    if node.operator not in _CONVOLUTIONS:
        return None
    padded, weights = node.args
    pad = graph.definition(padded)
    if pad is None or operator_name(pad) != "relax.nn.pad":
        return None
    attrs = node.value.attrs
    widths = [int(width) for width in pad.attrs.pad_width]
    spatial = [i for i, letter in enumerate(str(attrs.data_layout)) if letter not in "NC"]
    if str(pad.attrs.pad_mode) != "constant" or float(pad.attrs.pad_value) != 0.0:
        return Decline(node.name, f"{padded.name} pads with something other than zeros")
    if any(width and axis // 2 not in spatial for axis, width in enumerate(widths)):
        return Decline(node.name, f"{padded.name} pads the batch or the channels")
    if min(widths) < 0:
        return Decline(node.name, f"{padded.name} crops: a convolution's padding can't be negative")
    if graph.readers(padded) > 1:
        return Decline(node.name, f"{padded.name} is read by {graph.readers(padded)} nodes, so it stays anyway")
    before = [widths[2 * axis] for axis in spatial]
    after = [widths[2 * axis + 1] for axis in spatial]
    padding = [int(own) + added for own, added in zip(attrs.padding, [*before, *after], strict=True)]
    call = _CONVOLUTIONS[node.operator](
        pad.args[0],
        weights,
        strides=[int(stride) for stride in attrs.strides],
        padding=padding,
        dilation=[int(dilation) for dilation in attrs.dilation],
        groups=int(attrs.groups),
        data_layout=attrs.data_layout,
        kernel_layout=attrs.kernel_layout,
        out_layout=attrs.out_layout,
        out_dtype=attrs.out_dtype,
    )
    return Replacement(call, f"padding {padded.name} folded into {node.name}", (padded.name,))
