"""ConvTranspose: the gradient of a convolution as an operator of its own."""

from __future__ import annotations

import numpy as np
from tvm import relax, topi

from lepton_compiler.frontend.conversion import Conversion, ConversionError, Size, shape_of, tensor_constant
from lepton_compiler.frontend.operators.convolution import add_channel_bias
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.wide_sums import in_float32
from lepton_compiler.frontend.run_time_checks import require_equal

_OPERATORS = {2: relax.op.nn.conv2d_transpose, 3: relax.op.nn.conv3d_transpose}


@converter("ConvTranspose")
@in_float32
def conv_transpose(conversion: Conversion) -> relax.Expr:
    """Each input element adds a scaled kernel to the output, ``stride`` apart."""
    x, weight = conversion.tensor(0), _dilated_weight(conversion)
    count = len(shape_of(x)) - 2
    if count not in (1, 2, 3):
        raise ConversionError(f"transposed convolution over {count} spatial dimensions; 1 to 3 can be compiled")
    require_equal(conversion, "the channels of the input", [shape_of(x)[1]], [shape_of(weight)[0]])
    strides = list(conversion.attribute("strides", [1] * count))
    before, after, extra = _padding(conversion, shape_of(x)[2:], shape_of(weight)[2:], strides)
    result = _transposed(conversion, x, weight, strides, before, after, extra)
    return add_channel_bias(conversion, result, 2)


def _dilated_weight(conversion: Conversion) -> relax.Expr:
    """The kernel with zeros between its taps, which TVM's operator has no attribute for."""
    weight = conversion.tensor(1)
    shape = shape_of(weight)
    dilations = conversion.attribute("dilations", [1] * (len(shape) - 2))
    if all(dilation == 1 for dilation in dilations):
        return weight
    value = conversion.inputs[1]
    if not isinstance(value, np.ndarray):
        return conversion.emit_te(topi.nn.dilate, weight, [1, 1, *dilations], 0.0, name="dilated_weight")
    spatial = [(size - 1) * dilation + 1 for size, dilation in zip(value.shape[2:], dilations, strict=True)]
    spread = np.zeros((*value.shape[:2], *spatial), value.dtype)
    spread[(slice(None), slice(None), *(slice(None, None, dilation) for dilation in dilations))] = value
    return tensor_constant(spread)


def _padding(
    conversion: Conversion, sizes: list[Size], kernel: list[Size], strides: list[int]
) -> tuple[list[int], list[int], list[int]]:
    """What is cut off at the begin and the end of each axis, and what is added at the end."""
    count = len(sizes)
    extra = list(conversion.attribute("output_padding", [0] * count))
    mode = conversion.attribute("auto_pad", "NOTSET")
    wanted = conversion.attribute("output_shape", None)
    pads = list(conversion.attribute("pads", [0] * (2 * count)))
    if wanted is None and mode in ("NOTSET", "VALID"):
        return pads[:count], pads[count:], extra
    before, after = [], []
    for axis in range(count):
        if wanted is None:
            # The output is to have stride times the input's size, whatever that is.
            total = kernel[axis] + extra[axis] - strides[axis]
        elif isinstance(sizes[axis], int):
            total = strides[axis] * (sizes[axis] - 1) + extra[axis] + kernel[axis] - wanted[-count:][axis]
        else:
            raise ConversionError("output_shape needs fixed input sizes; set them with --input-shapes")
        if total < 0:
            extra[axis], total = extra[axis] - total, 0
        small, large = total // 2, total - total // 2
        first, last = (small, large) if mode == "SAME_UPPER" else (large, small)
        before.append(first)
        after.append(last)
    return before, after, extra


def _transposed(
    conversion: Conversion,
    x: relax.Expr,
    weight: relax.Expr,
    strides: list[int],
    before: list[int],
    after: list[int],
    extra: list[int],
) -> relax.Expr:
    count = len(strides)
    if count == 1:
        image = conversion.emit(_with_height(x))
        kernel = conversion.emit(_with_height(weight))
        result = conversion.emit(
            _transposed(conversion, image, kernel, [1, *strides], [0, *before], [0, *after], [0, *extra])
        )
        n, channels, _, width = shape_of(result)
        return relax.op.reshape(result, [n, channels, width])
    # TVM wants the extra elements to be fewer than the stride; the rest is padding that is not cut off.
    shift = [max(0, extra[axis] - strides[axis] + 1) for axis in range(count)]
    after = [after[axis] - shift[axis] for axis in range(count)]
    extra = [extra[axis] - shift[axis] for axis in range(count)]
    if min(after) < 0:
        kept = [max(0, amount) for amount in after]
        grown = [kept[axis] - after[axis] for axis in range(count)]
        result = _transposed(conversion, x, weight, strides, before, kept, extra)
        widths = [0, 0, 0, 0] + [width for axis in range(count) for width in (0, grown[axis])]
        return relax.op.nn.pad(result, widths)
    return _OPERATORS[count](
        x,
        weight,
        strides,
        [*before, *after],
        extra,
        groups=conversion.attribute("group", 1),
    )


def _with_height(tensor: relax.Expr) -> relax.Expr:
    n, channels, width = shape_of(tensor)
    return relax.op.reshape(tensor, [n, channels, 1, width])
