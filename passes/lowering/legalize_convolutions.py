"""Convolution operators -> PrimFuncs with weights packed for the target.

    conv(x, W) -> call_tir(convolution, x, pack(W))         W constant; see convolution_computes.py
    conv_transpose(x, W) -> the same with mirrored weights over the spread-out input

What can't be packed goes to TVM's own definition and the generic schedule; ``why_not_packed`` says why.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from tvm import relax
from tvm.ir import GenericConst

from lepton_compiler.passes.layout.pack_weights import pack_convolution_weight, transposed_convolution_weight
from lepton_compiler.passes.lowering.convolution_computes import Window, packed_convolution
from lepton_compiler.passes.lowering.depthwise_compute import depthwise_convolution
from lepton_compiler.targets.spec import TargetSpec

_SPATIAL = {1: "W", 2: "HW", 3: "DHW"}
CONVOLUTIONS = {
    **{f"relax.nn.conv{rank}d": False for rank in _SPATIAL},
    **{f"relax.nn.conv{rank}d_transpose": True for rank in _SPATIAL},
}
"""Operators handled here; the value says whether it is a transposed convolution."""

_SMALLEST_VECTOR = 4
_OUT_ELEMENTWISE_FUSABLE = 4
"""TVM's pattern kind of an operator that elementwise ones may fuse behind."""


def why_not_packed(call: relax.Call, target: TargetSpec) -> str | None:
    """Why the weights of a convolution can't be packed, or None where they can."""
    attrs = call.attrs
    weight = call.args[1]
    if not isinstance(weight, GenericConst):
        return "the weight is not a constant"
    if str(call.ty.dtype) != "float32" or str(weight.ty.dtype) != "float32":
        return f"the element type is {call.ty.dtype}, not float32"
    if not has_plain_layout(call):
        return f"the layout is {attrs.data_layout}/{attrs.kernel_layout}, not channels first"
    if call.args[0].ty.shape is None or not _is_static(call.args[0].ty.shape[1]):
        return "the number of input channels is not known"
    if is_depthwise(call):
        return None
    out_channels = _out_channels(call)
    if attrs.groups > 1 and _lanes(out_channels // attrs.groups, target, grouped=True) is None:
        return f"{out_channels // attrs.groups} output channels in a group do not fill a vector"
    return None


def legalize_convolution(bb: relax.BlockBuilder, call: relax.Call, target: TargetSpec) -> relax.Expr:
    """Replaces a convolution; the result may fuse with elementwise operators behind it."""
    if why_not_packed(call, target) is not None:
        return call.op.get_attr("FLegalize")(bb, call)
    groups = int(call.attrs.groups)
    weight, window = weight_and_window(call)
    name = call.op.name.rpartition(".")[2]
    if is_depthwise(call):
        name = f"depthwise_{name}"
        packed = weight[:, 0]
        compute = partial(depthwise_convolution, window=window, lanes=target.vector_lanes())
    else:
        lanes = _lanes(weight.shape[0] // groups, target, grouped=groups > 1)
        packed = pack_convolution_weight(weight, lanes)
        compute = partial(packed_convolution, window=window, groups=groups, out_channels=int(weight.shape[0]))
    return bb.call_te(
        lambda data, kernel: compute(data, kernel),
        call.args[0],
        relax.const(np.ascontiguousarray(packed)),
        primfunc_name_hint=name,
        primfunc_attrs={"op_pattern": _OUT_ELEMENTWISE_FUSABLE},
    )


def weight_and_window(call: relax.Call) -> tuple[np.ndarray, Window]:
    """The constant weight ``[out_channels, in_channels / groups, *kernel]`` of a plain convolution, and its window."""
    weight = call.args[1].value.numpy()
    if CONVOLUTIONS[call.op.name]:
        weight = transposed_convolution_weight(weight, int(call.attrs.groups))
        return weight, _transposed_window(call, weight)
    return weight, _plain_window(call, weight)


def is_depthwise(call: relax.Call) -> bool:
    """Whether each group has one input channel; transposed ones go the way of other groups."""
    weight = call.args[1].ty.shape
    is_transposed = CONVOLUTIONS[call.op.name]
    return not is_transposed and int(weight[1]) == 1 and int(call.attrs.groups) > 1


def _lanes(channels: int, target: TargetSpec, *, grouped: bool) -> int | None:
    """Channels of one vector; in groups it has to divide them, so that a vector never straddles two."""
    full = target.vector_lanes()
    if not grouped:
        return full
    lanes = full
    while lanes >= _SMALLEST_VECTOR and channels % lanes:
        lanes //= 2
    return lanes if lanes >= _SMALLEST_VECTOR else None


def has_plain_layout(call: relax.Call) -> bool:
    """Whether data, weight and result of a convolution have their channels first."""
    rank = len(call.args[1].ty.shape) - 2
    attrs = call.attrs
    order = "IO" if CONVOLUTIONS[call.op.name] else "OI"
    return (
        attrs.data_layout == f"NC{_SPATIAL[rank]}"
        and attrs.kernel_layout == f"{order}{_SPATIAL[rank]}"
        and attrs.out_layout in ("", attrs.data_layout)
    )


def _out_channels(call: relax.Call) -> int:
    shape = call.args[1].ty.shape
    return int(shape[1]) * int(call.attrs.groups) if CONVOLUTIONS[call.op.name] else int(shape[0])


def _is_static(size: object) -> bool:
    return hasattr(size, "value")


def _plain_window(call: relax.Call, weight: np.ndarray) -> Window:
    attrs = call.attrs
    rank = weight.ndim - 2
    before, after = _both_sides(attrs.padding, rank)
    return Window(
        kernel=weight.shape[2:],
        strides=_integers(attrs.strides),
        dilation=_integers(attrs.dilation),
        padding_before=before,
        padding_after=after,
        input_dilation=(1,) * rank,
    )


def _transposed_window(call: relax.Call, weight: np.ndarray) -> Window:
    """Window of the plain convolution: what the transposed one crops is what the plain one lacks in border."""
    attrs = call.attrs
    rank = weight.ndim - 2
    before, after = _both_sides(attrs.padding, rank)
    dilation = _integers(attrs.dilation)
    reach = [(size - 1) * step for size, step in zip(weight.shape[2:], dilation, strict=True)]
    return Window(
        kernel=weight.shape[2:],
        strides=(1,) * rank,
        dilation=dilation,
        padding_before=tuple(full - crop for full, crop in zip(reach, before, strict=True)),
        padding_after=tuple(
            full - crop + extra for full, crop, extra in zip(reach, after, _integers(attrs.output_padding), strict=True)
        ),
        input_dilation=_integers(attrs.strides),
    )


def _both_sides(padding: object, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    values = _integers(padding)
    return values[:rank], values[rank:]


def _integers(values: object) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
