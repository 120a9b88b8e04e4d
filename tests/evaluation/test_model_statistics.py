"""Multiply-accumulates, parameters and weight bytes of graphs small enough to count by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lepton_compiler.evaluation.model_statistics import infer_shapes, model_statistics

Shape = Sequence[int | str]


def graph_of(
    node: onnx.NodeProto, inputs: dict[str, Shape], weights: dict[str, np.ndarray] | None = None
) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(value, name) for name, value in (weights or {}).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])


def macs_of(node: onnx.NodeProto, inputs: dict[str, Shape], weights: dict[str, np.ndarray] | None = None) -> int:
    statistics = model_statistics(infer_shapes(graph_of(node, inputs, weights), inputs), {})
    assert statistics.uncounted_nodes == ()
    return statistics.macs


def zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


CASES = {
    "conv": (
        helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2]),
        {"x": (2, 3, 8, 8)},
        {"w": zeros(16, 3, 3, 3)},
        2 * 16 * 4 * 4 * 3 * 3 * 3,
    ),
    "depthwise": (
        helper.make_node("Conv", ["x", "w"], ["y"], group=8),
        {"x": (1, 8, 5, 5)},
        {"w": zeros(8, 1, 3, 3)},
        8 * 3 * 3 * 9,
    ),
    "conv transpose": (
        helper.make_node("ConvTranspose", ["x", "w"], ["y"], strides=[2, 2]),
        {"x": (1, 4, 5, 5)},
        {"w": zeros(4, 6, 2, 2)},
        4 * 5 * 5 * 6 * 2 * 2,
    ),
    "matmul": (helper.make_node("MatMul", ["a", "b"], ["y"]), {"a": (2, 3, 4, 5), "b": (5, 6)}, {}, 2 * 3 * 4 * 6 * 5),
    "gemm": (helper.make_node("Gemm", ["a", "b"], ["y"], transA=1), {"a": (7, 2), "b": (7, 3)}, {}, 2 * 3 * 7),
    "lstm": (
        helper.make_node("LSTM", ["x", "w", "r"], ["y"], hidden_size=4),
        {"x": (6, 2, 3)},
        {"w": zeros(1, 16, 3), "r": zeros(1, 16, 4)},
        6 * 2 * 16 * (3 + 4),
    ),
    "elementwise": (helper.make_node("Add", ["a", "b"], ["y"]), {"a": (9,), "b": (9,)}, {}, 0),
}


@pytest.mark.parametrize("case", list(CASES))
def test_multiply_accumulates(case: str) -> None:
    node, inputs, weights, expected = CASES[case]
    assert macs_of(node, inputs, weights) == expected


def test_unknown_shapes_are_named_not_guessed() -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"], "/attention/scores")
    inputs: dict[str, Shape] = {"a": ("n", 8), "b": (8, "n")}
    model = infer_shapes(graph_of(node, inputs), inputs)
    statistics = model_statistics(model, {})
    assert (statistics.macs, statistics.uncounted_nodes) == (0, ("/attention/scores",))
    known = model_statistics(model, {"a": (5, 8), "y": (5, 5)})
    assert (known.macs, known.uncounted_nodes) == (5 * 5 * 8, ())


def test_new_input_shapes_replace_recorded_ones() -> None:
    node = helper.make_node("MatMul", ["a", "b"], ["y"])
    recorded = infer_shapes(graph_of(node, {"a": ("n", 8), "b": (8, 4)}), {"a": ("n", 8), "b": (8, 4)})
    assert model_statistics(infer_shapes(recorded, {"a": (3, 8)}), {}).macs == 3 * 4 * 8


def test_parameters_are_floating_point_and_bytes_are_all() -> None:
    node = helper.make_node("Reshape", ["x", "shape"], ["y"])
    weights = {"shape": np.array([2, 2]), "unused": zeros(3, 5), "half": np.zeros(7, np.float16)}
    statistics = model_statistics(graph_of(node, {"x": (4,)}, weights), {})
    assert statistics.parameters == 15 + 7
    assert statistics.weight_bytes == 2 * 8 + 15 * 4 + 7 * 2


def test_four_bit_weights_take_half_a_byte() -> None:
    model = graph_of(helper.make_node("Identity", ["x"], ["y"]), {"x": (1,)})
    model.graph.initializer.append(TensorProto(name="w", data_type=TensorProto.INT4, dims=[3, 3], raw_data=bytes(5)))
    assert model_statistics(model, {}).weight_bytes == 5


def test_sub_graphs_count_too() -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["w"], ["z"])],
        "then",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [4])],
        [numpy_helper.from_array(zeros(4), "w")],
    )
    node = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    statistics = model_statistics(graph_of(node, {"x": (1,)}), {})
    assert (statistics.nodes, statistics.parameters) == (3, 8)
