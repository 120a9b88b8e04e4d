"""PackActivations: regions around convolutions keep the channels of one vector together.

    [n, C, h, w]  ->  [n, C/v, h, w, v]          v channels fill a vector register

Every convolution that can be packed is, and every operator behind one stays packed where it has a packed form; layout
transforms stand at the borders of such a region only. Which convolution takes which algorithm is decided here as well
(``packed_convolutions.py``). The layout is that of Liu et al., "Optimizing CNN Model Inference on CPUs", ATC 2019.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import tvm
from tvm import relax, tirx

from lepton_compiler.core.contracts import bindings, operator_name
from lepton_compiler.core.decisions import STAYS_PACKED
from lepton_compiler.core.pass_base import Pass, PassResult
from lepton_compiler.core.program import Decline, Rewrite
from lepton_compiler.passes.layout.channels_last import channels_to_the_end, is_transpose, unpack_channels_last
from lepton_compiler.passes.layout.packed_activations import PackedActivations, is_empty
from lepton_compiler.passes.layout.packed_convolutions import ConvolutionPacker
from lepton_compiler.passes.layout.packed_operators import pack_operator
from lepton_compiler.passes.lowering.legalize_convolutions import CONVOLUTIONS
from lepton_compiler.passes.main_graph import MainGraph, Node, Replacement
from lepton_compiler.passes.relax_expressions import variables
from lepton_compiler.passes.winograd.choose_algorithm import WinogradPolicy
from lepton_compiler.passes.winograd.measured_algorithms import AlgorithmSource, LayerTimes
from lepton_compiler.targets.spec import TargetSpec


@dataclass(frozen=True)
class PackActivations(Pass):
    """Keep activations around convolutions in packed layout, and choose the convolutions' algorithms."""

    winograd: WinogradPolicy = field(default_factory=WinogradPolicy)
    """When Winograd's algorithms may be used."""

    measured: AlgorithmSource | None = None
    """Who has measured them; None where nobody is asked."""

    def run(self, module: tvm.IRModule, target: TargetSpec) -> PassResult:
        """Walks the graph once; the node of a decline leaves the packed region, or takes the direct algorithm."""
        graph = MainGraph(module)
        packed = PackedActivations(graph, target.vector_lanes())
        packer = ConvolutionPacker(target, self.winograd, self._times(module, target))
        rewrites: list[Rewrite] = []
        declines: list[Decline] = []
        for node in graph.nodes():
            replacement, reason = _pack(packed, packer, node)
            if reason is not None:
                declines.append(Decline(node.name, reason))
            if replacement is None:
                graph.keep(node)
            else:
                graph.replace(node, replacement)
                rewrites.append(Rewrite(node.name, replacement.what))
        return PassResult(graph.finish() if rewrites else module, tuple(rewrites), tuple(declines))

    def _times(self, module: tvm.IRModule, target: TargetSpec) -> Mapping[str, LayerTimes]:
        """What was measured of the module's convolutions, by node."""
        algorithms = self.winograd.algorithms()
        if self.measured is None or len(algorithms) == 1 or not self._has_choice(module, target):
            return {}

        def pack(algorithm: str) -> tvm.IRModule:
            forced = PackActivations(replace(self.winograd, only=algorithm))
            return forced.run(module.clone(), target).module

        return self.measured.find(algorithms, pack, target)

    def _has_choice(self, module: tvm.IRModule, target: TargetSpec) -> bool:
        packer = ConvolutionPacker(target, self.winograd)
        calls = (binding.value for binding in bindings(module) if operator_name(binding.value) in CONVOLUTIONS)
        return any(packer.has_choice(call) for call in calls)


def _pack(packed: PackedActivations, packer: ConvolutionPacker, node: Node) -> tuple[Replacement | None, str | None]:
    """What takes the node's place, if anything does, and what was declined."""
    if node.operator in CONVOLUTIONS:
        reason = packer.why_not(node.value)
        return (None, f"not packed: {reason}") if reason is not None else packer.pack(packed, node)
    inside = [var for var in variables(node.value) if packed.is_packed(var)]
    if not inside or not _is_tensor(node.var.ty):
        return None, None
    if any(is_empty(ty) for ty in (node.var.ty, *(var.ty for var in inside))):
        return None, "leaves the packed region: a tensor has no elements"
    if _moves_channels_to_the_end(packed, node):
        last = unpack_channels_last(packed.graph, node.name, packed.packed(node.args[0]))
        return Replacement(last, "leaves the packed region vector by vector"), None
    outcome = pack_operator(packed, node)
    if isinstance(outcome, str):
        return None, f"leaves the packed region: {outcome}"
    assert outcome is not None
    return packed.stand_in(node, outcome, STAYS_PACKED), None


def _moves_channels_to_the_end(packed: PackedActivations, node: Node) -> bool:
    if node.operator != "relax.permute_dims" or len(node.var.ty.shape.values) < 3:
        return False
    channels = node.args[0].ty.shape.values[1]
    whole = isinstance(channels, tirx.IntImm) and int(channels) % packed.lanes == 0
    return whole and is_transpose(node.value, channels_to_the_end(len(node.var.ty.shape.values)))


def _is_tensor(ty: relax.Type) -> bool:
    return isinstance(ty, relax.TensorType) and ty.shape is not None
