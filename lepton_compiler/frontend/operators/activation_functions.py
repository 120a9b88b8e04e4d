"""Activations by name, for operators that have one built in: FusedConv, FusedGemm, LSTM, GRU, RNN.

No operator lives here; the operators of the same names are in ``activations.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tvm import relax

from lepton_compiler.frontend.conversion import ConversionError, dtype_of

Activation = Callable[..., relax.Expr]


def apply_activation(name: str, x: relax.Expr, parameters: Sequence[float] = ()) -> relax.Expr:
    """The activation ``name`` on a bound expression; missing parameters take ONNX's defaults."""
    entry = _ACTIVATIONS.get(name.lower())
    if entry is None:
        raise ConversionError(f'unknown activation "{name}"')
    function, defaults = entry
    values = [*parameters, *defaults[len(parameters) :]][: len(defaults)]
    return function(x, *values)


def scalar(value: float, like: relax.Expr) -> relax.Expr:
    """A constant of the element type of ``like``."""
    return relax.const(value, dtype_of(like))


def hard_sigmoid(x: relax.Expr, alpha: float, beta: float) -> relax.Expr:
    """``clip(alpha * x + beta, 0, 1)``."""
    line = relax.op.add(relax.op.multiply(x, scalar(alpha, x)), scalar(beta, x))
    return relax.op.clip(line, 0, 1)


def elu(x: relax.Expr, alpha: float) -> relax.Expr:
    """``x`` where positive, else ``alpha * (exp(x) - 1)``."""
    negative = relax.op.multiply(scalar(alpha, x), relax.op.subtract(relax.op.exp(x), scalar(1, x)))
    return relax.op.where(relax.op.greater(x, scalar(0, x)), x, negative)


def thresholded_relu(x: relax.Expr, alpha: float) -> relax.Expr:
    """``x`` where it is above ``alpha``, else 0."""
    return relax.op.where(relax.op.greater(x, scalar(alpha, x)), x, scalar(0, x))


def scaled_tanh(x: relax.Expr, alpha: float, beta: float) -> relax.Expr:
    """``alpha * tanh(beta * x)``."""
    return relax.op.multiply(scalar(alpha, x), relax.op.tanh(relax.op.multiply(scalar(beta, x), x)))


def softplus(x: relax.Expr) -> relax.Expr:
    """``log(1 + exp(x))``, written so that large ``x`` don't overflow."""
    tail = relax.op.log(relax.op.add(scalar(1, x), relax.op.exp(relax.op.negative(relax.op.abs(x)))))
    return relax.op.add(relax.op.maximum(x, scalar(0, x)), tail)


def softsign(x: relax.Expr) -> relax.Expr:
    """``x / (1 + |x|)``."""
    return relax.op.divide(x, relax.op.add(scalar(1, x), relax.op.abs(x)))


def affine(x: relax.Expr, alpha: float, beta: float) -> relax.Expr:
    """``alpha * x + beta``."""
    return relax.op.add(relax.op.multiply(scalar(alpha, x), x), scalar(beta, x))


def leaky_relu(x: relax.Expr, alpha: float) -> relax.Expr:
    """``x`` where positive, else ``alpha * x``."""
    return relax.op.nn.leakyrelu(x, alpha)


def clip(x: relax.Expr, low: float, high: float) -> relax.Expr:
    """``x`` limited to an interval."""
    return relax.op.clip(x, low, high)


_ACTIVATIONS: dict[str, tuple[Activation, tuple[float, ...]]] = {
    "relu": (relax.op.nn.relu, ()),
    "sigmoid": (relax.op.sigmoid, ()),
    "tanh": (relax.op.tanh, ()),
    "hardsigmoid": (hard_sigmoid, (0.2, 0.5)),
    "elu": (elu, (1.0,)),
    "leakyrelu": (leaky_relu, (0.01,)),
    "thresholdedrelu": (thresholded_relu, (1.0,)),
    "scaledtanh": (scaled_tanh, (1.0, 1.0)),
    "softplus": (softplus, ()),
    "softsign": (softsign, ()),
    "affine": (affine, (1.0, 0.0)),
    "clip": (clip, (-3.4028234663852886e38, 3.4028234663852886e38)),
}
