"""Convolutions, transposed convolutions and matmuls with constant weights: what a scale or bias can be folded into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant

_CONVOLUTIONS = {f"relax.nn.conv{n}d" for n in (1, 2, 3)}
_TRANSPOSED = {f"relax.nn.conv{n}d_transpose" for n in (1, 2, 3)}
_LINEAR = {*_CONVOLUTIONS, *_TRANSPOSED, "relax.matmul"}


@dataclass(frozen=True)
class LinearOperator:
    """An operator that is linear in constant weights, channel by channel.

    Seen as ``grouped_shape``, which gives the groups a dimension of their own, the weights are multiplied by one scale
    a channel reshaped to ``output_scale_shape`` or ``input_scale_shape``.

    Attributes:
        call: The call; its second argument holds the weights.
        weights: The weights' values.
        rank: Number of dimensions of the output.
        axis: The output's channel axis.
        channels: Extent of that axis.
        input_axis: The input's channel axis.
        input_channels: Extent of that axis.
        grouped_shape: The weights' shape with a dimension for the groups.
        output_scale_shape: Shape for one scale an output channel.
        input_scale_shape: Shape for one scale an input channel.
    """

    call: relax.Call
    weights: np.ndarray
    rank: int
    axis: int
    channels: int
    input_axis: int
    input_channels: int
    grouped_shape: tuple[int, ...]
    output_scale_shape: tuple[int, ...]
    input_scale_shape: tuple[int, ...]

    def scaled(self, scale: np.ndarray) -> relax.Call | None:
        """The call with the weights of each output channel multiplied by ``scale`` (float64, one a channel).

        Returns:
            None where a weight leaves the range of its dtype.
        """
        return self._with_weights(self.call.args[0], scale.reshape(self.output_scale_shape))

    def input_scaled(self, x: relax.Expr, scale: np.ndarray) -> relax.Call | None:
        """The call on ``x`` with the weights of each input channel multiplied by ``scale``; None as for ``scaled``."""
        return self._with_weights(x, scale.reshape(self.input_scale_shape))

    def _with_weights(self, x: relax.Expr, scale: np.ndarray) -> relax.Call | None:
        grouped = self.weights.astype(np.float64).reshape(self.grouped_shape) * scale
        with np.errstate(over="ignore"):
            weights = grouped.reshape(self.weights.shape).astype(self.weights.dtype)
        if not np.isfinite(weights.astype(np.float64)).all():
            return None
        return relax.Call(self.call.op, [x, constant(weights)], self.call.attrs, self.call.ty_args)


def is_linear(value: relax.Expr | None) -> bool:
    """Whether ``value`` calls a convolution, transposed convolution or matmul."""
    return value is not None and operator_name(value) in _LINEAR


def read_linear_operator(call: relax.Call) -> LinearOperator | str:
    """Describes the call of an operator for which ``is_linear`` holds, or says what is in the way."""
    weights = array_of(call.args[1])
    if weights is None:
        return "its weights are not a constant"
    if weights.dtype.kind in "iub":
        return f"its weights are of type {weights.dtype}, not floating point"
    if operator_name(call) == "relax.matmul":
        return _read_matmul(call, weights)
    return _read_convolution(call, weights)


def _read_matmul(call: relax.Call, weights: np.ndarray) -> LinearOperator | str:
    input_rank = call.args[0].ty.ndim
    if weights.ndim < 2 or input_rank < 2:
        return "an operand of the matmul is a vector"
    rank = max(input_rank, weights.ndim)
    rows, columns = weights.shape[-2:]
    return LinearOperator(
        call, weights, rank, rank - 1, columns, input_rank - 1, rows, weights.shape, (1, columns), (rows, 1)
    )


def _read_convolution(call: relax.Call, weights: np.ndarray) -> LinearOperator | str:
    attrs = call.attrs
    data, kernel, out = str(attrs.data_layout), str(attrs.kernel_layout), str(attrs.out_layout or attrs.data_layout)
    if not (data.isalpha() and kernel.isalpha() and out.isalpha()):
        return f"its layouts {data}, {kernel} and {out} are packed"
    # Groups divide the output channels of a convolution and the input channels of a transposed one; channel
    # g * n + i of a divided axis with n channels a group is element (g, i) of the two dimensions made of it.
    groups = int(attrs.groups)
    divided, whole = ("O", "I") if operator_name(call) in _CONVOLUTIONS else ("I", "O")
    at = kernel.index(divided)
    letters = [*kernel[:at], "G", *kernel[at:]]
    shape = list(weights.shape)
    grouped = (*shape[:at], groups, shape[at] // groups, *shape[at + 1 :])
    if groups > 1 and letters.index("G") > letters.index(whole):
        return f"its kernel layout {kernel} has the groups behind the channels that they hold"
    channels = {letter: grouped[letters.index(letter)] * groups for letter in "OI"}
    scale_shape = {
        letter: tuple(extent if name in ("G", letter) else 1 for name, extent in zip(letters, grouped, strict=True))
        for letter in "OI"
    }
    return LinearOperator(
        call,
        weights,
        len(shape),
        out.index("C"),
        channels["O"],
        data.index("C"),
        channels["I"],
        grouped,
        scale_shape["O"],
        scale_shape["I"],
    )
