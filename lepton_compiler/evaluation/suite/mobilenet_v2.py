"""MobileNetV2 for ImageNet, from its published definition, with random weights.

Mark Sandler, Andrew Howard, Menglong Zhu, Andrey Zhmoginov, Liang-Chieh Chen: "MobileNetV2: Inverted Residuals and
Linear Bottlenecks", CVPR 2018, arXiv:1801.04381, table 2. Parameter names are torchvision's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from lepton_compiler.evaluation.suite.graph_writer import Dim, GraphWriter, node_path


@dataclass(frozen=True)
class MobileNetV2:
    """Shape of a MobileNetV2.

    Attributes:
        stages: Expansion, channels, blocks and stride of each stage.
        stem: Channels of the first convolution.
        head: Channels of the last convolution.
        image: Height and width of the input in pixels.
        classes: Number of classes.
    """

    stages: tuple[tuple[int, int, int, int], ...] = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    stem: int = 32
    head: int = 1280
    image: int = 224
    classes: int = 1000


MOBILENET_V2 = MobileNetV2()

_AFTER_LINEAR, _AFTER_RELU6 = 1.0, 2.0
"""What makes a convolution's output a unit normal: its inputs' mean square is 1, or half of that behind a ReLU6."""


def build_mobilenet_v2(shape: MobileNetV2, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``input`` [batch, 3, image, image] to ``logits`` [batch, classes], float32."""
    graph = GraphWriter("mobilenet_v2", seed)
    x = graph.input("input", (batch, 3, shape.image, shape.image))
    x = _conv_relu6(graph, x, 3, shape.stem, 3, "features.0", stride=2, variance=_AFTER_LINEAR)
    channels, index = shape.stem, 1
    for expansion, outputs, count, stride in shape.stages:
        for block in range(count):
            x = _block(graph, x, channels, outputs, expansion, stride if block == 0 else 1, f"features.{index}")
            channels, index = outputs, index + 1
    x = _conv_relu6(graph, x, channels, shape.head, 1, f"features.{index}", variance=_AFTER_LINEAR)
    x = graph.node("GlobalAveragePool", [x], "/GlobalAveragePool")
    x = graph.node("Flatten", [x], "/Flatten", axis=1)
    x = graph.gemm(x, shape.head, shape.classes, "classifier.1", _AFTER_RELU6)
    return graph.model(x, "logits", (batch, shape.classes))


def _conv_relu6(
    graph: GraphWriter,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int,
    name: str,
    *,
    stride: int = 1,
    groups: int = 1,
    variance: float = _AFTER_RELU6,
) -> str:
    x = graph.convolution(
        x, inputs, outputs, kernel, f"{name}.0", stride=stride, groups=groups, bias=False, variance=variance
    )
    x = graph.batch_norm(x, outputs, f"{name}.1")
    limits = [graph.constant("zero", np.float32(0)), graph.constant("six", np.float32(6))]
    return graph.node("Clip", [x, *limits], f"{node_path(name)}/2/Clip")


def _block(graph: GraphWriter, x: str, inputs: int, outputs: int, expansion: int, stride: int, name: str) -> str:
    """Expansion, depthwise convolution, linear projection; a shortcut where size and channels stay."""
    hidden, layer, y = expansion * inputs, 0, x
    if expansion != 1:
        y = _conv_relu6(graph, y, inputs, hidden, 1, f"{name}.conv.0", variance=_AFTER_LINEAR)
        layer = 1
    y = _conv_relu6(graph, y, hidden, hidden, 3, f"{name}.conv.{layer}", stride=stride, groups=hidden)
    y = graph.convolution(y, hidden, outputs, 1, f"{name}.conv.{layer + 1}", bias=False, variance=_AFTER_RELU6)
    has_shortcut = stride == 1 and inputs == outputs
    # A stage has at most three shortcuts behind its first block: halves keep their sum near the scale of one.
    y = graph.batch_norm(y, outputs, f"{name}.conv.{layer + 2}", 0.5 if has_shortcut else 1.0)
    return graph.node("Add", [x, y], f"{node_path(name)}/Add") if has_shortcut else y
