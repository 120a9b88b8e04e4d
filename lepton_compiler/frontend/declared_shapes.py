"""Shapes that the model declares for its tensors, for operators whose results' shapes follow from nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import onnx
from tvm import relax, tirx

# Operators of one data input whose result has its shape.
_SHAPE_PRESERVING = frozenset(
    {"Abs", "Cast", "CastLike", "Ceil", "Clip", "Erf", "Exp", "Floor", "Identity", "Log", "Neg", "Reciprocal", "Relu",
     "Round", "Sigmoid", "Sign", "Softmax", "Sqrt", "Tanh"}
)  # fmt: skip


def declared_shapes(graph: onnx.GraphProto) -> dict[str, tuple[int, ...]]:
    """By tensor name: the shapes of outputs and intermediate tensors that are numbers throughout."""
    shapes: dict[str, tuple[int, ...]] = {}
    for info in (*graph.value_info, *graph.output):
        if info.type.HasField("tensor_type") and info.type.tensor_type.HasField("shape"):
            dims = info.type.tensor_type.shape.dim
            if all(dim.WhichOneof("value") == "dim_value" and dim.dim_value >= 0 for dim in dims):
                shapes[info.name] = tuple(dim.dim_value for dim in dims)
    return shapes_before(graph.node, shapes)


def shapes_before(
    nodes: Iterable[onnx.NodeProto], declared: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """``declared``, and what it says of the tensors in front of operators that keep shapes."""
    shapes = dict(declared)
    for node in reversed(list(nodes)):
        if node.op_type in _SHAPE_PRESERVING and node.domain in ("", "ai.onnx") and node.output[0] in shapes:
            shapes.setdefault(node.input[0], shapes[node.output[0]])
    return shapes


def empty_inputs(inputs: Mapping[str, relax.Var]) -> dict[str, np.ndarray]:
    """The inputs that never hold an element: their values are known."""
    empty = {}
    for name, var in inputs.items():
        sizes = [int(dim) if isinstance(dim, tirx.IntImm) else -1 for dim in var.ty.shape.values]
        if 0 in sizes and -1 not in sizes:
            empty[name] = np.zeros(sizes, np.dtype(str(var.ty.dtype.dtype)))
    return empty
