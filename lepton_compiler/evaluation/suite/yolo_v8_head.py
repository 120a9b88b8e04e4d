"""The head of YOLOv8: from three feature maps to boxes and class probabilities. ``yolo_v8.py`` has the rest.

A side of a box is the mean of a distribution over 16 distances (Li et al., "Generalized Focal Loss", arXiv:2006.04388).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lepton_compiler.evaluation.suite.graph_writer import SILU_MEAN_SQUARE, GraphWriter

BOX_BINS = 16
_STRIDES = (8, 16, 32)


def detect(
    graph: GraphWriter,
    maps: Sequence[str],
    channels: Sequence[int],
    classes: int,
    image: int,
    conv_silu: Callable[..., str],
) -> str:
    """[batch, 4 + classes, places]: middle and size of a box in pixels, then probabilities.

    Args:
        graph: Where to write.
        maps: Feature maps at strides 8, 16 and 32.
        channels: Channels of each.
        classes: Number of classes.
        image: Height and width of the image in pixels.
        conv_silu: Adds a convolution and SiLU.
    """
    box_width = max(16, channels[0] // 4, 4 * BOX_BINS)
    class_width = max(channels[0], min(classes, 100))
    flat = graph.constant("flat_places", np.array([0, 4 * BOX_BINS + classes, -1]))
    scales = []
    for level, (x, inputs) in enumerate(zip(maps, channels, strict=True)):
        ends = [
            _branch(graph, x, inputs, width, outputs, f"model.22.{branch}.{level}", conv_silu)
            for branch, width, outputs in (("cv2", box_width, 4 * BOX_BINS), ("cv3", class_width, classes))
        ]
        both = graph.node("Concat", ends, f"/model.22/Concat_{level}", axis=1)
        scales.append(graph.node("Reshape", [both, flat], f"/model.22/Reshape_{level}"))
    x = graph.node("Concat", scales, "/model.22/Concat_3", axis=2)
    sizes = graph.constant("box_and_class_channels", np.array([4 * BOX_BINS, classes]))
    boxes, scores = graph.node_of_many("Split", [x, sizes], 2, "/model.22/Split", axis=1)
    scores = graph.node("Sigmoid", [scores], "/model.22/Sigmoid")
    return graph.node("Concat", [_boxes(graph, boxes, image), scores], "/model.22/Concat_5", axis=1)


def _branch(
    graph: GraphWriter, x: str, inputs: int, width: int, outputs: int, name: str, conv_silu: Callable[..., str]
) -> str:
    x = conv_silu(graph, x, inputs, width, 3, f"{name}.0")
    x = conv_silu(graph, x, width, width, 3, f"{name}.1")
    return graph.convolution(x, width, outputs, 1, f"{name}.2", variance=1 / SILU_MEAN_SQUARE)


def _boxes(graph: GraphWriter, x: str, image: int) -> str:
    """Distributions [batch, 4 * bins, places] to middles and sizes [batch, 4, places] in pixels."""
    path = "/model.22"
    middles, strides = _places(image)
    x = graph.node("Reshape", [x, graph.constant("split_bins", np.array([0, 4, BOX_BINS, -1]))], f"{path}/dfl/Reshape")
    x = graph.node("Transpose", [x], f"{path}/dfl/Transpose", perm=[0, 2, 1, 3])
    x = graph.node("Softmax", [x], f"{path}/dfl/Softmax", axis=1)
    bins = graph.constant("model.22.dfl.conv.weight", np.arange(BOX_BINS, dtype=np.float32).reshape(1, -1, 1, 1))
    x = graph.node("Conv", [x, bins], f"{path}/dfl/conv/Conv", kernel_shape=[1, 1])
    x = graph.node("Reshape", [x, graph.constant("four_sides", np.array([0, 4, -1]))], f"{path}/dfl/Reshape_1")
    before, after = graph.node_of_many("Split", [x], 2, f"{path}/Split_1", axis=1)
    anchors = graph.constant("anchors", middles)
    first = graph.node("Sub", [anchors, before], f"{path}/Sub")
    last = graph.node("Add", [anchors, after], f"{path}/Add")
    middle = graph.node("Add", [first, last], f"{path}/Add_1")
    middle = graph.node("Div", [middle, graph.constant("two", np.float32(2))], f"{path}/Div")
    size = graph.node("Sub", [last, first], f"{path}/Sub_1")
    box = graph.node("Concat", [middle, size], f"{path}/Concat_4", axis=1)
    return graph.node("Mul", [box, graph.constant("strides", strides)], f"{path}/Mul")


def _places(image: int) -> tuple[np.ndarray, np.ndarray]:
    """Middles of all places in units of their strides [1, 2, places], and the strides [1, places]."""
    middles, strides = [], []
    for stride in _STRIDES:
        side = np.arange(image // stride, dtype=np.float32) + 0.5
        y, x = np.meshgrid(side, side, indexing="ij")
        middles.append(np.stack([x.ravel(), y.ravel()]))
        strides.append(np.full((1, x.size), stride, np.float32))
    return np.concatenate(middles, axis=1)[np.newaxis], np.concatenate(strides, axis=1)
