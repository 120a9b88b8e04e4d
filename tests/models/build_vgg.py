"""VGG for ImageNet, from its published definition, with random weights.

Karen Simonyan, Andrew Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
arXiv:1409.1556, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from graph_writer import GraphWriter


@dataclass(frozen=True)
class Vgg:
    """Shape of a VGG.

    Attributes:
        convolutions: Number of 3x3 convolutions before each of the poolings.
        width: Channels of the first stage; they double up to eight times that.
        hidden: Width of the two hidden dense layers.
        image: Height and width of the input in pixels, a multiple of 2 ** stages.
        classes: Number of classes.
    """

    convolutions: tuple[int, ...]
    width: int = 64
    hidden: int = 4096
    image: int = 224
    classes: int = 1000


VGG16 = Vgg(convolutions=(2, 2, 3, 3, 3))


def build_vgg(shape: Vgg, seed: int = 0) -> onnx.ModelProto:
    """One image ``input`` [1, 3, image, image] to ``logits`` [1, classes], float32."""
    graph = GraphWriter("vgg", seed)
    x = graph.input("input", (1, 3, shape.image, shape.image))
    channels = 3
    for stage, count in enumerate(shape.convolutions):
        width = shape.width << min(stage, 3)
        for index in range(count):
            x = _convolution(graph, x, channels, width, f"features.{stage}.{index}")
            channels = width
        x = graph.node("MaxPool", [x], f"/features/{stage}/MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Flatten", [x], "/Flatten", axis=1)
    side = shape.image >> len(shape.convolutions)
    x = _dense(graph, x, channels * side * side, shape.hidden, "classifier.0")
    x = graph.node("Relu", [x], "/classifier/1/Relu")
    x = _dense(graph, x, shape.hidden, shape.hidden, "classifier.2")
    x = graph.node("Relu", [x], "/classifier/3/Relu")
    x = _dense(graph, x, shape.hidden, shape.classes, "classifier.4")
    return graph.model(x, "logits", (1, shape.classes))


def _convolution(graph: GraphWriter, x: str, inputs: int, outputs: int, name: str) -> str:
    path = "/" + name.replace(".", "/")
    weight = graph.weight(f"{name}.weight", (outputs, inputs, 3, 3), (2.0 / (9 * inputs)) ** 0.5)
    bias = graph.weight(f"{name}.bias", (outputs,), 0.1)
    x = graph.node("Conv", [x, weight, bias], f"{path}/Conv", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    return graph.node("Relu", [x], f"{path}/Relu")


def _dense(graph: GraphWriter, x: str, inputs: int, outputs: int, name: str) -> str:
    weight = graph.weight(f"{name}.weight", (outputs, inputs), (2.0 / inputs) ** 0.5)
    bias = graph.weight(f"{name}.bias", (outputs,), 0.1)
    return graph.node("Gemm", [x, weight, bias], "/" + name.replace(".", "/") + "/Gemm", transB=1)
