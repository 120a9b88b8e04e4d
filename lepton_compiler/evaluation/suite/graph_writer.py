"""Writes ONNX graphs with seeded random weights, layer by layer, named the way that exporters name them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Dim = int | str


SILU_MEAN, SILU_MEAN_SQUARE = 0.207, 0.37
"""Of ``silu(x)`` of a unit normal; a convolution divides by its input's mean square, so that its output is one, too.

The mean square is 0.356 and rounded up: a SiLU amplifies what is too large, and layers would add up.
"""

POOLED_MEAN_SQUARE = 2.2
"""What a 2x2 maximum pooling multiplies the mean square of a ReLU's output by; the layer behind it divides by it."""


def node_path(name: str) -> str:
    """``layer1.0.conv1`` as exporters name its nodes: ``/layer1/0/conv1``."""
    return "/" + name.replace(".", "/")


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
        return self.node_of_many(op_type, inputs, 1, name, **attributes)[0]

    def node_of_many(
        self, op_type: str, inputs: Sequence[str], outputs: int, name: str, **attributes: object
    ) -> list[str]:
        """Adds a node with several outputs."""
        names = [f"{name}_output_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(op_type, list(inputs), names, name=name, **attributes))
        return names

    def linear(self, x: str, inputs: int, outputs: int, name: str, parameters: str) -> str:
        """``x @ W + b`` over the last axis; the weight is stored transposed, as published checkpoints do."""
        weight = self._value(f"{parameters}.weight", (outputs, inputs), inputs**-0.5)
        kernel = self.constant(f"{parameters}.weight_transposed", np.ascontiguousarray(weight.T))
        product = self.node("MatMul", [x, kernel], f"{name}/MatMul")
        return self.node("Add", [product, self.weight(f"{parameters}.bias", (outputs,), 0.1)], f"{name}/Add")

    def convolution(
        self,
        x: str,
        inputs: int,
        outputs: int,
        kernel: int,
        name: str,
        *,
        stride: int = 1,
        padding: int | None = None,
        groups: int = 1,
        bias: bool = True,
        variance: float = 2.0,
    ) -> str:
        """A square convolution; ``name`` is dotted, as checkpoints have it.

        Args:
            x: Its input.
            inputs: Input channels.
            outputs: Output channels.
            kernel: Height and width of the kernel.
            name: Prefix of the weights' names, and with slashes of the node's.
            stride: Along both axes.
            padding: On every side; by default what keeps the size at stride 1.
            groups: Groups of channels.
            bias: Whether it has one.
            variance: Of an output whose inputs have a mean square of 1. He et al., arXiv:1502.01852: 2 keeps the scale
                through a ReLU that follows.
        """
        fan_in = inputs // groups * kernel * kernel
        operands = [
            x,
            self.weight(f"{name}.weight", (outputs, inputs // groups, kernel, kernel), (variance / fan_in) ** 0.5),
        ]
        if bias:
            operands.append(self.weight(f"{name}.bias", (outputs,), 0.1))
        pads = [kernel // 2 if padding is None else padding] * 4
        size, strides = [kernel, kernel], [stride, stride]
        return self.node(
            "Conv", operands, f"{node_path(name)}/Conv", kernel_shape=size, strides=strides, pads=pads, group=groups
        )

    def batch_norm(self, x: str, channels: int, name: str, gain: float = 1.0, variance: float = 1.0) -> str:
        """BatchNormalization with statistics that are not those of a unit normal.

        Args:
            x: Its input.
            channels: Channels of the input.
            name: Dotted prefix of the weights' names.
            gain: Mean of its scale.
            variance: Mean of its running variance: the input's, to make the output ``gain`` times a unit normal.
        """
        statistics = [
            self.gain(f"{name}.weight", channels, gain),
            self.weight(f"{name}.bias", (channels,), 0.1 * gain),
            self.weight(f"{name}.running_mean", (channels,), 0.1),
            self.gain(f"{name}.running_var", channels, variance),
        ]
        return self.node("BatchNormalization", [x, *statistics], f"{node_path(name)}/BatchNormalization", epsilon=1e-5)

    def gemm(self, x: str, inputs: int, outputs: int, name: str, variance: float = 1.0) -> str:
        """``x @ W.T + b`` of a matrix; ``variance`` as of a convolution."""
        weight = self.weight(f"{name}.weight", (outputs, inputs), (variance / inputs) ** 0.5)
        bias = self.weight(f"{name}.bias", (outputs,), 0.1)
        return self.node("Gemm", [x, weight, bias], f"{node_path(name)}/Gemm", transB=1)

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

    def silu(self, x: str, name: str) -> str:
        """``x * sigmoid(x)``, in the operators that opset 17 has."""
        return self.node("Mul", [x, self.node("Sigmoid", [x], f"{name}/Sigmoid")], f"{name}/Mul")

    def nearest_resize(self, x: str, factor: int, name: str) -> str:
        """An image ``factor`` times as high and wide, every pixel repeated."""
        scales = self.constant(f"scales_{factor}", np.array([1, 1, factor, factor], np.float32))
        attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", [x, "", scales], f"/{name}/Resize", **attributes)

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
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION, producer_name="lepton suite"
        )

    def _value(self, name: str, shape: Sequence[int], scale: float) -> np.ndarray:
        if self._published is None:
            return self._random.normal(0.0, scale, shape).astype(np.float32)
        value = self._published[name]
        if value.shape != tuple(shape):
            raise ValueError(f"published weight {name} has shape {value.shape}, {tuple(shape)} expected")
        return value
