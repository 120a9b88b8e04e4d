"""MatMulInteger, QLinearMatMul, ConvInteger and QLinearConv: products of 8-bit integers, summed in 32 bits.

q(y) = saturate(round((q(a) - za) @ (q(b) - zb) * (sa * sb / sy)) + zy)
"""

from __future__ import annotations

from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators.convolution import convolve
from lepton_compiler.frontend.operators.matrix import multiply_matrices
from lepton_compiler.frontend.operators.registry import converter


@converter("MatMulInteger")
def matmul_integer(conversion: Conversion) -> relax.Expr:
    """``(a - za) @ (b - zb)`` as int32; zero points of ``a`` belong to rows, those of ``b`` to columns."""
    a = _centred(conversion, 0, _zero_of_rows(conversion, 2))
    b = _centred(conversion, 1, conversion.tensor(3) if conversion.has(3) else None)
    return multiply_matrices(conversion, a, b, "int32")


@converter("QLinearMatMul")
def qlinear_matmul(conversion: Conversion) -> relax.Expr:
    """The quantized product of quantized matrices."""
    a = _centred(conversion, 0, _zero_of_rows(conversion, 2))
    b = _centred(conversion, 3, conversion.tensor(5))
    product = conversion.emit(multiply_matrices(conversion, a, b, "int32"))
    row_scale = _of_rows(conversion, conversion.tensor(1))
    scales = [conversion.emit(relax.op.astype(scale, "float32")) for scale in (row_scale, conversion.tensor(4))]
    return _requantized(conversion, product, scales, conversion.tensor(6), conversion.tensor(7))


@converter("ConvInteger")
def conv_integer(conversion: Conversion) -> relax.Expr:
    """``conv(x - zx, w - zw)`` as int32; zero points of ``w`` may belong to output channels."""
    x = _centred(conversion, 0, conversion.tensor(2) if conversion.has(2) else None)
    w = _centred(conversion, 1, _of_channels(conversion, 3) if conversion.has(3) else None)
    return convolve(conversion, x, w)


@converter("QLinearConv")
def qlinear_conv(conversion: Conversion) -> relax.Expr:
    """The quantized convolution of quantized tensors, with an optional bias of 32 bits."""
    rank = rank_of(conversion.tensor(0))
    x = _centred(conversion, 0, conversion.tensor(2))
    w = _centred(conversion, 3, _of_channels(conversion, 5))
    result = conversion.emit(convolve(conversion, x, w))
    if conversion.has(8):
        bias = relax.op.reshape(conversion.tensor(8), [1, -1] + [1] * (rank - 2))
        result = conversion.emit(relax.op.add(result, bias))
    weight_scale = conversion.tensor(4)
    if rank_of(weight_scale):
        weight_scale = conversion.emit(relax.op.reshape(weight_scale, [1, -1] + [1] * (rank - 2)))
    return _requantized(
        conversion, result, [conversion.tensor(1), weight_scale], conversion.tensor(6), conversion.tensor(7)
    )


def _centred(conversion: Conversion, index: int, zero: relax.Expr | None) -> relax.Expr:
    """Input ``index`` in 32 bits, minus its zero point."""
    wide = conversion.emit(relax.op.astype(conversion.tensor(index), "int32"))
    if zero is None:
        return wide
    return conversion.emit(relax.op.subtract(wide, conversion.emit(relax.op.astype(zero, "int32"))))


def _zero_of_rows(conversion: Conversion, index: int) -> relax.Expr | None:
    return _of_rows(conversion, conversion.tensor(index)) if conversion.has(index) else None


def _of_rows(conversion: Conversion, values: relax.Expr) -> relax.Expr:
    """A vector with one value a row, as a column; a single value stays as it is."""
    if rank_of(values) != 1 or shape_of(values) == [1]:
        return values
    return conversion.emit(relax.op.reshape(values, [-1, 1]))


def _of_channels(conversion: Conversion, index: int) -> relax.Expr:
    """Values of output channels, shaped to fit weights; a single value stays as it is."""
    values = conversion.tensor(index)
    if rank_of(values) == 0 or shape_of(values) == [1]:
        return values
    weight_rank = rank_of(conversion.tensor(0))
    return conversion.emit(relax.op.reshape(values, [-1] + [1] * (weight_rank - 1)))


def _requantized(
    conversion: Conversion, result: relax.Expr, scales: list[relax.Expr], scale: relax.Expr, zero: relax.Expr
) -> relax.Expr:
    """Sums of 32 bits brought to the scale and zero point of the result."""
    dtype = dtype_of(zero)
    factor = relax.op.multiply(*scales)
    factor = conversion.emit(relax.op.divide(factor, relax.op.astype(scale, "float32")))
    scaled = relax.op.multiply(relax.op.astype(result, "float32"), factor)
    shifted = conversion.emit(relax.op.add(relax.op.round(scaled), relax.op.astype(zero, "float32")))
    low, high = (-128, 127) if dtype == "int8" else (0, 255)
    return relax.op.astype(relax.op.clip(shifted, low, high), dtype)
