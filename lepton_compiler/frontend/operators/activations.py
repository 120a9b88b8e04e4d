"""Activations: Relu, LeakyRelu, Elu, Selu, Celu, Gelu, Mish, Swish, HardSwish, PRelu, Clip and their like."""

from __future__ import annotations

import math

import numpy as np
from tvm import relax

from lepton_compiler.frontend.conversion import Conversion, ConversionError, dtype_of, rank_of, shape_of
from lepton_compiler.frontend.operators import activation_functions as functions
from lepton_compiler.frontend.operators.activation_functions import scalar
from lepton_compiler.frontend.operators.registry import converter


@converter("Relu")
def relu(conversion: Conversion) -> relax.Expr:
    """``max(x, 0)``."""
    return relax.op.nn.relu(conversion.tensor(0))


@converter("LeakyRelu")
def leaky_relu(conversion: Conversion) -> relax.Expr:
    """``x`` where positive, else ``alpha * x``."""
    return functions.leaky_relu(conversion.tensor(0), conversion.attribute("alpha", 0.01))


@converter("Elu")
def elu(conversion: Conversion) -> relax.Expr:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    return functions.elu(conversion.tensor(0), conversion.attribute("alpha", 1.0))


@converter("Selu")
def selu(conversion: Conversion) -> relax.Expr:
    """``gamma * elu(x, alpha)``."""
    x = conversion.tensor(0)
    alpha = conversion.attribute("alpha", 1.67326319217681884765625)
    gamma = conversion.attribute("gamma", 1.05070102214813232421875)
    return relax.op.multiply(scalar(gamma, x), functions.elu(x, alpha))


@converter("Celu")
def celu(conversion: Conversion) -> relax.Expr:
    """``x`` where positive, else ``alpha * (exp(x / alpha) - 1)``."""
    x = conversion.tensor(0)
    alpha = conversion.attribute("alpha", 1.0)
    scaled = conversion.emit(relax.op.divide(x, scalar(alpha, x)))
    return relax.op.multiply(scalar(alpha, x), functions.elu(scaled, 1.0))


@converter("Sigmoid")
def sigmoid(conversion: Conversion) -> relax.Expr:
    """``1 / (1 + exp(-x))``."""
    return relax.op.sigmoid(conversion.tensor(0))


@converter("HardSigmoid")
def hard_sigmoid(conversion: Conversion) -> relax.Expr:
    """``clip(alpha * x + beta, 0, 1)``."""
    alpha, beta = conversion.attribute("alpha", 0.2), conversion.attribute("beta", 0.5)
    return functions.hard_sigmoid(conversion.tensor(0), alpha, beta)


@converter("HardSwish")
def hard_swish(conversion: Conversion) -> relax.Expr:
    """``x * clip(x / 6 + 1/2, 0, 1)``."""
    x = conversion.tensor(0)
    return relax.op.multiply(x, functions.hard_sigmoid(x, 1 / 6, 0.5))


@converter("Softplus")
def softplus(conversion: Conversion) -> relax.Expr:
    """``log(1 + exp(x))``."""
    return functions.softplus(conversion.tensor(0))


@converter("Softsign")
def softsign(conversion: Conversion) -> relax.Expr:
    """``x / (1 + |x|)``."""
    return functions.softsign(conversion.tensor(0))


@converter("ThresholdedRelu")
def thresholded_relu(conversion: Conversion) -> relax.Expr:
    """``x`` where it is above ``alpha``, else 0."""
    return functions.thresholded_relu(conversion.tensor(0), conversion.attribute("alpha", 1.0))


@converter("Mish")
def mish(conversion: Conversion) -> relax.Expr:
    """``x * tanh(softplus(x))``."""
    x = conversion.tensor(0)
    return relax.op.multiply(x, relax.op.tanh(functions.softplus(x)))


@converter("Swish")
@converter("QuickGelu", domain="com.microsoft")
def swish(conversion: Conversion) -> relax.Expr:
    """``x * sigmoid(alpha * x)``."""
    x = conversion.tensor(0)
    alpha = conversion.attribute("alpha", 1.0 if conversion.op == "Swish" else 1.702)
    if alpha == 1.0:
        return relax.op.nn.silu(x)
    return relax.op.multiply(x, relax.op.sigmoid(relax.op.multiply(scalar(alpha, x), x)))


@converter("Shrink")
def shrink(conversion: Conversion) -> relax.Expr:
    """``x - bias`` above ``lambd``, ``x + bias`` below ``-lambd``, else 0."""
    x = conversion.tensor(0)
    limit, bias = conversion.attribute("lambd", 0.5), conversion.attribute("bias", 0.0)
    low = relax.op.where(relax.op.less(x, scalar(-limit, x)), relax.op.add(x, scalar(bias, x)), scalar(0, x))
    return relax.op.where(relax.op.greater(x, scalar(limit, x)), relax.op.subtract(x, scalar(bias, x)), low)


@converter("Gelu")
def gelu(conversion: Conversion) -> relax.Expr:
    """``x / 2 * (1 + erf(x / sqrt(2)))``, or its approximation by tanh."""
    x = conversion.tensor(0)
    if conversion.attribute("approximate", "none") == "tanh":
        return relax.op.nn.gelu_tanh(x)
    return relax.op.nn.gelu(x)


@converter("Gelu", "BiasGelu", domain="com.microsoft")
def contrib_gelu(conversion: Conversion) -> relax.Expr:
    """``gelu(x + bias)``."""
    return relax.op.nn.gelu(_with_bias(conversion))


@converter("FastGelu", domain="com.microsoft")
def fast_gelu(conversion: Conversion) -> relax.Expr:
    """``gelu(x + bias)`` by its tanh approximation."""
    return relax.op.nn.gelu_tanh(_with_bias(conversion))


def _with_bias(conversion: Conversion) -> relax.Expr:
    x = conversion.tensor(0)
    return conversion.emit(relax.op.add(x, conversion.tensor(1))) if conversion.has(1) else x


@converter("PRelu")
def prelu(conversion: Conversion) -> relax.Expr:
    """``x`` where not negative, else ``slope * x``; the slope broadcasts to ``x``."""
    x, slope = conversion.tensor(0), conversion.tensor(1)
    if conversion.opset < 7 and rank_of(slope) == 1 and shape_of(slope) != [1]:
        # Before version 7 a slope vector belonged to the channels.
        slope = conversion.emit(relax.op.reshape(slope, [-1] + [1] * (rank_of(x) - 2)))
    x, slope = conversion.broadcastable(x, slope)
    return relax.op.where(relax.op.less(x, scalar(0, x)), relax.op.multiply(slope, x), x)


@converter("Clip")
def clip_by_attributes(conversion: Conversion) -> relax.Expr:
    """``x`` limited to the interval of the attributes ``min`` and ``max`` (up to version 10)."""
    low, high = conversion.attribute("min", -math.inf), conversion.attribute("max", math.inf)
    return _clip(conversion.tensor(0), low, high)


@converter("Clip", since=11)
def clip_by_inputs(conversion: Conversion) -> relax.Expr:
    """``x`` limited to the interval of the inputs 1 and 2, each optional."""
    x = conversion.tensor(0)
    bounds = [conversion.inputs[i] if conversion.has(i) else None for i in (1, 2)]
    if all(bound is None or isinstance(bound, np.ndarray) for bound in bounds):
        low, high = (bound.reshape(-1)[0].item() if bound is not None else None for bound in bounds)
        low = -math.inf if low is None or math.isnan(low) else low
        high = math.inf if high is None or math.isnan(high) else high
        return _clip(x, low, high)
    if bounds[0] is not None:
        x = relax.op.maximum(x, conversion.tensor(1))
    return relax.op.minimum(x, conversion.tensor(2)) if bounds[1] is not None else x


def _clip(x: relax.Expr, low: float, high: float) -> relax.Expr:
    dtype = dtype_of(x)
    if dtype.startswith(("float", "bfloat")):
        if low == -math.inf and high == math.inf:
            return x
        if low == 0 and high == math.inf:
            return relax.op.nn.relu(x)
        if low > -math.inf and high < math.inf and low <= high:
            return relax.op.clip(x, low, high)
    if low > -math.inf:
        x = relax.op.maximum(x, relax.const(_integer_bound(low, dtype), dtype))
    return relax.op.minimum(x, relax.const(_integer_bound(high, dtype), dtype)) if high < math.inf else x


def _integer_bound(value: float, dtype: str) -> float:
    if not dtype.startswith(("int", "uint")):
        return value
    limits = np.iinfo(dtype)
    if value != int(value):
        raise ConversionError(f"the bound {value} of a clip of {dtype} is no integer")
    return min(max(int(value), limits.min), limits.max)
