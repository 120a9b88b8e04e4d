"""ResNet for ImageNet, from its published definition, with random weights.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun: "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv:1512.03385, table 1. The stride of a bottleneck lies on its 3x3 convolution, as common exports have it ("v1.5").
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lepton_compiler.evaluation.suite.graph_writer import Dim, GraphWriter, node_path


@dataclass(frozen=True)
class ResNet:
    """Shape of a ResNet.

    Attributes:
        blocks: Number of residual blocks in each of the stages.
        bottleneck: 1x1, 3x3, 1x1 blocks that widen fourfold, instead of two 3x3 convolutions.
        width: Channels of the first stage; each further stage doubles them.
        image: Height and width of the input in pixels.
        classes: Number of classes.
    """

    blocks: tuple[int, ...]
    bottleneck: bool
    width: int = 64
    image: int = 224
    classes: int = 1000

    @property
    def branch_gain(self) -> float:
        """Scale of what a block adds, so that the sum of all blocks keeps the scale of the first one's input."""
        return sum(self.blocks) ** -0.5


_TRUNK, _BRANCH = 2.0, 1.0
"""Variance behind a convolution that reads the trunk, whose mean square is 1, or a branch behind a ReLU: one half."""

RESNET18 = ResNet(blocks=(2, 2, 2, 2), bottleneck=False)
RESNET50 = ResNet(blocks=(3, 4, 6, 3), bottleneck=True)


def build_resnet(shape: ResNet, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``input`` [batch, 3, image, image] to ``logits`` [batch, classes], float32."""
    graph = GraphWriter("resnet", seed)
    x = graph.input("input", (batch, 3, shape.image, shape.image))
    x = _convolution(graph, x, 3, shape.width, 7, 2, "conv1", _TRUNK)
    x = graph.node("Relu", [x], "/relu/Relu")
    x = graph.node("MaxPool", [x], "/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = shape.width
    block = _bottleneck_block if shape.bottleneck else _basic_block
    for stage, count in enumerate(shape.blocks):
        width = shape.width << stage
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            x, channels = block(graph, x, channels, width, stride, f"layer{stage + 1}.{index}", shape.branch_gain)
    x = graph.node("GlobalAveragePool", [x], "/avgpool/GlobalAveragePool")
    x = graph.node("Flatten", [x], "/Flatten", axis=1)
    x = graph.gemm(x, channels, shape.classes, "fc")
    return graph.model(x, "logits", (batch, shape.classes))


def _convolution(
    graph: GraphWriter, x: str, inputs: int, outputs: int, kernel: int, stride: int, name: str, variance: float
) -> str:
    """Convolution without bias whose output has this variance, then BatchNormalization."""
    x = graph.convolution(x, inputs, outputs, kernel, name, stride=stride, bias=False)
    return graph.batch_norm(x, outputs, f"{name}.bn", variance=variance)


def _last_convolution(
    graph: GraphWriter, x: str, inputs: int, outputs: int, kernel: int, name: str, gain: float
) -> str:
    """The one whose output is added to the shortcut."""
    x = graph.convolution(x, inputs, outputs, kernel, name, bias=False)
    return graph.batch_norm(x, outputs, f"{name}.bn", gain)


def _shortcut(graph: GraphWriter, x: str, inputs: int, outputs: int, stride: int, name: str) -> str:
    if inputs == outputs and stride == 1:
        return x
    return _convolution(graph, x, inputs, outputs, 1, stride, f"{name}.downsample", _TRUNK)


def _basic_block(
    graph: GraphWriter, x: str, inputs: int, width: int, stride: int, name: str, gain: float
) -> tuple[str, int]:
    path = node_path(name)
    y = _convolution(graph, x, inputs, width, 3, stride, f"{name}.conv1", _TRUNK)
    y = graph.node("Relu", [y], f"{path}/relu/Relu")
    y = _last_convolution(graph, y, width, width, 3, f"{name}.conv2", gain)
    y = graph.node("Add", [y, _shortcut(graph, x, inputs, width, stride, name)], f"{path}/Add")
    return graph.node("Relu", [y], f"{path}/relu_1/Relu"), width


def _bottleneck_block(
    graph: GraphWriter, x: str, inputs: int, width: int, stride: int, name: str, gain: float
) -> tuple[str, int]:
    path = node_path(name)
    outputs = 4 * width
    y = _convolution(graph, x, inputs, width, 1, 1, f"{name}.conv1", _TRUNK)
    y = graph.node("Relu", [y], f"{path}/relu/Relu")
    y = _convolution(graph, y, width, width, 3, stride, f"{name}.conv2", _BRANCH)
    y = graph.node("Relu", [y], f"{path}/relu_1/Relu")
    y = _last_convolution(graph, y, width, outputs, 1, f"{name}.conv3", gain)
    y = graph.node("Add", [y, _shortcut(graph, x, inputs, outputs, stride, name)], f"{path}/Add")
    return graph.node("Relu", [y], f"{path}/relu_2/Relu"), outputs
