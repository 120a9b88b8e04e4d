"""Writes ONNX graphs with seeded random weights, layer by layer, named the way that exporters name them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Dim = int | str


class GraphWriter:
    """Collects nodes and weights; every method that adds a layer returns the name of its output.

    Args:
        name: Name of the graph.
        seed: Seed of all random weights: the same calls give the same bytes.
        weights: Published weights by name; a weight that is found here is taken instead of a random one.
    """

    def __init__(self, name: str, seed: int = 0, weights: dict[str, np.ndarray] | None = None) -> None:
        self._name = name
        self._random = np.random.default_rng(seed)
        self._published = weights
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}
        self._inputs: list[onnx.ValueInfoProto] = []

    def input(self, name: str, shape: Sequence[Dim], dtype: int = TensorProto.FLOAT) -> str:
        """Declares a graph input."""
        self._inputs.append(helper.make_tensor_value_info(name, dtype, list(shape)))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds an initializer once; a second call with the same name must bring the same value."""
        tensor = numpy_helper.from_array(value, name)
        if self._initializers.setdefault(name, tensor) != tensor:
            raise ValueError(f"two different values for the weight {name}")
        return name

    def weight(self, name: str, shape: Sequence[int], scale: float) -> str:
        """A weight: the published one, or normal with standard deviation ``scale``."""
        return self.constant(name, self._value(name, shape, scale))

    def gain(self, name: str, channels: int, mean: float = 1.0) -> str:
        """A normalisation's scale or variance: the published one, or uniform within a quarter of ``mean``."""
        if self._published is not None:
            return self.constant(name, self._value(name, (channels,), 0.0))
        return self.constant(name, self._random.uniform(0.75 * mean, 1.25 * mean, channels).astype(np.float32))

    def node(self, op_type: str, inputs: Sequence[str], name: str, **attributes: object) -> str:
        """Adds a node with one output."""
        output = f"{name}_output_0"
        self._nodes.append(helper.make_node(op_type, list(inputs), [output], name=name, **attributes))
        return output

    def linear(self, x: str, inputs: int, outputs: int, name: str, parameters: str) -> str:
        """``x @ W + b`` over the last axis; the weight is stored transposed, as published checkpoints do."""
        weight = self._value(f"{parameters}.weight", (outputs, inputs), inputs**-0.5)
        kernel = self.constant(f"{parameters}.weight_transposed", np.ascontiguousarray(weight.T))
        product = self.node("MatMul", [x, kernel], f"{name}/MatMul")
        return self.node("Add", [product, self.weight(f"{parameters}.bias", (outputs,), 0.1)], f"{name}/Add")

    def layer_norm(self, x: str, width: int, epsilon: float, name: str, parameters: str) -> str:
        """LayerNormalization over the last axis."""
        gain = self.gain(f"{parameters}.weight", width)
        bias = self.weight(f"{parameters}.bias", (width,), 0.1)
        return self.node("LayerNormalization", [x, gain, bias], f"{name}/LayerNormalization", axis=-1, epsilon=epsilon)

    def gelu(self, x: str, name: str) -> str:
        """``x / 2 * (1 + erf(x / sqrt(2)))``, in the operators that opset 17 has."""
        scaled = self.node("Div", [x, self.constant("sqrt_two", np.float32(2**0.5))], f"{name}/Div")
        erf = self.node("Erf", [scaled], f"{name}/Erf")
        shifted = self.node("Add", [erf, self.constant("one", np.float32(1))], f"{name}/Add")
        product = self.node("Mul", [x, shifted], f"{name}/Mul")
        return self.node("Mul", [product, self.constant("half", np.float32(0.5))], f"{name}/Mul_1")

    def model(self, value: str, output: str, shape: Sequence[Dim]) -> onnx.ModelProto:
        """The model whose one float32 output is ``value``, under the name ``output``."""
        for node in self._nodes:
            node.output[:] = [output if name == value else name for name in node.output]
            node.input[:] = [output if name == value else name for name in node.input]
        graph = helper.make_graph(
            self._nodes,
            self._name,
            self._inputs,
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(shape))],
            list(self._initializers.values()),
        )
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="lepton tests"
        )

    def _value(self, name: str, shape: Sequence[int], scale: float) -> np.ndarray:
        if self._published is None:
            return self._random.normal(0.0, scale, shape).astype(np.float32)
        value = self._published[name]
        if value.shape != tuple(shape):
            raise ValueError(f"published weight {name} has shape {value.shape}, {tuple(shape)} expected")
        return value
