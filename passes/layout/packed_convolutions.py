"""Convolutions inside of packed regions: which can be there, and the kernel of each.

conv(x, W)              -> call_tir(packed_convolution, pack(x), pack(W))
conv(x, W), C <= 4      -> call_tir(first_convolution, x, pack(W))            an image as it comes in
conv(x, W), depthwise   -> call_tir(packed_depthwise, pack(x), pack(W))
conv(x, W), 3 x 3       -> call_tir(winograd_convolution, pack(x), pack(G W G^T))     where it is faster
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax, tirx

from lepton_compiler.passes.canonicalize.constant_arrays import constant
from lepton_compiler.passes.layout.pack_weights import pack_convolution_weight, pack_winograd_weight
from lepton_compiler.passes.layout.packed_activations import PackedActivations, pack_channels
from lepton_compiler.passes.lowering.convolution_computes import Window
from lepton_compiler.passes.lowering.legalize_convolutions import (
    CONVOLUTIONS,
    is_depthwise,
    weight_and_window,
    why_not_packed,
)
from lepton_compiler.passes.lowering.packed_convolution_computes import (
    first_convolution,
    packed_convolution,
    packed_depthwise,
)
from lepton_compiler.passes.main_graph import Node, Replacement
from lepton_compiler.passes.winograd.choose_algorithm import Choice, WinogradPolicy
from lepton_compiler.passes.winograd.winograd_compute import winograd_convolution
from lepton_compiler.targets.spec import TargetSpec

_FEW_CHANNELS = 4
"""Channels of an image; packing them would fill most of a vector with zeros."""


@dataclass(frozen=True)
class ConvolutionPacker:
    """Rewrites convolutions.

    Attributes:
        target: For vector lanes and the cost model.
        winograd: When Winograd's algorithms may be used.
    """

    target: TargetSpec
    winograd: WinogradPolicy

    def why_not(self, call: relax.Call) -> str | None:
        """Why a convolution stays outside of packed regions, None where it doesn't."""
        reason = why_not_packed(call, self.target)
        if reason is not None:
            return reason
        groups, lanes = int(call.attrs.groups), self.target.vector_lanes()
        channels = int(call.args[0].ty.shape.values[1])
        outputs = int(call.ty.shape.values[1])
        if is_depthwise(call):
            return None if outputs == channels else f"each channel has {outputs // channels} outputs"
        if groups > 1 and outputs // groups % lanes:
            return f"{outputs // groups} output channels in a group are no whole vectors of {lanes}"
        return None

    def pack(self, packed: PackedActivations, node: Node) -> tuple[Replacement, str | None]:
        """The packed form of a convolution for which ``why_not`` finds nothing, and why it is not Winograd's."""
        call = node.value
        weight, window = weight_and_window(call)
        kernel = call.op.name.rpartition(".")[2]
        if is_depthwise(call):
            result = self._depthwise(packed, node, kernel, weight, window)
            return packed.stand_in(node, result, "depthwise on packed channels"), None
        choice = self._choose(call, weight, window)
        if choice is not None and choice.transform is not None:
            result = self._winograd(packed, node, kernel, weight, window, choice)
            return packed.stand_in(node, result, choice.reason), None
        result, what = self._direct(packed, node, kernel, weight, window)
        return packed.stand_in(node, result, what), None if choice is None else choice.reason

    def _depthwise(
        self, packed: PackedActivations, node: Node, kernel: str, weight: np.ndarray, window: Window
    ) -> relax.Var:
        channels_first = weight[:, 0][np.newaxis]
        packed_weight = constant(pack_channels(channels_first, packed.lanes)[0])
        return packed.graph.emit_te(
            node.name,
            f"depthwise_{kernel}",
            lambda data, taps: packed_depthwise(data, taps, window),
            packed.packed(node.args[0]),
            packed_weight,
        )

    def _direct(
        self, packed: PackedActivations, node: Node, kernel: str, weight: np.ndarray, window: Window
    ) -> tuple[relax.Var, str]:
        groups, source = int(node.value.attrs.groups), node.args[0]
        packed_weight = constant(pack_convolution_weight(weight, packed.lanes))
        if groups == 1 and weight.shape[1] <= _FEW_CHANNELS and not packed.is_packed(source):
            result = packed.graph.emit_te(
                node.name,
                kernel,
                lambda data, taps: first_convolution(data, taps, window),
                source,
                packed_weight,
            )
            return result, f"reads {weight.shape[1]} plain channels, writes packed ones"
        result = packed.graph.emit_te(
            node.name,
            kernel,
            lambda data, taps: packed_convolution(data, taps, window, groups),
            packed.packed(source),
            packed_weight,
        )
        return result, "direct convolution on packed channels"

    def _winograd(
        self,
        packed: PackedActivations,
        node: Node,
        kernel: str,
        weight: np.ndarray,
        window: Window,
        choice: Choice,
    ) -> relax.Var:
        transform = choice.transform
        assert transform is not None
        transformed = pack_winograd_weight(transform.transform_weight(weight), packed.lanes)
        before, after = window.padding_before, window.padding_after
        return packed.graph.emit_te(
            node.name,
            f"winograd{transform.outputs}_{kernel}",
            lambda data, taps: winograd_convolution(data, taps, transform, before, after),
            packed.packed(node.args[0]),
            constant(transformed),
        )

    def _choose(self, call: relax.Call, weight: np.ndarray, window: Window) -> Choice | None:
        """Which algorithm a 3 by 3 convolution takes; None for others."""
        if CONVOLUTIONS[call.op.name] or window.kernel != (3, 3) or int(call.attrs.groups) > 1:
            return None
        if window.strides != (1, 1) or window.dilation != (1, 1):
            return None
        batch, _, *output = call.ty.shape.values
        sizes = [int(size) if isinstance(size, tirx.IntImm) else None for size in (batch, *output)]
        return self.winograd.choose(self.target, weight.shape, sizes)
