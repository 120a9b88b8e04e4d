"""Shapes that the model declares for its tensors, for operators whose results' shapes follow from nothing else."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from tvm import relax, tirx


def declared_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """By tensor name: the shapes of outputs and intermediate tensors that are numbers throughout."""
    shapes: dict[str, tuple[int, ...]] = {}
    for info in (*graph.value_info, *graph.output):
        if info.type.HasField("tensor_type") and info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            if all(dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0 for dim in dims):
                shapes[info.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def empty_inputs(inputs: Mapping[str, relax.Var]) -> dict[str, np.ndarray]:
    """The inputs that never hold an element: their values are known."""
    empty = {}
    for name, var in inputs.items():
        sizes = [int(dim) if isinstance(dim, tirx.IntImm) else -1 for dim in var.ty.shape.values]
        if 0 in sizes and -1 not in sizes:
            empty[name] = np.zeros(sizes, np.dtype(str(var.ty.dtype.dtype)))
    return empty
