"""ResNet for ImageNet, from its published definition, with random weights.

Kaiming He, Xiangyu Zhang, Shaoqing Ren, Jian Sun: "Deep Residual Learning for Image Recognition", CVPR 2016,
arXiv:1512.03385, table 1. The stride of a bottleneck lies on its 3x3 convolution, as common exports have it ("v1.5").
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from graph_writer import GraphWriter


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


RESNET18 = ResNet(blocks=(2, 2, 2, 2), bottleneck=False)
RESNET50 = ResNet(blocks=(3, 4, 6, 3), bottleneck=True)


def build_resnet(shape: ResNet, seed: int = 0) -> onnx.ModelProto:
    """One image ``input`` [1, 3, image, image] to ``logits`` [1, classes], float32."""
    graph = GraphWriter("resnet", seed)
    x = graph.input("input", (1, 3, shape.image, shape.image))
    x = _convolution(graph, x, 3, shape.width, 7, 2, "conv1")
    x = graph.node("Relu", [x], "/relu/Relu")
    x = graph.node("MaxPool", [x], "/maxpool/MaxPool", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    channels = shape.width
    block = _bottleneck_block if shape.bottleneck else _basic_block
    for stage, count in enumerate(shape.blocks):
        width = shape.width << stage
        for index in range(count):
            stride = 2 if stage > 0 and index == 0 else 1
            x, channels = block(graph, x, channels, width, stride, f"layer{stage + 1}.{index}")
    x = graph.node("GlobalAveragePool", [x], "/avgpool/GlobalAveragePool")
    x = graph.node("Flatten", [x], "/Flatten", axis=1)
    weight = graph.weight("fc.weight", (shape.classes, channels), channels**-0.5)
    bias = graph.weight("fc.bias", (shape.classes,), 0.1)
    x = graph.node("Gemm", [x, weight, bias], "/fc/Gemm", transB=1)
    return graph.model(x, "logits", (1, shape.classes))


def _convolution(graph: GraphWriter, x: str, inputs: int, outputs: int, kernel: int, stride: int, name: str) -> str:
    """Convolution without bias, then BatchNormalization with statistics that are not those of a unit normal."""
    scale = (2.0 / (inputs * kernel * kernel)) ** 0.5
    weight = graph.weight(f"{name}.weight", (outputs, inputs, kernel, kernel), scale)
    path = "/" + name.replace(".", "/")
    x = graph.node(
        "Conv",
        [x, weight],
        f"{path}/Conv",
        kernel_shape=[kernel, kernel],
        strides=[stride, stride],
        pads=[kernel // 2] * 4,
    )
    statistics = [
        graph.gain(f"{name}.bn.weight", outputs),
        graph.weight(f"{name}.bn.bias", (outputs,), 0.1),
        graph.weight(f"{name}.bn.running_mean", (outputs,), 0.1),
        graph.gain(f"{name}.bn.running_var", outputs, mean=2.0),
    ]
    return graph.node("BatchNormalization", [x, *statistics], f"{path}/bn/BatchNormalization", epsilon=1e-5)


def _shortcut(graph: GraphWriter, x: str, inputs: int, outputs: int, stride: int, name: str) -> str:
    if inputs == outputs and stride == 1:
        return x
    return _convolution(graph, x, inputs, outputs, 1, stride, f"{name}.downsample")


def _basic_block(graph: GraphWriter, x: str, inputs: int, width: int, stride: int, name: str) -> tuple[str, int]:
    path = "/" + name.replace(".", "/")
    y = _convolution(graph, x, inputs, width, 3, stride, f"{name}.conv1")
    y = graph.node("Relu", [y], f"{path}/relu/Relu")
    y = _convolution(graph, y, width, width, 3, 1, f"{name}.conv2")
    y = graph.node("Add", [y, _shortcut(graph, x, inputs, width, stride, name)], f"{path}/Add")
    return graph.node("Relu", [y], f"{path}/relu_1/Relu"), width


def _bottleneck_block(graph: GraphWriter, x: str, inputs: int, width: int, stride: int, name: str) -> tuple[str, int]:
    path = "/" + name.replace(".", "/")
    outputs = 4 * width
    y = _convolution(graph, x, inputs, width, 1, 1, f"{name}.conv1")
    y = graph.node("Relu", [y], f"{path}/relu/Relu")
    y = _convolution(graph, y, width, width, 3, stride, f"{name}.conv2")
    y = graph.node("Relu", [y], f"{path}/relu_1/Relu")
    y = _convolution(graph, y, width, outputs, 1, 1, f"{name}.conv3")
    y = graph.node("Add", [y, _shortcut(graph, x, inputs, outputs, stride, name)], f"{path}/Add")
    return graph.node("Relu", [y], f"{path}/relu_2/Relu"), outputs
