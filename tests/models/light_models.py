"""The nine ``light`` models that the ``onnx`` package carries: published topologies whose weights are constants.

Each comes with the output that belongs to the input ``0/n, 1/n, ..., (n-1)/n``. Every weight of a tensor has the same
value, so that these outputs are constant too; with random weights in the same topology, a wrong kernel shows.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

LIGHT_MODELS = {
    "bvlc_alexnet": 1e-3,
    "densenet121": 2e-3,
    "inception_v1": 1e-3,
    "inception_v2": 1e-3,
    "resnet50": 1e-3,
    "shufflenet": 1e-3,
    "squeezenet": 1e-3,
    "vgg19": 1e-3,
    "zfnet512": 1e-3,
}
"""Relative tolerance of each, as ``onnx.backend.test`` has it."""

_FOLDER = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"


def light_model(name: str) -> Path:
    """The model file inside the ``onnx`` package."""
    return _FOLDER / f"light_{name}.onnx"


def carried_input(path: Path) -> dict[str, np.ndarray]:
    """The input to which the carried output belongs."""
    graph = onnx.load(path).graph
    weights = {initializer.name for initializer in graph.initializer}
    (image,) = (value for value in graph.input if value.name not in weights)
    shape = tuple(dim.dim_value for dim in image.type.tensor_type.shape.dim)
    count = int(np.prod(shape))
    return {image.name: (np.arange(count) / count).reshape(shape).astype(np.float32)}


def carried_output(name: str) -> np.ndarray:
    """The output that the ``onnx`` package carries."""
    return numpy_helper.to_array(onnx.load_tensor(_FOLDER / f"light_{name}_output_0.pb"))


def with_random_weights(path: Path, seed: int = 0) -> onnx.ModelProto:
    """The same topology, each constant-filled weight replaced by a random one that keeps activations in range."""
    model = onnx.load(path)
    graph = model.graph
    random = np.random.default_rng(seed)
    shapes = {initializer.name: numpy_helper.to_array(initializer) for initializer in graph.initializer}
    variances = {node.input[4] for node in graph.node if node.op_type == "BatchNormalization"}
    fills = [node for node in graph.node if node.op_type == "ConstantOfShape"]
    for node in fills:
        shape = tuple(int(size) for size in shapes[node.input[0]])
        value = _random_weight(random, shape, positive=node.output[0] in variances)
        graph.initializer.append(numpy_helper.from_array(value, node.output[0]))
        graph.node.remove(node)
        # IR version 3 wants every initializer among the inputs, too.
        graph.input.append(onnx.helper.make_tensor_value_info(node.output[0], onnx.TensorProto.FLOAT, shape))
    return model


def _random_weight(random: np.random.Generator, shape: tuple[int, ...], positive: bool) -> np.ndarray:
    if positive:
        return random.uniform(0.75, 1.25, shape).astype(np.float32)
    if len(shape) == 1:
        return random.uniform(-0.25, 1.0, shape).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    return random.normal(0.0, (2.0 / fan_in) ** 0.5, shape).astype(np.float32)
