"""Normalizations over parts of a tensor: layer, RMS, local response, mean and variance."""

from __future__ import annotations

from typing import Any

import numpy as np
from tvm import relax, te, tirx

from lepton_compiler.core.tensor_expressions import te_compute
from lepton_compiler.frontend.conversion import Conversion, Size, dtype_of, rank_of, shape_of, tensor_constant
from lepton_compiler.frontend.operators.activation_functions import scalar
from lepton_compiler.frontend.operators.registry import converter
from lepton_compiler.frontend.operators.staged_sums import staged_mean
from lepton_compiler.frontend.run_time_checks import require_equal


@converter("LayerNormalization")
def layer_normalization(conversion: Conversion) -> list[relax.Expr]:
    """``(x - mean) / sqrt(variance + epsilon) * scale + bias`` over the axes from ``axis`` on.

    The outputs 1 and 2 are the mean and the inverse of the standard deviation.
    """
    x, scale = conversion.tensor(0), conversion.tensor(1)
    rank = rank_of(x)
    axis = conversion.attribute("axis", -1) % rank
    axes = list(range(axis, rank))
    epsilon = conversion.attribute("epsilon", 1e-5)
    statistics = _statistics(conversion, x, axes, epsilon) if conversion.wants(1) or conversion.wants(2) else None
    if shape_of(scale) == shape_of(x)[axis:] and dtype_of(scale) == dtype_of(x):
        bias = conversion.tensor(2) if conversion.has(2) else _filled(conversion, shape_of(scale), 0.0, dtype_of(x))
        require_equal(conversion, "the shape of the bias", shape_of(bias), shape_of(scale))
        normalized = relax.op.nn.layer_norm(x, scale, bias, axes, epsilon)
    else:
        mean, inverse = statistics or _statistics(conversion, x, axes, epsilon)
        normalized = relax.op.multiply(relax.op.subtract(x, mean), inverse)
        for index, combine in ((1, relax.op.multiply), (2, relax.op.add)):
            if conversion.has(index):
                parameter = conversion.tensor(index)
                normalized = combine(*conversion.broadcastable(conversion.emit(normalized), parameter))
    return [normalized, *statistics] if statistics else [normalized]


def _statistics(
    conversion: Conversion, x: relax.Expr, axes: list[int], epsilon: float
) -> tuple[relax.Expr, relax.Expr]:
    """Mean and inverse standard deviation over ``axes``, which stay with size 1."""
    mean = conversion.emit(staged_mean(conversion, x, axes, keepdims=True))
    centered = conversion.emit(relax.op.subtract(x, mean))
    variance = staged_mean(conversion, relax.op.multiply(centered, centered), axes, keepdims=True)
    return mean, conversion.emit(relax.op.rsqrt(relax.op.add(variance, scalar(epsilon, x))))


def _filled(conversion: Conversion, shape: list[Size], value: float, dtype: str) -> relax.Expr:
    if all(isinstance(size, int) for size in shape):
        return tensor_constant(np.full(shape, value, dtype))
    return conversion.emit(conversion.filled(shape, value, dtype))


@converter("SkipLayerNormalization", "SkipSimplifiedLayerNormalization", domain="com.microsoft")
def skip_layer_normalization(conversion: Conversion) -> list[relax.Expr | None]:
    """Layer normalization of ``x + skip + bias``; output 3 is that sum."""
    simplified = conversion.op.startswith("SkipSimplified")
    total = relax.op.add(*conversion.broadcastable(conversion.tensor(0), conversion.tensor(1)))
    bias_index = 3 if simplified else 4
    if conversion.has(bias_index):
        total = relax.op.add(*conversion.broadcastable(conversion.emit(total), conversion.tensor(bias_index)))
    total = conversion.emit(total)
    for index in (2,) if simplified or not conversion.has(3) else (2, 3):
        what = f"the length of input {index}"
        require_equal(conversion, what, shape_of(conversion.tensor(index)), shape_of(total)[-1:])
    gamma, epsilon = conversion.tensor(2), conversion.attribute("epsilon", 1e-5 if simplified else 1e-12)
    if simplified:
        return [relax.op.nn.rms_norm(total, gamma, [-1], epsilon), None, None, total]
    beta = conversion.tensor(3) if conversion.has(3) else _filled(conversion, shape_of(gamma), 0.0, dtype_of(gamma))
    return [relax.op.nn.layer_norm(total, gamma, beta, [-1], epsilon), None, None, total]


@converter("RMSNormalization")
@converter("SimplifiedLayerNormalization")
def rms_normalization(conversion: Conversion) -> relax.Expr:
    """``x / sqrt(mean(x ** 2) + epsilon) * scale`` over the axes from ``axis`` on."""
    x, scale = conversion.tensor(0), conversion.tensor(1)
    rank = rank_of(x)
    axes = list(range(conversion.attribute("axis", -1) % rank, rank))
    epsilon = conversion.attribute("epsilon", 1e-5)
    # TVM's kernel can't do without an axis that is not normalized.
    if axes[0] > 0 and shape_of(scale) == shape_of(x)[axes[0] :] and dtype_of(scale) == dtype_of(x):
        return relax.op.nn.rms_norm(x, scale, axes, epsilon)
    power = staged_mean(conversion, relax.op.multiply(x, x), axes, keepdims=True)
    normalized = relax.op.multiply(x, relax.op.rsqrt(relax.op.add(power, scalar(epsilon, x))))
    return relax.op.multiply(*conversion.broadcastable(conversion.emit(normalized), scale))


@converter("MeanVarianceNormalization")
def mean_variance_normalization(conversion: Conversion) -> relax.Expr:
    """``(x - mean) / (standard deviation + 1e-9)`` over ``axes``."""
    x = conversion.tensor(0)
    axes = conversion.attribute("axes", [0, 2, 3])
    mean = conversion.emit(staged_mean(conversion, x, axes, keepdims=True))
    centered = conversion.emit(relax.op.subtract(x, mean))
    variance = staged_mean(conversion, relax.op.multiply(centered, centered), axes, keepdims=True)
    return relax.op.divide(centered, relax.op.add(relax.op.sqrt(variance), scalar(1e-9, x)))


@converter("LRN")
def local_response_normalization(conversion: Conversion) -> relax.Expr:
    """``x / (bias + alpha / size * sum of squares over neighbouring channels) ** beta``."""
    x = conversion.tensor(0)
    size = conversion.attribute("size")
    alpha, beta = conversion.attribute("alpha", 1e-4), conversion.attribute("beta", 0.75)
    bias = conversion.attribute("bias", 1.0)
    before = (size - 1) // 2

    def compute(data: te.Tensor) -> te.Tensor:
        tap = te.reduce_axis((0, size), name="tap")

        def square(n: tirx.Var, c: tirx.Var, *place: tirx.Var) -> Any:
            channel = c + tap - before
            inside = tirx.all(channel >= 0, channel < data.shape[1])
            value = data(n, channel, *place)
            return te.sum(tirx.if_then_else(inside, value * value, tirx.const(0, data.dtype)), axis=tap)

        return te_compute(data.shape, square, name="square_sum")

    total = conversion.emit_te(compute, x, name="lrn_square_sum")
    base = relax.op.add(relax.op.multiply(total, scalar(alpha / size, x)), scalar(bias, x))
    return relax.op.divide(x, relax.op.power(base, scalar(beta, x)))
