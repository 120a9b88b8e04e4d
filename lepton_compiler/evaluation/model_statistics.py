"""Counts what an ONNX graph holds: parameters, weight bytes, multiply-accumulates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import onnx
from onnx import helper

Shape = tuple[int | str | None, ...]
"""A dimension is a size, a symbol, or None where it is unknown."""


@dataclass(frozen=True)
class ModelStatistics:
    """What a model holds.

    Attributes:
        nodes: Number of nodes, those of sub-graphs included.
        parameters: Elements of floating-point weights.
        weight_bytes: Bytes of all initializers and ``Constant`` tensors.
        macs: Multiply-accumulates of convolutions, matrix products and recurrent layers; of the nodes whose shapes are
            known.
        uncounted_nodes: Nodes of those kinds whose shapes are not known.
    """

    nodes: int
    parameters: int
    weight_bytes: int
    macs: int
    uncounted_nodes: tuple[str, ...]


def model_statistics(model: onnx.ModelProto, known_shapes: Mapping[str, Shape]) -> ModelStatistics:
    """Counts a model.

    Args:
        model: As ``infer_shapes`` returned it.
        known_shapes: Shapes of tensors that ONNX's own inference does not find.
    """
    weights = list(_weight_tensors(model.graph))
    shapes = {**_value_shapes(model.graph), **known_shapes}
    macs, uncounted = 0, []
    for node in model.graph.node:
        count = _MACS.get(node.op_type)
        if count is None:
            continue
        try:
            macs += count(node, shapes)
        except _UnknownShapeError:
            uncounted.append(node.name or node.output[0])
    return ModelStatistics(
        nodes=sum(1 for _ in _nodes(model.graph)),
        parameters=sum(math.prod(tensor.dims) for tensor in weights if _is_float(tensor.data_type)),
        weight_bytes=sum(_tensor_bytes(tensor) for tensor in weights),
        macs=macs,
        uncounted_nodes=tuple(uncounted),
    )


def infer_shapes(model: onnx.ModelProto, inputs: Mapping[str, Sequence[int | str]]) -> onnx.ModelProto:
    """A copy of ``model`` with these input shapes and the shapes that follow from them; weights' values are kept."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    # Recorded shapes belong to the old inputs: a symbol that has a size now would stay a symbol there.
    del copy.graph.value_info[:]
    for value in copy.graph.output:
        value.type.tensor_type.ClearField("shape")
    for value in copy.graph.input:
        if value.name in inputs:
            tensor_type = helper.make_tensor_type_proto(value.type.tensor_type.elem_type, inputs[value.name])
            value.type.CopyFrom(tensor_type)
    return onnx.shape_inference.infer_shapes(copy, data_prop=True)


class _UnknownShapeError(Exception):
    """A dimension that the count needs is unknown or symbolic."""


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of sub-graphs included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                for branch in attribute.graphs:
                    yield from _nodes(branch)


def _weight_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in _nodes(graph):
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.TENSOR:
                yield attribute.t
            elif attribute.type == onnx.AttributeProto.GRAPH:
                yield from attribute.g.initializer


def _is_float(data_type: int) -> bool:
    return helper.tensor_dtype_to_np_dtype(data_type).kind in "fV"


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    elements = math.prod(tensor.dims)
    if tensor.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1):
        return (elements + 1) // 2
    return elements * helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize


def value_shape(value: onnx.ValueInfoProto) -> Shape | None:
    """Shape of a graph value; None where even the rank is unknown."""
    tensor = value.type.tensor_type
    if not tensor.HasField("shape"):
        return None
    return tuple(dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None) for dim in tensor.shape.dim)


def _value_shapes(graph: onnx.GraphProto) -> dict[str, Shape]:
    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.output, *graph.value_info):
        shape = value_shape(value)
        if shape is not None:
            shapes[value.name] = shape
    for node in graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.type == onnx.AttributeProto.TENSOR:
                shapes[node.output[0]] = tuple(attribute.t.dims)
    return shapes


def _known(shapes: Mapping[str, Shape], name: str) -> tuple[int, ...]:
    shape = shapes.get(name)
    if shape is None or not all(isinstance(dim, int) for dim in shape):
        raise _UnknownShapeError(name)
    return tuple(dim for dim in shape if isinstance(dim, int))


def _conv_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape], weight: int = 1) -> int:
    """Each output element sums over the kernel and its group's input channels: ``numel(Y) * numel(W) / C_out``."""
    kernel = _known(shapes, node.input[weight])
    return math.prod(_known(shapes, node.output[0])) * math.prod(kernel[1:])


def _quantized_conv_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    return _conv_macs(node, shapes, weight=3)


def _conv_transpose_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Each input element is spread over the kernel and its group's output channels."""
    kernel = _known(shapes, node.input[1])
    return math.prod(_known(shapes, node.input[0])) * math.prod(kernel[1:])


def _matmul_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    return math.prod(_known(shapes, node.output[0])) * _known(shapes, node.input[0])[-1]


def _gemm_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    left = _known(shapes, node.input[0])
    transposed = any(attribute.name == "transA" and attribute.i for attribute in node.attribute)
    return math.prod(_known(shapes, node.output[0])) * left[0 if transposed else 1]


def _recurrent_macs(node: onnx.NodeProto, shapes: Mapping[str, Shape]) -> int:
    """Every step multiplies with the input's and the state's matrix: ``X`` is [sequence, batch, input]."""
    sequence, batch, _ = _known(shapes, node.input[0])
    return sequence * batch * (math.prod(_known(shapes, node.input[1])) + math.prod(_known(shapes, node.input[2])))


_MACS: dict[str, Callable[[onnx.NodeProto, Mapping[str, Shape]], int]] = {
    "Conv": _conv_macs,
    "FusedConv": _conv_macs,
    "ConvInteger": _conv_macs,
    "QLinearConv": _quantized_conv_macs,
    "ConvTranspose": _conv_transpose_macs,
    "MatMul": _matmul_macs,
    "FusedMatMul": _matmul_macs,
    "MatMulInteger": _matmul_macs,
    "QLinearMatMul": _matmul_macs,
    "Gemm": _gemm_macs,
    "LSTM": _recurrent_macs,
    "GRU": _recurrent_macs,
    "RNN": _recurrent_macs,
}
