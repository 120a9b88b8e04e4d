"""Tiny ONNX files for the tests of the command line: seconds to compile, and with every kind of defect."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

IR_VERSION = 10
OPSET = 17


def write_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, tuple[int, list[int | str]]],
    outputs: dict[str, int],
    weights: dict[str, np.ndarray] | None = None,
    opset: int = OPSET,
) -> Path:
    """Writes a model without checking it; inputs are ``name: (element type, shape)``, outputs ``name: rank``."""
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None] * rank) for name, rank in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=IR_VERSION)
    path.write_bytes(model.SerializeToString())
    return path


def write_conv_model(path: Path, batch: int | str = 1) -> Path:
    """Convolution, ReLU, global average pool, fully connected: two outputs, ``scores`` and ``features``."""
    generator = np.random.default_rng(7)
    weights = {
        "kernel": generator.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "bias": generator.standard_normal(4).astype(np.float32),
        "matrix": generator.standard_normal((4, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], "/body/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv"], ["relu"], "/body/relu"),
        helper.make_node("GlobalAveragePool", ["relu"], ["pooled"], "/head/pool"),
        helper.make_node("Flatten", ["pooled"], ["features"], "/head/flatten", axis=1),
        helper.make_node("MatMul", ["features", "matrix"], ["scores"], "/head/matmul"),
    ]
    inputs = {"image": (TensorProto.FLOAT, [batch, 3, 8, 8])}
    return write_model(path, nodes, inputs, {"scores": 2, "features": 2}, weights)


def write_tunable_model(path: Path) -> Path:
    """Pointwise convolution and ReLU of a few vectors of channels: one kernel with knobs, for every target."""
    generator = np.random.default_rng(7)
    weights = {
        "kernel": generator.standard_normal((32, 16, 1, 1)).astype(np.float32) / 4,
        "bias": generator.standard_normal(32).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "kernel", "bias"], ["conv"], "/body/conv"),
        helper.make_node("Relu", ["conv"], ["relu"], "/body/relu"),
    ]
    return write_model(path, nodes, {"image": (TensorProto.FLOAT, [1, 16, 6, 7])}, {"relu": 4}, weights)


def write_winograd_model(path: Path) -> Path:
    """Two 3x3 convolutions with stride 1 and their ReLUs, for which the cost model takes F(4x4, 3x3)."""
    generator = np.random.default_rng(7)
    weights = {
        "first": generator.standard_normal((64, 32, 3, 3)).astype(np.float32) / 17,
        "second": generator.standard_normal((64, 64, 3, 3)).astype(np.float32) / 24,
        "bias": generator.standard_normal(64).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "first", "bias"], ["conv1"], "/a/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv1"], ["relu1"], "/a/relu"),
        helper.make_node("Conv", ["relu1", "second", "bias"], ["conv2"], "/b/conv", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv2"], ["y"], "/b/relu"),
    ]
    return write_model(path, nodes, {"image": (TensorProto.FLOAT, [1, 32, 28, 28])}, {"y": 4}, weights)


def write_unsupported_model(path: Path) -> Path:
    """Two operators that nobody can convert, one of them twice."""
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], "/frob/1", domain="com.example"),
        helper.make_node("Frobnicate", ["a"], ["b"], "/frob/2", domain="com.example"),
        helper.make_node("NonZero", ["b"], ["c"], "/nonzero"),
        helper.make_node("Cast", ["c"], ["y"], "/cast", to=TensorProto.FLOAT),
    ]
    write_model(path, nodes, {"x": (TensorProto.FLOAT, [2, 3])}, {"y": 2})
    model = onnx.load(path)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    path.write_bytes(model.SerializeToString())
    return path


def write_external_data_model(path: Path, location: str) -> Path:
    """One addition whose weight lies in the file ``location``, which is not written."""
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[64], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value=location)
    weight.external_data.add(key="length", value="256")
    write_model(path, [helper.make_node("Add", ["x", "w"], ["y"], "add")], {"x": (TensorProto.FLOAT, [64])}, {"y": 1})
    model = onnx.load(path)
    model.graph.initializer.append(weight)
    path.write_bytes(model.SerializeToString())
    return path
