"""U-Net for segmentation, from its published definition, with padded convolutions and random weights.

Olaf Ronneberger, Philipp Fischer, Thomas Brox: "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, arXiv:1505.04597, figure 1: two 3x3 convolutions a level, 2x2 poolings down, 2x2 transposed convolutions
up, and the contracting path's maps concatenated. Padding keeps the size, as most later uses have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lepton_compiler.evaluation.suite.graph_writer import POOLED_MEAN_SQUARE, Dim, GraphWriter, node_path


@dataclass(frozen=True)
class UNet:
    """Shape of a U-Net.

    Attributes:
        widths: Channels of each level, from the image down to the bottom.
        image: Height and width of the input in pixels, a multiple of 2 ** (levels - 1).
        classes: Channels of the output.
    """

    widths: tuple[int, ...] = (32, 64, 128, 256)
    image: int = 256
    classes: int = 2


UNET = UNet()


def build_unet(shape: UNet, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``input`` [batch, 3, image, image] to ``scores`` [batch, classes, image, image], float32."""
    graph = GraphWriter("unet", seed)
    x = graph.input("input", (batch, 3, shape.image, shape.image))
    x = _two_convolutions(graph, x, 3, shape.widths[0], "down.0")
    levels = [x]
    for level, (inputs, outputs) in enumerate(zip(shape.widths, shape.widths[1:], strict=False), start=1):
        x = graph.node("MaxPool", [x], f"/down.{level}/MaxPool", kernel_shape=[2, 2], strides=[2, 2])
        x = _two_convolutions(graph, x, inputs, outputs, f"down.{level}", 2.0 / POOLED_MEAN_SQUARE)
        levels.append(x)
    for level in reversed(range(len(shape.widths) - 1)):
        outputs = shape.widths[level]
        x = _twice_as_large(graph, x, shape.widths[level + 1], outputs, f"up.{level}.transposed")
        x = graph.node("Concat", [levels[level], x], f"/up.{level}/Concat", axis=1)
        x = _two_convolutions(graph, x, 2 * outputs, outputs, f"up.{level}")
    x = graph.convolution(x, shape.widths[0], shape.classes, 1, "head", variance=1.0)
    return graph.model(x, "scores", (batch, shape.classes, shape.image, shape.image))


def _two_convolutions(graph: GraphWriter, x: str, inputs: int, outputs: int, name: str, variance: float = 2.0) -> str:
    x = graph.convolution(x, inputs, outputs, 3, f"{name}.conv1", variance=variance)
    x = graph.node("Relu", [x], f"{node_path(name)}/relu1/Relu")
    x = graph.convolution(x, outputs, outputs, 3, f"{name}.conv2")
    return graph.node("Relu", [x], f"{node_path(name)}/relu2/Relu")


def _twice_as_large(graph: GraphWriter, x: str, inputs: int, outputs: int, name: str) -> str:
    """Transposed 2x2 convolution with stride 2: each output pixel reads one input pixel."""
    weight = graph.weight(f"{name}.weight", (inputs, outputs, 2, 2), inputs**-0.5)
    bias = graph.weight(f"{name}.bias", (outputs,), 0.1)
    path = f"{node_path(name)}/ConvTranspose"
    return graph.node("ConvTranspose", [x, weight, bias], path, kernel_shape=[2, 2], strides=[2, 2])
