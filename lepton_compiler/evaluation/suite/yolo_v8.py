"""YOLOv8, a one-stage object detector, from its published definition, with random weights.

Glenn Jocher, Ayush Chaurasia, Jing Qiu: "Ultralytics YOLOv8", 2023, https://github.com/ultralytics/ultralytics; without
a paper of its own. Its parts: cross-stage partial networks (Wang et al., arXiv:1911.11929), path aggregation (Liu et
al., arXiv:1803.01534), spatial pyramid pooling (He et al., arXiv:1406.4729), SiLU (Elfwing et al., arXiv:1702.03118)
and boxes as distributions (Li et al., arXiv:2006.04388). BatchNormalization is folded into the convolutions, as exports
have it.
"""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from lepton_compiler.evaluation.suite.graph_writer import SILU_MEAN, SILU_MEAN_SQUARE, Dim, GraphWriter, node_path
from lepton_compiler.evaluation.suite.yolo_v8_head import detect


@dataclass(frozen=True)
class YoloV8:
    """Shape of a YOLOv8; the defaults are the nano size.

    Attributes:
        widths: Channels of the stem and the four stages.
        blocks: Bottlenecks in the stages' blocks.
        neck_blocks: Bottlenecks in each block of the neck.
        image: Height and width of the input in pixels, a multiple of 32.
        classes: Number of classes.
    """

    widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 256)
    blocks: tuple[int, int, int, int] = (1, 2, 2, 1)
    neck_blocks: int = 1
    image: int = 640
    classes: int = 80


YOLO_V8N = YoloV8()

_PYRAMID_MEAN_SQUARE = 1.5
"""Of the pyramid's concatenated maps: the largest of each neighbourhood, measured with the seed 0."""


def build_yolo_v8(shape: YoloV8, batch: Dim = 1, seed: int = 0) -> onnx.ModelProto:
    """Images ``images`` [batch, 3, image, image] to ``output0`` [batch, 4 + classes, places], float32.

    A place has the middle, width and height of its box in pixels and a probability for each class.
    """
    graph = GraphWriter("yolo_v8", seed)
    x = graph.input("images", (batch, 3, shape.image, shape.image))
    maps = _neck(graph, shape, *_backbone(graph, shape, x))
    channels = list(shape.widths[2:])
    y = detect(graph, maps, channels, shape.classes, shape.image, conv_silu)
    places = sum((shape.image // stride) ** 2 for stride in (8, 16, 32))
    return graph.model(y, "output0", (batch, 4 + shape.classes, places))


def conv_silu(
    graph: GraphWriter,
    x: str,
    inputs: int,
    outputs: int,
    kernel: int,
    name: str,
    stride: int = 1,
    mean_square: float = SILU_MEAN_SQUARE,
) -> str:
    """Convolution and SiLU; ``mean_square`` is that of ``x``."""
    x = graph.convolution(x, inputs, outputs, kernel, f"{name}.conv", stride=stride, variance=1 / mean_square)
    return graph.silu(x, f"{node_path(name)}/act")


def _backbone(graph: GraphWriter, shape: YoloV8, x: str) -> list[str]:
    """Feature maps at strides 8, 16 and 32."""
    x = conv_silu(graph, x, 3, shape.widths[0], 3, "model.0", 2, mean_square=1.0)
    maps = []
    for stage, blocks in enumerate(shape.blocks):
        inputs, outputs = shape.widths[stage : stage + 2]
        x = conv_silu(graph, x, inputs, outputs, 3, f"model.{2 * stage + 1}", 2)
        x = _partial_block(graph, x, outputs, outputs, blocks, f"model.{2 * stage + 2}", shortcut=True)
        maps.append(x)
    maps[-1] = _pyramid_pooling(graph, x, shape.widths[-1], "model.9")
    return maps[1:]


def _neck(graph: GraphWriter, shape: YoloV8, fine: str, middle: str, coarse: str) -> list[str]:
    """The three maps after a way up and a way down, each with what it passed concatenated."""
    small, medium, large = shape.widths[2:]
    blocks = shape.neck_blocks
    x = graph.node("Concat", [graph.nearest_resize(coarse, 2, "model.10"), middle], "/model.11/Concat", axis=1)
    middle = _partial_block(graph, x, large + medium, medium, blocks, "model.12")
    x = graph.node("Concat", [graph.nearest_resize(middle, 2, "model.13"), fine], "/model.14/Concat", axis=1)
    fine = _partial_block(graph, x, medium + small, small, blocks, "model.15")
    x = conv_silu(graph, fine, small, small, 3, "model.16", 2)
    x = graph.node("Concat", [x, middle], "/model.17/Concat", axis=1)
    middle = _partial_block(graph, x, small + medium, medium, blocks, "model.18")
    x = conv_silu(graph, middle, medium, medium, 3, "model.19", 2)
    x = graph.node("Concat", [x, coarse], "/model.20/Concat", axis=1)
    return [fine, middle, _partial_block(graph, x, medium + large, large, blocks, "model.21")]


def _partial_block(
    graph: GraphWriter, x: str, inputs: int, outputs: int, blocks: int, name: str, *, shortcut: bool = False
) -> str:
    """Half of the channels go through bottlenecks; both halves and every bottleneck's output are merged by 1x1."""
    half, path = outputs // 2, node_path(name)
    x = conv_silu(graph, x, inputs, outputs, 1, f"{name}.cv1")
    parts = graph.node_of_many("Split", [x], 2, f"{path}/Split", axis=1)
    squares = [SILU_MEAN_SQUARE, SILU_MEAN_SQUARE]
    for index in range(blocks):
        y = conv_silu(graph, parts[-1], half, half, 3, f"{name}.m.{index}.cv1", mean_square=squares[-1])
        y = conv_silu(graph, y, half, half, 3, f"{name}.m.{index}.cv2")
        parts.append(graph.node("Add", [parts[-1], y], f"{path}/m.{index}/Add") if shortcut else y)
        squares.append(_mean_square_of_sum(index + 2) if shortcut else SILU_MEAN_SQUARE)
    x = graph.node("Concat", parts, f"{path}/Concat", axis=1)
    return conv_silu(graph, x, len(parts) * half, outputs, 1, f"{name}.cv2", mean_square=sum(squares) / len(squares))


def _mean_square_of_sum(terms: int) -> float:
    """Of the sum of that many independent ``silu(x)``, whose means add up, too."""
    return terms * SILU_MEAN_SQUARE + terms * (terms - 1) * SILU_MEAN**2


def _pyramid_pooling(graph: GraphWriter, x: str, channels: int, name: str) -> str:
    """5x5 poolings one behind the other, which see 5, 9 and 13 places, concatenated and merged."""
    path, half = node_path(name), channels // 2
    parts = [conv_silu(graph, x, channels, half, 1, f"{name}.cv1")]
    for index in range(3):
        pool = f"{path}/m.{index}/MaxPool"
        parts.append(graph.node("MaxPool", [parts[-1]], pool, kernel_shape=[5, 5], strides=[1, 1], pads=[2] * 4))
    x = graph.node("Concat", parts, f"{path}/Concat", axis=1)
    return conv_silu(graph, x, 4 * half, channels, 1, f"{name}.cv2", mean_square=_PYRAMID_MEAN_SQUARE)
