"""Reshape, Expand, Tile, Squeeze, Split, Range... whose target shape is an input, known only when the model runs.

The model's declared output shape says the result's shape; what else the input decides is read by the kernel.
"""

from __future__ import annotations

import numpy as np
from tvm import relax, te, tirx, topi

from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.registry import find_converter, run_time_converter
from lepton_compiler.frontend.tensor_expressions import te_compute


@run_time_converter("Reshape", "Squeeze", "Unsqueeze", inputs=(1,))
def declared_reshape(conversion: Conversion) -> relax.Expr:
    """The same elements in the declared shape."""
    shape = list(conversion.declared_shape())
    x = conversion.tensor(0)
    if 0 in shape:
        # Relax would read the 0 as "keep this size".
        return conversion.call_te(topi.full, shape, dtype_of(x), 0, name="reshape")
    return relax.op.reshape(x, shape)


@run_time_converter("Expand", inputs=(1,))
def declared_expand(conversion: Conversion) -> relax.Expr:
    """Broadcasts to the declared shape."""
    return relax.op.broadcast_to(conversion.tensor(0), list(conversion.declared_shape()))


@run_time_converter("Tile", inputs=(1,))
def declared_tile(conversion: Conversion) -> relax.Expr:
    """Repeats the input until the declared shape is full."""
    shape = conversion.declared_shape()

    def compute(data: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            return data(*(tirx.floormod(index, size) for index, size in zip(i, data.shape, strict=True)))

        return te_compute(shape, element, name="tile", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, conversion.tensor(0), name="tile")


@run_time_converter("ConstantOfShape", inputs=(0,))
def declared_constant(conversion: Conversion) -> relax.Expr:
    """The declared shape filled with one value."""
    value = conversion.attribute("value", np.zeros(1, np.float32)).reshape(-1)[0]
    shape = list(conversion.declared_shape())
    return conversion.call_te(topi.full, shape, str(value.dtype), value.item(), name="constant_of_shape")


@run_time_converter("Range", inputs=(0, 1, 2))
def declared_range(conversion: Conversion) -> relax.Expr:
    """``start``, ``start + delta``, ... as many as are declared."""
    shape = conversion.declared_shape()

    def compute(start: te.Tensor, delta: te.Tensor) -> te.Tensor:
        first, step = (tensor(*(0,) * len(tensor.shape)) for tensor in (start, delta))
        return te_compute(shape, lambda i: first + tirx.Cast(start.dtype, i) * step, name="range")

    return conversion.call_te(compute, conversion.tensor(0), conversion.tensor(2), name="range")


@run_time_converter("Split", inputs=(1,))
def declared_split(conversion: Conversion) -> list[relax.Expr]:
    """Parts along an axis with the sizes that are declared for the outputs."""
    axis = conversion.attribute("axis", 0)
    sizes = [conversion.declared_shape(i)[axis] for i in range(len(conversion.output_names))]
    return convert_known(conversion, {1: np.array(sizes, np.int64)})


@run_time_converter("CenterCropPad", inputs=(1,))
def declared_center_crop_pad(conversion: Conversion) -> relax.Expr:
    """The middle of every axis, cut or filled with zeros to the declared size."""
    shape = conversion.declared_shape()
    x = conversion.tensor(0)
    # Where a difference is odd, cropping and padding both leave the smaller half in front.
    begin = [
        (size - old) // 2 if size >= old else -((old - size) // 2)
        for size, old in zip(shape, shape_of(x), strict=True)
        if _is_number(old)
    ]
    if len(begin) != rank_of(x):
        raise ConversionError("its input's shape must be known when the model is compiled")

    def compute(data: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            place = [index - first for index, first in zip(i, begin, strict=True)]
            inside = [tirx.all(p >= 0, p < size) for p, size in zip(place, data.shape, strict=True)]
            return tirx.if_then_else(tirx.all(*inside), data(*place), tirx.const(0, data.dtype))

        return te_compute(shape, element, name="center_crop_pad", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, x, name="center_crop_pad")


def _is_number(size: object) -> bool:
    if not isinstance(size, int):
        raise ConversionError("its input's shape must be known when the model is compiled")
    return True


@run_time_converter("OneHot", inputs=(1,))
def declared_one_hot(conversion: Conversion) -> relax.Expr:
    """A new axis of the declared size, "on" where the index is and "off" elsewhere."""
    indices = conversion.tensor(0)
    shape = conversion.declared_shape()
    axis = conversion.attribute("axis", -1) % len(shape)

    def compute(places: te.Tensor, values: te.Tensor) -> te.Tensor:
        def element(*i: tirx.Var) -> tirx.Expr:
            wanted = places(*i[:axis], *i[axis + 1 :])
            wanted = as_index(wanted)
            # Negative indices count from the end; what lies outside is nowhere.
            negative = wanted < tirx.const(0, "int64")
            wanted = tirx.Select(negative, wanted + shape[axis], wanted)
            return tirx.Select(wanted == as_index(i[axis]), values(1), values(0))

        return te_compute(shape, element, name="one_hot", tag=topi.tag.INJECTIVE)

    return conversion.call_te(compute, indices, conversion.tensor(2), name="one_hot")


@run_time_converter("TopK", inputs=(1,))
def declared_top_k(conversion: Conversion) -> list[relax.Expr]:
    """As many of the largest or smallest elements as are declared."""
    count = conversion.declared_shape()[conversion.attribute("axis", -1)]
    return convert_known(conversion, {1: np.array([count], np.int64)})


@run_time_converter("MaxUnpool", inputs=(2,))
def declared_max_unpool(conversion: Conversion) -> list[relax.Expr]:
    """Maxima back in their places, in a tensor of the declared shape."""
    return convert_known(conversion, {2: np.array(conversion.declared_shape(), np.int64)})


def convert_known(conversion: Conversion, inputs: dict[int, np.ndarray]) -> list[relax.Expr]:
    """What the ordinary converter gives when some inputs have known values."""
    converter = find_converter("", conversion.op, conversion.opset)
    if converter is None:
        raise ConversionError(f"there is no converter for {conversion.op} with known inputs")
    return converter(conversion.with_inputs(inputs))  # type: ignore[return-value]


def scalar_at(tensor: te.Tensor, index: int = 0) -> tirx.Expr:
    """Element ``index`` of a vector; the value of a tensor without dimensions."""
    return tensor(index) if len(tensor.shape) else tensor()


def as_index(value: tirx.Expr) -> tirx.Expr:
    """An integer element as the type of loop variables."""
    return tirx.Cast("int64", value)
