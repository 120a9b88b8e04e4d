"""VGG for ImageNet, from its published definition, with random weights.

Karen Simonyan, Andrew Zisserman: "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR 2015,
arXiv:1409.1556, table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lepton_compiler.evaluation.suite.graph_writer import POOLED_MEAN_SQUARE, Dim, GraphWriter, node_path


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


def build_vgg(shape: Vgg, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``input`` [batch, 3, image, image] to ``logits`` [batch, classes], float32."""
    graph = GraphWriter("vgg", seed)
    x = graph.input("input", (batch, 3, shape.image, shape.image))
    channels = 3
    for stage, count in enumerate(shape.convolutions):
        width = shape.width << min(stage, 3)
        for index in range(count):
            after_pool = stage > 0 and index == 0
            x = _convolution(graph, x, channels, width, f"features.{stage}.{index}", after_pool)
            channels = width
        x = graph.node("MaxPool", [x], f"/features/{stage}/MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    x = graph.node("Flatten", [x], "/Flatten", axis=1)
    side = shape.image >> len(shape.convolutions)
    x = graph.gemm(x, channels * side * side, shape.hidden, "classifier.0", 2.0 / POOLED_MEAN_SQUARE)
    x = graph.node("Relu", [x], "/classifier/1/Relu")
    x = graph.gemm(x, shape.hidden, shape.hidden, "classifier.2", 2.0)
    x = graph.node("Relu", [x], "/classifier/3/Relu")
    x = graph.gemm(x, shape.hidden, shape.classes, "classifier.4")
    return graph.model(x, "logits", (batch, shape.classes))


def _convolution(graph: GraphWriter, x: str, inputs: int, outputs: int, name: str, after_pool: bool) -> str:
    variance = 2.0 / POOLED_MEAN_SQUARE if after_pool else 2.0
    x = graph.convolution(x, inputs, outputs, 3, name, variance=variance)
    return graph.node("Relu", [x], f"{node_path(name)}/Relu")
