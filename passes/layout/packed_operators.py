"""Operators that stay inside of a packed region: what they are there.

    f(x, bias, ...)            -> f(pack(x), pack(bias), ...)            elementwise, per-channel constants packed too
    pool(x)                    -> pool(pack(x)), layout NCHW{v}c         maxima: ``packed_pool_compute.py``
    mean(x, spatial axes)      -> mean(pack(x), the same axes)
    concat(x, y, axis=1)       -> concat(pack(x), pack(y), axis=1)       whole vectors of channels
    slice(x, axis=1)           -> slice(pack(x), axis=1)                 whole vectors of channels
    both                       -> gather_channels(pack(x), pack(y))      pieces of vectors (``packed_channels.py``)
    pad, slice, reshape        -> the same on spatial axes
    resizes                    -> the same for each of ``v`` channels    (``channelwise_kernels.py``)
    rounded(x), widened(x)     -> the same of pack(x)                    conversions to and from bfloat16

Each rule gives the packed result, or why the node leaves the region, or None where it is none of the rule's nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
from tvm import relax

from lepton_compiler.core.lone_operators import OpPattern
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.canonicalize.elementwise_operators import ELEMENTWISE
from lepton_compiler.passes.layout.channelwise_kernels import channelwise_kernel
from lepton_compiler.passes.layout.packed_activations import PackedActivations
from lepton_compiler.passes.layout.packed_channels import (
    FEWEST_TOGETHER,
    ChannelRange,
    gather_channels,
    smallest_piece,
)
from lepton_compiler.passes.lowering.convolution_computes import Window
from lepton_compiler.passes.lowering.packed_pool_compute import packed_max_pool
from lepton_compiler.passes.main_graph import Node
from lepton_compiler.passes.precision.bfloat16_tensors import conversion_of, emit_conversion

Packed = relax.Expr | str | None

_NAMES = (
    "abs add astype clip cos equal erf exp greater greater_equal less less_equal maximum minimum multiply "
    "negative nn.gelu nn.gelu_tanh nn.leakyrelu nn.relu nn.selu nn.silu nn.softplus sigmoid sin square "
    "subtract tanh where "
)
_FINITE_AT_ZERO = frozenset(f"relax.{name}" for name in _NAMES.split())
"""Operators that keep channels of zeros finite: weights of zero then keep them out of every sum."""
_REDUCTIONS = {"relax.mean", "relax.sum", "relax.max", "relax.min"}
_POOLS = {f"relax.nn.{kind}_pool{rank}d" for kind in ("max", "avg") for rank in (1, 2, 3)}
_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}


def pack_operator(packed: PackedActivations, node: Node) -> Packed:
    """The packed form of a node that reads a packed tensor, or why it has none."""
    for rule in _RULES:
        outcome = rule(packed, node)
        if outcome is not None:
            return outcome
    return f"{node.operator or 'a kernel'} has no packed form"


def _elementwise(packed: PackedActivations, node: Node) -> Packed:
    if node.operator not in ELEMENTWISE:
        return None
    shape = node.var.ty.shape.values
    if len(shape) < 3 or not isinstance(shape[1], tvm.tirx.IntImm):
        return "its result has no channels"
    channels = int(shape[1])
    partial = channels % packed.lanes != 0
    if not any(packed.is_packed(arg) and _has_shape(arg, shape) for arg in node.args):
        return "no packed operand is as large as its result"
    divides = node.operator == "relax.divide" and array_of(node.args[1]) is not None
    if partial and node.operator not in _FINITE_AT_ZERO and not divides:
        return f"{channels} channels are no whole vectors, and {node.operator} may not be finite in the rest"
    operands = [
        _operand(packed, arg, len(shape), channels, 1.0 if divides and i == 1 else 0.0)
        for i, arg in enumerate(node.args)
    ]
    if any(operand is None for operand in operands):
        return "an operand is not known to be one number a channel or an image"
    return relax.Call(node.value.op, operands, node.value.attrs)


def _has_shape(expr: relax.Expr, shape: Sequence[tvm.tirx.Expr]) -> bool:
    own = expr.ty.shape.values
    return len(own) == len(shape) and all(
        tvm.sym.Analyzer().can_prove_equal(a, b) for a, b in zip(own, shape, strict=True)
    )


def _operand(packed: PackedActivations, expr: relax.Expr, rank: int, channels: int, fill: float) -> relax.Expr | None:
    """An operand as it broadcasts in the packed layout: one channel of many as one lane, all channels in vectors."""
    if not isinstance(expr.ty, relax.TensorType):
        return expr
    if expr.ty.shape is None:
        return None
    shape = list(expr.ty.shape.values)
    if len(shape) == 0:
        return expr
    full = [*(1 for _ in range(rank - len(shape))), *shape]
    if not isinstance(full[1], int | tvm.tirx.IntImm):
        return None
    array = array_of(expr)
    if array is not None:
        expr = constant(array.reshape(tuple(int(size) for size in full)))
    elif len(shape) < rank:
        expr = packed.graph.emit(f"{expr.name}/ranked", relax.op.reshape(expr, full))
    if int(full[1]) == channels:
        return packed.packed(expr, fill)
    if int(full[1]) != 1:
        return None
    if array is not None:
        return constant(array.reshape(tuple(int(size) for size in (*full, 1))))
    return packed.graph.emit(f"{expr.name}/packed", relax.op.reshape(expr, [*full, 1]))


def _pool(packed: PackedActivations, node: Node) -> Packed:
    if node.operator not in _POOLS:
        return None
    attrs = node.value.attrs
    rank = len(node.var.ty.shape.values) - 2
    if str(attrs.layout) != f"NC{_SPATIAL[rank]}":
        return f"its layout is {attrs.layout}"
    window = _static_window(node)
    if "max" in node.operator and window is not None:
        source = packed.packed(node.args[0])
        return packed.graph.emit_te(
            node.name, node.operator.rpartition(".")[2], lambda data: packed_max_pool(data, window), source
        )
    layout = f"NC{_SPATIAL[rank]}{packed.lanes}c"
    function = getattr(relax.op.nn, node.operator.rpartition(".")[2])
    sizes = [
        [int(size) for size in values] for values in (attrs.pool_size, attrs.strides, attrs.padding, attrs.dilation)
    ]
    return function(
        packed.packed(node.args[0]),
        *sizes,
        ceil_mode=bool(attrs.ceil_mode),
        count_include_pad=bool(attrs.count_include_pad),
        layout=layout,
        out_layout=layout,
    )


def _static_window(node: Node) -> Window | None:
    """How the window of a pool moves; None where the sizes of its image are symbolic."""
    attrs = node.value.attrs
    sizes, outputs = (list(ty.shape.values)[2:] for ty in (node.args[0].ty, node.var.ty))
    if not all(isinstance(size, tvm.tirx.IntImm) for size in (*sizes, *outputs)):
        return None
    kernel, strides, dilation = (
        tuple(int(value) for value in values) for values in (attrs.pool_size, attrs.strides, attrs.dilation)
    )
    before = tuple(int(value) for value in attrs.padding)[: len(sizes)]
    # As much as the last output needs: rounding up may ask for more than the padding, rounding down for less.
    after = tuple(
        max(0, (int(outputs[i]) - 1) * strides[i] + (kernel[i] - 1) * dilation[i] + 1 - int(sizes[i]) - before[i])
        for i in range(len(sizes))
    )
    return Window(kernel, strides, dilation, before, after, (1,) * len(sizes))


def _reduction(packed: PackedActivations, node: Node) -> Packed:
    if node.operator not in _REDUCTIONS:
        return None
    attrs = node.value.attrs
    rank = len(node.args[0].ty.shape.values)
    axes = sorted(int(axis) % rank for axis in attrs.axis) if attrs.axis is not None else list(range(rank))
    if axes[0] < 2:
        return "it reduces channels"
    function = getattr(relax.op, node.operator.rpartition(".")[2])
    return function(packed.packed(node.args[0]), axes, keepdims=bool(attrs.keepdims))


def _concat(packed: PackedActivations, node: Node) -> Packed:
    if node.operator != "relax.concat":
        return None
    parts = list(node.args[0].fields) if isinstance(node.args[0], relax.Tuple) else []
    if not parts:
        return "its operands are not known one by one"
    axis = int(node.value.attrs.axis) % len(node.var.ty.shape.values)
    if axis == 0:
        return "it joins batches"
    channels = [part.ty.shape.values[1] for part in parts]
    if not all(isinstance(count, tvm.tirx.IntImm) for count in channels):
        return "the number of channels is not known"
    counts = [int(count) for count in channels]
    if axis > 1 or all(count % packed.lanes == 0 for count in counts[:-1]):
        return relax.op.concat(relax.Tuple([packed.packed(part) for part in parts]), axis=axis)
    return _gather(packed, node, parts, [ChannelRange(0, count) for count in counts])


def _gather(
    packed: PackedActivations, node: Node, tensors: Sequence[relax.Expr], parts: Sequence[ChannelRange]
) -> relax.Var | str:
    """Ranges of channels that cut through vectors, one behind the other."""
    smallest = smallest_piece(parts, packed.lanes)
    if smallest < FEWEST_TOGETHER:
        return f"it cuts vectors of channels into pieces of {smallest}"
    return packed.graph.emit_te(
        node.name,
        "gather_channels",
        lambda *sources: gather_channels(sources, parts),
        *[packed.packed(tensor) for tensor in tensors],
        pattern=OpPattern.OPAQUE,
    )


def _pad(packed: PackedActivations, node: Node) -> Packed:
    if node.operator != "relax.nn.pad":
        return None
    attrs = node.value.attrs
    widths = [int(width) for width in attrs.pad_width]
    if any(widths[:4]):
        return "it pads batches or channels"
    return relax.op.nn.pad(
        packed.packed(node.args[0]), [*widths, 0, 0], pad_mode=str(attrs.pad_mode), pad_value=float(attrs.pad_value)
    )


def _slice(packed: PackedActivations, node: Node) -> Packed:
    if node.operator != "relax.strided_slice":
        return None
    axes = [int(axis.value) for axis in node.args[1].fields]
    if all(axis >= 2 for axis in axes):
        return relax.Call(node.value.op, [packed.packed(node.args[0]), *node.args[1:]], node.value.attrs)
    bounds = [int(values.fields[0].value) for values in node.args[2:] if len(values.fields) == 1]
    channels = node.args[0].ty.shape.values[1]
    if axes != [1] or len(bounds) < 2 or bounds[2:] not in ([], [1]) or not isinstance(channels, tvm.tirx.IntImm):
        return "it takes apart channels together with other axes, or in steps"
    first = bounds[0] + (int(channels) if bounds[0] < 0 else 0)
    part = ChannelRange(first, int(node.var.ty.shape.values[1]))
    if part.first % packed.lanes:
        return _gather(packed, node, [node.args[0]], [part])
    blocks = -(-part.count // packed.lanes)
    if part.count % packed.lanes and part.first + part.count < int(channels):
        # The rest of the last vector would hold other channels.
        return _gather(packed, node, [node.args[0]], [part])
    start = part.first // packed.lanes
    return relax.op.strided_slice(packed.packed(node.args[0]), [1], [start], [start + blocks], assume_inbound=True)


def _reshape(packed: PackedActivations, node: Node) -> Packed:
    if node.operator != "relax.reshape":
        return None
    old, new = node.args[0].ty.shape.values, node.var.ty.shape.values
    same = tvm.sym.Analyzer().can_prove_equal
    if len(new) < 3 or not all(same(a, b) for a, b in zip(old[:2], new[:2], strict=True)):
        return "it regroups batches or channels"
    source = packed.packed(node.args[0])
    return relax.op.reshape(source, [*source.ty.shape.values[:2], *new[2:], packed.lanes])


def _channelwise(packed: PackedActivations, node: Node) -> Packed:
    if node.operator != "relax.call_tir" or not isinstance(node.args[1], relax.Tuple):
        return None
    tensors = list(node.args[1].fields)
    inside = [i for i, tensor in enumerate(tensors) if packed.is_packed(tensor)]
    if len(inside) != 1:
        return "a kernel of several activations has no packed form"
    if int(tensors[inside[0]].ty.shape.values[1]) != int(node.var.ty.shape.values[1]):
        return "its kernel takes some of the channels"
    kernel = channelwise_kernel(packed.graph.module, node.value, inside[0])
    if isinstance(kernel, str):
        return kernel
    source = packed.packed(tensors[inside[0]])
    batch, _, *spatial = node.var.ty.shape.values
    shape = [batch, source.ty.shape.values[1], *spatial, packed.lanes]
    others = [tensor for i, tensor in enumerate(tensors) if i != inside[0]]
    return packed.graph.emit_te(
        node.name, node.args[0].name_hint, kernel.packed(shape), source, *others, pattern=OpPattern.INJECTIVE
    )


def _conversion(packed: PackedActivations, node: Node) -> Packed:
    conversion = conversion_of(packed.graph.module, node.value)
    if conversion is None:
        return None
    return emit_conversion(packed.graph, node.name, conversion, packed.packed(node.value.args[1].fields[0]))


_RULES: tuple[Callable[[PackedActivations, Node], Packed], ...] = (
    _elementwise,
    _pool,
    _reduction,
    _concat,
    _pad,
    _slice,
    _reshape,
    _conversion,
    _channelwise,
)
