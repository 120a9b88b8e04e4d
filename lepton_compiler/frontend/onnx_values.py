"""ONNX's messages as Python and NumPy values, and the types of values as ONNX's messages."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import tvm

from lepton_compiler.frontend.conversion import Value
from lepton_compiler.frontend.shape_values import ShapeValue


def node_attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attribute values by name: strings as ``str``, lists as lists, tensors as NumPy arrays."""
    return {attribute.name: _attribute_value(attribute) for attribute in node.attribute}


def _attribute_value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, onnx.TensorProto):
        return onnx.numpy_helper.to_array(value)
    if attribute.type in (onnx.AttributeProto.INTS, onnx.AttributeProto.FLOATS):
        return list(value)
    if attribute.type == onnx.AttributeProto.STRINGS:
        return [item.decode("utf-8", "replace") for item in value]
    return value


def densify(sparse: onnx.SparseTensorProto) -> np.ndarray:
    """A sparse tensor with its zeros."""
    values = onnx.numpy_helper.to_array(sparse.values)
    indices = onnx.numpy_helper.to_array(sparse.indices)
    dense = np.zeros(tuple(sparse.dims), values.dtype)
    if indices.ndim == 1:
        dense.reshape(-1)[indices] = values
    else:
        dense[tuple(indices.T)] = values
    return dense


def type_of(value: Value | None) -> onnx.TypeProto | None:
    """The ONNX type of a value, for function bodies that depend on it."""
    if value is None or isinstance(value, list):
        return None
    if isinstance(value, np.ndarray):
        dtype, shape = value.dtype, list(value.shape)
    elif isinstance(value, ShapeValue):
        dtype, shape = np.dtype(value.dtype), list(value.values.shape)
    else:
        dtype = np.dtype(str(value.ty.dtype.dtype))
        shape = [int(dim) if isinstance(dim, tvm.tirx.IntImm) else str(dim) for dim in value.ty.shape.values]
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(dtype), shape)
