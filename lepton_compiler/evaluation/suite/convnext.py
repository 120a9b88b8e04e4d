"""ConvNeXt for ImageNet, from its published definition, with random weights.

Zhuang Liu, Hanzi Mao, Chao-Yuan Wu, Christoph Feichtenhofer, Trevor Darrell, Saining Xie: "A ConvNet for the 2020s",
CVPR 2022, arXiv:2201.03545, figure 4 and table 9. The graph is what exports of the published code look like:
normalisation, dense layers and GELU run with channels last, between two transposes.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lepton_compiler.evaluation.suite.graph_writer import Dim, GraphWriter, node_path

_EPSILON = 1e-6


@dataclass(frozen=True)
class ConvNext:
    """Shape of a ConvNeXt; the defaults are ConvNeXt-T.

    Attributes:
        blocks: Number of blocks in each of the stages.
        widths: Channels of each stage.
        image: Height and width of the input in pixels.
        classes: Number of classes.
    """

    blocks: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)
    image: int = 224
    classes: int = 1000

    @property
    def branch_scale(self) -> float:
        """Scale of what a block adds, so that the sum of all blocks keeps the scale of the first one's input."""
        return sum(self.blocks) ** -0.5


CONVNEXT_T = ConvNext()


def build_convnext(shape: ConvNext, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``input`` [batch, 3, image, image] to ``logits`` [batch, classes], float32."""
    graph = GraphWriter("convnext", seed)
    x = graph.input("input", (batch, 3, shape.image, shape.image))
    channels = 3
    for stage, (count, width) in enumerate(zip(shape.blocks, shape.widths, strict=True)):
        x = _downsample(graph, x, channels, width, f"downsample_layers.{stage}")
        channels = width
        for index in range(count):
            x = _block(graph, x, width, f"stages.{stage}.{index}", shape.branch_scale)
    x = graph.node("GlobalAveragePool", [x], "/GlobalAveragePool")
    x = graph.node("Flatten", [x], "/Flatten", axis=1)
    x = graph.layer_norm(x, channels, _EPSILON, "/norm", "norm")
    x = graph.gemm(x, channels, shape.classes, "head")
    return graph.model(x, "logits", (batch, shape.classes))


def _downsample(graph: GraphWriter, x: str, inputs: int, outputs: int, name: str) -> str:
    """The stem, 4x4 patches and a normalisation; between stages a normalisation and 2x2 patches."""
    if inputs == 3:
        x = graph.convolution(x, inputs, outputs, 4, f"{name}.0", stride=4, padding=0, variance=1.0)
        return _norm_of_channels(graph, x, outputs, f"{name}.1")
    x = _norm_of_channels(graph, x, inputs, f"{name}.0")
    return graph.convolution(x, inputs, outputs, 2, f"{name}.1", stride=2, padding=0, variance=1.0)


def _norm_of_channels(graph: GraphWriter, x: str, channels: int, name: str) -> str:
    path = node_path(name)
    x = _channels_last(graph, x, f"{path}/Transpose")
    x = graph.layer_norm(x, channels, _EPSILON, path, name)
    return _channels_first(graph, x, f"{path}/Transpose_1")


def _block(graph: GraphWriter, x: str, width: int, name: str, scale: float) -> str:
    """Depthwise 7x7, LayerNorm, a dense layer four times as wide, GELU, a dense layer back, a scale a channel."""
    path = node_path(name)
    y = graph.convolution(x, width, width, 7, f"{name}.dwconv", groups=width, variance=1.0)
    y = _channels_last(graph, y, f"{path}/Transpose")
    y = graph.layer_norm(y, width, _EPSILON, f"{path}/norm", f"{name}.norm")
    y = graph.linear(y, width, 4 * width, f"{path}/pwconv1", f"{name}.pwconv1")
    y = graph.gelu(y, f"{path}/act")
    y = graph.linear(y, 4 * width, width, f"{path}/pwconv2", f"{name}.pwconv2")
    y = graph.node("Mul", [graph.gain(f"{name}.gamma", width, scale), y], f"{path}/Mul")
    y = _channels_first(graph, y, f"{path}/Transpose_1")
    return graph.node("Add", [x, y], f"{path}/Add")


def _channels_last(graph: GraphWriter, x: str, name: str) -> str:
    return graph.node("Transpose", [x], name, perm=[0, 2, 3, 1])


def _channels_first(graph: GraphWriter, x: str, name: str) -> str:
    return graph.node("Transpose", [x], name, perm=[0, 3, 1, 2])
