"""Constants of the program as NumPy arrays, and back."""

from __future__ import annotations

import numpy as np
from tvm import relax
from tvm.ir import GenericConst


def array_of(expr: relax.Expr) -> np.ndarray | None:
    """The tensor that a constant holds, None for anything else."""
    return expr.value.numpy() if isinstance(expr, GenericConst) and isinstance(expr.ty, relax.TensorType) else None


def constant(array: np.ndarray) -> relax.Expr:
    """A constant of the array's shape and dtype."""
    return relax.const(np.ascontiguousarray(array).reshape(array.shape), str(array.dtype))


def per_channel(array: np.ndarray, rank: int, axis: int, channels: int) -> np.ndarray | None:
    """What ``array`` broadcasts to along one axis of a tensor.

    Args:
        array: Constant operand of an elementwise operator.
        rank: Number of dimensions of the other operand.
        axis: The channel axis of the other operand.
        channels: Its extent there.

    Returns:
        A vector of ``channels`` elements; None where the array varies along another axis or would grow the tensor.
    """
    if array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(extent != 1 for i, extent in enumerate(shape) if i != axis) or shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(array.reshape(-1), (channels,))


def along_axis(vector: np.ndarray, rank: int, axis: int) -> np.ndarray:
    """A vector reshaped so that it broadcasts along ``axis`` of a tensor with ``rank`` dimensions."""
    return vector.reshape(tuple(-1 if i == axis else 1 for i in range(rank)))
