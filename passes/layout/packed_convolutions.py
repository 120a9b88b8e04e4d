"""Convolutions inside of packed regions: which can be there, and the kernel of each.

conv(x, W)              -> call_tir(packed_convolution, pack(x), pack(W))
conv(x, W), C <= 4      -> call_tir(first_convolution, x, pack(W))            an image as it comes in
conv(x, W), depthwise   -> call_tir(packed_depthwise, pack(x), pack(W))
conv(x, W), 3 x 3       -> call_tir(winograd_convolution, pack(x), pack(G W G^T))     where it is faster
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from tvm import relax, te, tirx

from lepton_compiler.core.lone_operators import OpPattern
from lepton_compiler.core.node_names import node_of
from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.passes.canonicalize.constant_arrays import constant
from lepton_compiler.passes.layout.pack_weights import pack_convolution_weight, pack_winograd_weight
from lepton_compiler.passes.layout.packed_activations import PackedActivations, is_empty, pack_channels
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
from lepton_compiler.passes.lowering.row_major import flatten
from lepton_compiler.passes.main_graph import Node, Replacement
from lepton_compiler.passes.precision.bfloat16_tensors import is_bfloat16, pair_up, stored_operand
from lepton_compiler.passes.winograd.choose_algorithm import Choice, WinogradPolicy
from lepton_compiler.passes.winograd.measured_algorithms import LayerTimes
from lepton_compiler.passes.winograd.winograd_compute import winograd_convolution
from lepton_compiler.targets.spec import TargetSpec

_FEW_CHANNELS = 4
"""Channels of an image; packing them would fill most of a vector with zeros."""

_FEWEST_PAIRED_CHANNELS = 8
"""Input channels below which broadcasts of pairs are mostly filling."""
_BFLOAT16_RATE = 2.0
"""Products of bfloat16 in the time of one float32 product."""


@dataclass(frozen=True)
class ConvolutionPacker:
    """Rewrites convolutions.

    Attributes:
        target: For vector lanes and the cost model.
        winograd: When Winograd's algorithms may be used.
        times: What was measured of layers, by the model's node of the convolution.
    """

    target: TargetSpec
    winograd: WinogradPolicy
    times: Mapping[str, LayerTimes] = field(default_factory=dict)

    def why_not(self, call: relax.Call) -> str | None:
        """Why a convolution stays outside of packed regions, None where it doesn't."""
        reason = why_not_packed(call, self.target)
        if reason is not None:
            return reason
        if is_empty(call.args[0].ty) or is_empty(call.ty):
            return "a tensor has no elements"
        groups, lanes = int(call.attrs.groups), self.target.vector_lanes()
        channels = int(call.args[0].ty.shape.values[1])
        outputs = int(call.ty.shape.values[1])
        if is_depthwise(call):
            return None if outputs == channels else f"each channel has {outputs // channels} outputs"
        if groups > 1 and outputs // groups % lanes:
            return f"{outputs // groups} output channels in a group are no whole vectors of {lanes}"
        return None

    def why_not_bfloat16(self, call: relax.Call) -> str | None:
        """Why a convolution can't be a product of bfloat16 pairs, or had better not; None where it can."""
        reason = self.why_not(call)
        if reason is not None:
            return reason
        if is_depthwise(call):
            return "depthwise convolutions have no sums over channels"
        if CONVOLUTIONS[call.op.name] and not is_interleaved(call):
            return "it is a transposed convolution whose kernels overlap"
        weight, window = weight_and_window(call)
        channels = weight.shape[1]
        if _pairs_along_rows(call, window):
            return None
        if channels % 2 or channels < _FEWEST_PAIRED_CHANNELS:
            return f"{channels} input channels are too few, or no pairs"
        choice = self._choose(call, weight, window, _BFLOAT16_RATE)
        if choice is not None and choice.transform is not None:
            return f"Winograd's algorithm in float32 is faster ({choice.reason})"
        return None

    def has_choice(self, call: relax.Call) -> bool:
        """Whether several algorithms can compute a convolution, as far as its window goes."""
        if self.why_not(call) is not None:
            return False
        _, window = weight_and_window(call)
        return _why_not_winograd(call, window) is None

    def pack(self, packed: PackedActivations, node: Node) -> tuple[Replacement, str | None]:
        """The packed form of a convolution for which ``why_not`` finds nothing, and why it is not Winograd's."""
        call = node.value
        weight, window = weight_and_window(call)
        kernel = call.op.name.rpartition(".")[2]
        if is_depthwise(call):
            result = self._depthwise(packed, node, kernel, weight, window)
            return packed.stand_in(node, result, "depthwise on packed channels"), None
        if is_interleaved(call):
            return self._interleaved(packed, node, kernel), None
        pairs = self._has_pairs(packed, node)
        choice = self._choose(
            call, weight, window, _BFLOAT16_RATE if pairs else 1.0, self.times.get(node_of(node.name))
        )
        # What multiplies pairs of bfloat16 was chosen when the precision was.
        if choice is not None and choice.transform is not None and not pairs:
            result = self._winograd(packed, node, kernel, weight, window, choice)
            return packed.stand_in(node, result, choice.reason), None
        result, what = self._direct(packed, node, kernel, weight, window)
        if choice is None:
            what = f"{what}; {_why_not_winograd(call, window)}"
        reason = choice.reason if choice is not None and choice.transform is None else None
        return packed.stand_in(node, result, what), reason

    def _interleaved(self, packed: PackedActivations, node: Node, kernel: str) -> Replacement:
        """A transposed convolution whose kernels don't overlap: a pointwise one, and its outputs put in place."""
        weight = node.args[1].value.numpy()
        channels, outputs, *steps = weight.shape
        rank = len(steps)
        missing = -outputs % packed.lanes
        whole = missing <= outputs // 2
        if whole:
            weight = np.pad(weight, [(0, 0), (0, missing), *[(0, 0)] * rank])
        # Places of a kernel stand outside of the channels where these fill most of their vectors.
        order = [*range(2, 2 + rank), 1, 0] if whole else [1, *range(2, 2 + rank), 0]
        rows = weight.transpose(order).reshape(-1, channels, *[1] * rank)
        window = Window((1,) * rank, (1,) * rank, (1,) * rank, (0,) * rank, (0,) * rank, (1,) * rank)
        product = packed.graph.emit_te(
            node.name,
            kernel,
            lambda data, taps: packed_convolution(data, taps, window, 1),
            *self._operands(packed, node, rows),
        )
        what = f"a pointwise convolution, {' by '.join(map(str, steps))} outputs of each pixel put in place"
        if whole:
            return packed.stand_in(node, _interleave(packed, node, product, steps), what)
        plain = packed.unpacked(node.name, product, len(rows))
        return Replacement(_spread(packed, node, plain, steps, outputs), what)

    def _depthwise(
        self, packed: PackedActivations, node: Node, kernel: str, weight: np.ndarray, window: Window
    ) -> relax.Var:
        channels_first = weight[:, 0][np.newaxis]
        packed_weight = constant(pack_channels(channels_first, packed.lanes)[0])
        return packed.graph.emit_te(
            node.name,
            f"depthwise_{kernel}",
            lambda data, taps: packed_depthwise(data, taps, window),
            _as_stored(packed, node.args[0]),
            packed_weight,
        )

    def _direct(
        self, packed: PackedActivations, node: Node, kernel: str, weight: np.ndarray, window: Window
    ) -> tuple[relax.Var, str]:
        groups, source = int(node.value.attrs.groups), node.args[0]
        if groups == 1 and weight.shape[1] <= _FEW_CHANNELS and not packed.is_packed(source):
            packed_weight = pack_convolution_weight(weight, packed.lanes)
            stored = stored_operand(packed.graph, source)
            if stored is not None and is_bfloat16(weight) and _pairs_along_rows(node.value, window):
                source, packed_weight = stored, pair_up(_even_rows(packed_weight), -2)
            result = packed.graph.emit_te(
                node.name,
                kernel,
                lambda data, taps: first_convolution(data, taps, window),
                source,
                constant(packed_weight),
            )
            return result, f"reads {weight.shape[1]} plain channels, writes packed ones"
        result = packed.graph.emit_te(
            node.name,
            kernel,
            lambda data, taps: packed_convolution(data, taps, window, groups),
            *self._operands(packed, node, weight),
        )
        how = " from pairs of bfloat16" if self._has_pairs(packed, node) else ""
        return result, f"direct convolution on packed channels{how}"

    def _has_pairs(self, packed: PackedActivations, node: Node) -> bool:
        """Whether the operands of a convolution are bfloat16 numbers in pairs of channels."""
        weight = node.args[1].value.numpy()
        is_even = weight.shape[0 if CONVOLUTIONS[node.operator or ""] else 1] % 2 == 0
        is_stored = packed.stored(node.args[0]) is not None
        return self.target.has_bfloat16_dot and is_even and is_stored and is_bfloat16(weight)

    def _operands(self, packed: PackedActivations, node: Node, weight: np.ndarray) -> tuple[relax.Expr, relax.Expr]:
        """Packed data, and ``weight[out_channels, in_channels, *kernel]`` packed, in pairs where it can be."""
        packed_weight = pack_convolution_weight(weight, packed.lanes)
        if self._has_pairs(packed, node):
            return _as_stored(packed, node.args[0]), constant(pair_up(packed_weight, 1))
        return packed.packed(node.args[0]), constant(packed_weight)

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
            _as_stored(packed, node.args[0]),
            constant(transformed),
        )

    def _choose(
        self,
        call: relax.Call,
        weight: np.ndarray,
        window: Window,
        direct_rate: float = 1.0,
        times: LayerTimes | None = None,
    ) -> Choice | None:
        """Which algorithm a 3 by 3 convolution takes; None for others."""
        if _why_not_winograd(call, window) is not None:
            return None
        batch, _, *output = call.ty.shape.values
        sizes = [int(size) if isinstance(size, tirx.IntImm) else None for size in (batch, *output)]
        return self.winograd.choose(self.target, weight.shape, sizes, direct_rate, times)


def _why_not_winograd(call: relax.Call, window: Window) -> str | None:
    """Why a convolution has no Winograd algorithm here, whatever it would cost; None where it has."""
    if CONVOLUTIONS[call.op.name]:
        return "a transposed convolution has no Winograd algorithm here"
    if window.kernel != (3, 3):
        return f"a kernel of {'x'.join(map(str, window.kernel))} has no Winograd algorithm here"
    if int(call.attrs.groups) > 1:
        return f"{int(call.attrs.groups)} groups have no Winograd algorithm here"
    for what, steps in (("stride", window.strides), ("dilation", window.dilation)):
        if steps != (1, 1):
            return f"a {what} of {'x'.join(map(str, steps))} has no Winograd algorithm here"
    return None


def _pairs_along_rows(call: relax.Call, window: Window) -> bool:
    """Whether a convolution of few plain channels can take two neighbours of a row a step."""
    is_plain = not CONVOLUTIONS[call.op.name] and int(call.attrs.groups) == 1
    few = int(call.args[1].ty.shape.values[1]) <= _FEW_CHANNELS
    return is_plain and few and window.kernel[-1] > 1 and window.dilation[-1] == 1


def _even_rows(packed_weight: np.ndarray) -> np.ndarray:
    """``[..., kw, v]`` with a tap of zeros behind an odd number of taps."""
    widths = [(0, 0)] * packed_weight.ndim
    widths[-2] = (0, packed_weight.shape[-2] % 2)
    return np.pad(packed_weight, widths)


def _as_stored(packed: PackedActivations, expr: relax.Expr) -> relax.Expr:
    """The packed form of a tensor for a kernel that reads bfloat16 numbers as they are."""
    stored = packed.stored(expr)
    return packed.packed(expr) if stored is None else stored


def is_interleaved(call: relax.Call) -> bool:
    """Whether the kernels of a transposed convolution neither overlap nor leave gaps."""
    attrs = call.attrs
    if not CONVOLUTIONS[call.op.name] or int(attrs.groups) != 1:
        return False
    kernel = [int(size) for size in call.args[1].ty.shape.values[2:]]
    borders = [*attrs.padding, *attrs.output_padding]
    return kernel == [int(step) for step in attrs.strides] and not any(int(border) for border in borders)


def _interleave(packed: PackedActivations, node: Node, value: relax.Var, steps: list[int]) -> relax.Var:
    """Puts the outputs of each input pixel next to each other, in one kernel that fuses with what follows.

    ``[n, steps * blocks, *spatial, v]``, places of the kernel outside of the blocks of channels, becomes
    ``[n, blocks, *(spatial * steps), v]``.
    """
    batch, parts, *spatial, lanes = value.ty.shape.values
    blocks = int(parts) // math.prod(steps)
    sizes = [size * step for size, step in zip(spatial, steps, strict=True)]

    def compute(data: te.Tensor) -> te.Tensor:
        def element(n: tirx.Var, block: tirx.Var, *index: tirx.Var) -> tirx.Expr:
            *place, lane = index
            step = flatten([position % size for position, size in zip(place, steps, strict=True)], steps)
            pixel = [position // size for position, size in zip(place, steps, strict=True)]
            return data(n, step * blocks + block, *pixel, lane)

        return te_compute((batch, blocks, *sizes, lanes), element, name="interleaved")

    return packed.graph.emit_te(f"{node.name}/spread", "interleave", compute, value, pattern=OpPattern.INJECTIVE)


def _spread(packed: PackedActivations, node: Node, value: relax.Var, steps: list[int], outputs: int) -> relax.Var:
    """Puts the outputs of each input pixel next to each other.

    ``[n, outputs, *steps, *spatial]`` becomes ``[n, outputs, *(spatial * steps)]``.
    """
    rank = len(steps)
    batch, _, *spatial = value.ty.shape.values
    split = packed.graph.emit(f"{node.name}/spread", relax.op.reshape(value, [batch, outputs, *steps, *spatial]))
    order = [0, 1]
    for axis in range(rank):
        order += [2 + rank + axis, 2 + axis]
    turned = packed.graph.emit(f"{node.name}/spread", relax.op.permute_dims(split, order))
    sizes = [size * step for size, step in zip(spatial, steps, strict=True)]
    return packed.graph.emit(node.name, relax.op.reshape(turned, [batch, outputs, *sizes]))
