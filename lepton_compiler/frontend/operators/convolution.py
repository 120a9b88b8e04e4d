"""Conv, and com.microsoft.FusedConv, which adds an activation to it."""

from __future__ import annotations

import numpy as np
import tvm
from tvm import relax, topi

from lepton_compiler.frontend.conversion import Conversion, ConversionError, shape_of, tensor_constant
from lepton_compiler.frontend.operators.activation_functions import apply_activation
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.wide_sums import in_float32
from lepton_compiler.frontend.operators.windows import Window, read_window
from lepton_compiler.frontend.run_time_checks import require_equal


@converter("Conv")
@in_float32
def conv(conversion: Conversion) -> relax.Expr:
    """``y = conv(x, w) + b``; one spatial dimension is treated as an image of height 1."""
    result = convolve(conversion, conversion.tensor(0), conversion.tensor(1))
    return add_channel_bias(conversion, result, 2)


@converter("FusedConv", domain="com.microsoft")
@in_float32
def fused_conv(conversion: Conversion) -> relax.Expr:
    """``activation(conv(x, w) + b + z)`` of ONNX Runtime's optimized models."""
    result = convolve(conversion, conversion.tensor(0), conversion.tensor(1))
    result = add_channel_bias(conversion, result, 2)
    if conversion.has(3):
        result = relax.op.add(*conversion.broadcastable(conversion.emit(result), conversion.tensor(3)))
    name = conversion.attribute("activation", "")
    if not name:
        return result
    return apply_activation(name, conversion.emit(result), conversion.attribute("activation_params", []))


def convolve(conversion: Conversion, data: relax.Expr, weight: relax.Expr) -> relax.Expr:
    """The convolution without its bias.

    Args:
        conversion: The node, for its attributes.
        data: ``(n, c, spatial...)``.
        weight: ``(o, c / group, kernel...)``.
    """
    spatial = shape_of(data)[2:]
    kernel = [_static(size) for size in shape_of(weight)[2:]]
    if len(spatial) not in (1, 2, 3):
        raise ConversionError(f"convolution over {len(spatial)} spatial dimensions; 1 to 3 can be compiled")
    window = read_window(conversion, kernel, spatial)
    group = conversion.attribute("group", 1)
    require_equal(conversion, "the channels of the input", [shape_of(data)[1]], [shape_of(weight)[1] * group])
    if not window.static_pads:
        data = _padded(conversion, data, window)
        window = Window(window.kernel, window.strides, window.dilations, (0,) * (2 * len(kernel)))
    if len(spatial) == 1:
        return _convolve_1d(conversion, data, weight, window, group)
    if len(spatial) == 2:
        return _convolve_2d(data, weight, window, group)
    return _convolve_3d(conversion, data, weight, window, group)


def _static(size: object) -> int:
    if not isinstance(size, int):
        raise ConversionError("its kernel's size must be known when the model is compiled")
    return size


def _padded(conversion: Conversion, data: relax.Expr, window: Window) -> relax.Expr:
    count = len(window.kernel)
    before = [0, 0, *window.pads[:count]]
    after = [0, 0, *window.pads[count:]]
    return conversion.emit_te(topi.nn.pad, data, before, after, 0.0, name="pad")


def _convolve_2d(data: relax.Expr, weight: relax.Expr, window: Window, group: int) -> relax.Expr:
    return relax.op.nn.conv2d(
        data,
        weight,
        strides=list(window.strides),
        padding=list(window.pads),
        dilation=list(window.dilations),
        groups=group,
    )


def _convolve_1d(
    conversion: Conversion, data: relax.Expr, weight: relax.Expr, window: Window, group: int
) -> relax.Expr:
    flat = Window(
        (1, *window.kernel), (1, *window.strides), (1, *window.dilations), (0, window.begin(0), 0, window.end(0))
    )
    image = conversion.emit(_with_height(data))
    result = conversion.emit(_convolve_2d(image, conversion.emit(_with_height(weight)), flat, group))
    n, channels, _, width = shape_of(result)
    return relax.op.reshape(result, [n, channels, width])


def _with_height(tensor: relax.Expr) -> relax.Expr:
    n, channels, width = shape_of(tensor)
    if isinstance(tensor, tvm.ir.GenericConst):
        return tensor_constant(tensor.value.numpy().reshape(n, channels, 1, width))
    return relax.op.reshape(tensor, [n, channels, 1, width])


def _convolve_3d(
    conversion: Conversion, data: relax.Expr, weight: relax.Expr, window: Window, group: int
) -> relax.Expr:
    def one(part: relax.Expr, part_weight: relax.Expr) -> relax.Expr:
        return relax.op.nn.conv3d(part, part_weight, list(window.strides), list(window.pads), list(window.dilations))

    if group == 1:
        return one(data, weight)
    # TVM's conv3d knows no groups; each is a convolution of its own.
    parts = conversion.emit(relax.op.split(data, group, axis=1))
    weights = conversion.emit(relax.op.split(weight, group, axis=0))
    return relax.op.concat([one(parts[i], weights[i]) for i in range(group)], axis=1)


def add_channel_bias(conversion: Conversion, result: relax.Expr, index: int) -> relax.Expr:
    """Adds the optional bias input ``index``, one value a channel, to ``(n, c, spatial...)``."""
    if not conversion.has(index):
        return result
    result = conversion.emit(result)
    shape = [1, -1] + [1] * (len(shape_of(result)) - 2)
    bias = conversion.inputs[index]
    if isinstance(bias, np.ndarray):
        return relax.op.add(result, tensor_constant(bias.reshape(shape)))
    require_equal(conversion, "the length of the bias", shape_of(conversion.tensor(index)), [shape_of(result)[1]])
    return relax.op.add(result, relax.op.reshape(conversion.tensor(index), shape))
