"""Operators that stay inside of a packed region: what they are there.

    f(x, bias, ...)            -> f(pack(x), pack(bias), ...)            elementwise, per-channel constants packed too
    pool(x)                    -> pool(pack(x)), layout NCHW{v}c
    mean(x, spatial axes)      -> mean(pack(x), the same axes)
    concat(x, y, axis=1)       -> concat(pack(x), pack(y), axis=1)       whole vectors of channels
    split(x, axis=1)           -> split(pack(x), axis=1)                 whole vectors of channels
    pad, slice                 -> the same on spatial axes
    rounded(x), widened(x)     -> the same of pack(x)                    conversions to and from bfloat16

Each rule gives the packed result, or why the node leaves the region, or None where it is none of the rule's nodes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tvm
from tvm import relax

from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant
from lepton_compiler.passes.canonicalize.elementwise_operators import ELEMENTWISE
from lepton_compiler.passes.layout.packed_activations import PackedActivations, is_one
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
    """An operand as it broadcasts in the packed layout."""
    if not isinstance(expr.ty, relax.TensorType):
        return expr
    if expr.ty.shape is None:
        return None
    shape = list(expr.ty.shape.values)
    if len(shape) == 0:
        return expr
    array = array_of(expr)
    full = [*(1 for _ in range(rank - len(shape))), *shape]
    if array is not None:
        expr = constant(array.reshape(tuple(int(size) for size in full)))
    elif len(shape) < rank:
        expr = packed.graph.emit(f"{expr.name}/ranked", relax.op.reshape(expr, full))
    if is_one(full[1]) if isinstance(full[1], tvm.tirx.Expr) else full[1] == 1:
        if array is not None:
            return packed.packed(expr)
        return packed.graph.emit(f"{expr.name}/packed", relax.op.reshape(expr, [*full, 1]))
    if not isinstance(full[1], tvm.tirx.IntImm) or int(full[1]) != channels:
        return None
    return packed.packed(expr, fill)


def _pool(packed: PackedActivations, node: Node) -> Packed:
    if node.operator not in _POOLS:
        return None
    attrs = node.value.attrs
    rank = len(node.var.ty.shape.values) - 2
    if str(attrs.layout) != f"NC{_SPATIAL[rank]}":
        return f"its layout is {attrs.layout}"
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


def _reduction(packed: PackedActivations, node: Node) -> Packed:
    if node.operator not in _REDUCTIONS:
        return None
    attrs = node.value.attrs
    rank = len(node.args[0].ty.shape.values)
    axes = sorted(int(axis) % rank for axis in attrs.axis) if attrs.axis is not None else list(range(rank))
    if axes[0] < 2 or not attrs.keepdims:
        return "it reduces channels" if axes[0] < 2 else "it drops the axes that it reduces"
    function = getattr(relax.op, node.operator.rpartition(".")[2])
    return function(packed.packed(node.args[0]), axes, keepdims=True)


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
    if axis == 1 and not all(isinstance(c, tvm.tirx.IntImm) and int(c) % packed.lanes == 0 for c in channels[:-1]):
        return "it joins channels that are no whole vectors"
    if not isinstance(channels[-1], tvm.tirx.IntImm):
        return "the number of channels is not known"
    return relax.op.concat(relax.Tuple([packed.packed(part) for part in parts]), axis=axis)


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
    if any(axis < 2 for axis in axes):
        return "it takes apart channels"
    return relax.Call(node.value.op, [packed.packed(node.args[0]), *node.args[1:]], node.value.attrs)


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
    _conversion,
)
