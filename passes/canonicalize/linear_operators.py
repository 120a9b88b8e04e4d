"""Convolutions, transposed convolutions and matmuls with constant weights: what a scale or bias can be folded into."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from tvm import relax

from lepton_compiler.core.contracts import operator_name
from lepton_compiler.passes.canonicalize.constant_arrays import array_of, constant

_CONVOLUTIONS = {f"relax.nn.conv{n}d" for n in (1, 2, 3)}
_TRANSPOSED = {f"relax.nn.conv{n}d_transpose" for n in (1, 2, 3)}


@dataclass(frozen=True)
class LinearOperator:
    """An operator that is linear in constant weights, channel by channel of its output.

    Attributes:
        call: The call; its second argument holds the weights.
        weights: The weights' values.
        rank: Number of dimensions of the output.
        axis: The output's channel axis.
        channels: Extent of that axis.
        scale_shape: Shape that one scale for each output channel takes ...
        grouped_shape: ... to multiply the weights reshaped to this.
    """

    call: relax.Call
    weights: np.ndarray
    rank: int
    axis: int
    channels: int
    scale_shape: tuple[int, ...]
    grouped_shape: tuple[int, ...]

    def scaled(self, scale: np.ndarray) -> relax.Call | None:
        """The call with the weights of each output channel multiplied by ``scale`` (float64, one a channel).

        Returns:
            None where a weight leaves the range of its dtype.
        """
        grouped = self.weights.astype(np.float64).reshape(self.grouped_shape) * scale.reshape(self.scale_shape)
        with np.errstate(over="ignore"):
            weights = grouped.reshape(self.weights.shape).astype(self.weights.dtype)
        if not np.isfinite(weights.astype(np.float64)).all():
            return None
        return relax.Call(self.call.op, [self.call.args[0], constant(weights)], self.call.attrs, self.call.ty_args)


def is_linear(value: relax.Expr | None) -> bool:
    """Whether ``value`` calls a convolution, transposed convolution or matmul."""
    return operator_name(value) in {*_CONVOLUTIONS, *_TRANSPOSED, "relax.matmul"} if value is not None else False


def read_linear_operator(call: relax.Call) -> LinearOperator | str:
    """Describes the call of an operator for which ``is_linear`` holds, or says what is in the way."""
    weights = array_of(call.args[1])
    if weights is None:
        return "its weights are not a constant"
    if not np.issubdtype(weights.dtype, np.floating):
        return f"its weights are of type {weights.dtype}, not floating point"
    if operator_name(call) == "relax.matmul":
        return _read_matmul(call, weights)
    return _read_convolution(call, weights)


def _read_matmul(call: relax.Call, weights: np.ndarray) -> LinearOperator | str:
    rank = call.args[0].ty.ndim
    if weights.ndim < 2 or rank < 2:
        return "an operand of the matmul is a vector"
    rank = max(rank, weights.ndim)
    columns = weights.shape[-1]
    return LinearOperator(call, weights, rank, rank - 1, columns, (columns,), weights.shape)


def _read_convolution(call: relax.Call, weights: np.ndarray) -> LinearOperator | str:
    attrs = call.attrs
    layout, kernel = str(attrs.out_layout or attrs.data_layout), str(attrs.kernel_layout)
    if not (layout.isalpha() and kernel.isalpha()):
        return f"its layouts {layout} and {kernel} are packed"
    groups = int(attrs.groups)
    output_axis, input_axis = kernel.index("O"), kernel.index("I")
    shape = list(weights.shape)
    if operator_name(call) in _CONVOLUTIONS:
        scale_shape = tuple(-1 if i == output_axis else 1 for i in range(len(shape)))
        return LinearOperator(
            call, weights, len(shape), layout.index("C"), shape[output_axis], scale_shape, weights.shape
        )
    # Transposed convolutions keep their groups in the input axis: group g makes output channels g*O to (g+1)*O.
    channels = groups * shape[output_axis]
    grouped_shape = [*shape[:input_axis], groups, shape[input_axis] // groups, *shape[input_axis + 1 :]]
    if output_axis > input_axis:
        scale_shape = tuple(
            groups if i == input_axis else shape[output_axis] if i == output_axis + 1 else 1
            for i in range(len(grouped_shape))
        )
        return LinearOperator(call, weights, len(shape), layout.index("C"), channels, scale_shape, tuple(grouped_shape))
    return f"its kernel layout {kernel} has the output channels before the groups"
