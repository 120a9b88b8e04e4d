"""Shapes, axes and counts fed at run time, with declared output shapes, against ONNX's reference implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from declared_models import check_declared, declared_model
from onnx_graphs import import_file, run_program

from lepton_compiler.core.errors import UnsupportedOperatorError

RNG = np.random.default_rng(5)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


CASES: list[tuple[str, list[np.ndarray | np.generic | None], dict[str, Any], int]] = [
    ("Reshape", [normal(2, 3, 4), ints(4, -1)], {}, 1),
    ("Reshape", [normal(0, 3), ints(3, 0)], {"allowzero": 1}, 1),
    ("Expand", [normal(3, 1), ints(2, 3, 5)], {}, 1),
    ("Tile", [normal(2, 3), ints(2, 2)], {}, 1),
    ("Squeeze", [normal(1, 3, 1), ints(0, 2)], {}, 1),
    ("Unsqueeze", [normal(3, 4), ints(1, -1)], {}, 1),
    ("ConstantOfShape", [ints(2, 5)], {}, 1),
    ("Range", [np.float32(1.5), np.float32(7), np.float32(2)], {}, 1),
    ("Split", [normal(2, 7), ints(3, 4)], {"axis": 1}, 2),
    ("OneHot", [ints(0, -1, 5, 2), np.array(4), np.array([2, 7], np.float32)], {"axis": 0}, 1),
    ("TopK", [normal(3, 9), ints(4)], {"axis": 1}, 2),
    ("Slice", [normal(6, 8), ints(-1, 1), ints(0, 7), ints(0, -1), ints(-2, 3)], {}, 1),
    ("Slice", [normal(6, 8), ints(1, 100), ints(5, 100)], {}, 1),
    ("Pad", [normal(3, 4), ints(1, 2, 0, 3), np.float32(7)], {}, 1),
    ("Pad", [normal(3, 4), ints(2, 1), None, ints(-1)], {"mode": "reflect"}, 1),
    ("Pad", [normal(3, 4), ints(1, 1, 2, 2)], {"mode": "edge"}, 1),
    ("Trilu", [normal(2, 4, 5), np.array(-1)], {"upper": 0}, 1),
    ("ReduceSum", [normal(3, 2, 2), ints(1)], {"keepdims": 0}, 1),
    ("ReduceMax", [normal(3, 2, 4), ints(-1, 0)], {}, 1),
    ("CumSum", [normal(3, 4), np.array(0)], {"reverse": 1, "exclusive": 1}, 1),
    ("CenterCropPad", [normal(5, 8), ints(8, 3)], {}, 1),
]


@pytest.mark.parametrize("case", CASES, ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)])
def test_run_time_input(case: tuple, tmp_path: Path) -> None:
    op, arrays, attributes, outputs = case
    check_declared(op, [None if a is None else np.asarray(a) for a in arrays], attributes, tmp_path, outputs=outputs)


@pytest.mark.parametrize(
    "attributes",
    [
        {"mode": "nearest", "nearest_mode": "ceil"},
        {"mode": "linear", "coordinate_transformation_mode": "align_corners"},
        {"mode": "linear", "coordinate_transformation_mode": "half_pixel_symmetric"},
        {"mode": "cubic", "exclude_outside": 1},
        {"mode": "linear", "antialias": 1},
    ],
)
def test_resize_by_run_time_scales(attributes: dict[str, Any], tmp_path: Path) -> None:
    scales = np.array([1, 1, 0.6, 1.7], np.float32)
    check_declared("Resize", [normal(1, 2, 7, 5), None, scales], attributes, tmp_path)


def test_resize_to_run_time_sizes_with_aspect_ratio(tmp_path: Path) -> None:
    attributes = {"mode": "linear", "axes": [2, 3], "keep_aspect_ratio_policy": "not_larger"}
    check_declared("Resize", [normal(1, 1, 4, 6), None, None, ints(7, 8)], attributes, tmp_path)


def test_one_model_follows_the_axis_that_it_is_fed(tmp_path: Path) -> None:
    """The shape alone does not say which axis is meant."""
    x = normal(3, 3, 3)
    path, _, _ = declared_model("ReduceSum", [x, ints(0)], {"keepdims": 0}, tmp_path)
    program = import_file(path)
    for axis in (0, 1, -1):
        (have,) = run_program(program, {"x0": x, "x1": ints(axis)})
        np.testing.assert_allclose(have, x.sum(axis), rtol=1e-5, atol=1e-5)


def test_undeclared_shape_is_refused(tmp_path: Path) -> None:
    path, _, _ = declared_model("Reshape", [normal(2, 6), ints(3, 4)], {}, tmp_path, declare=False)
    with pytest.raises(UnsupportedOperatorError, match="the model does not declare it"):
        import_file(path)


def test_declared_shape_reaches_through_shape_preserving_operators(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
        helper.make_node("Sqrt", ["sum"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 5]),
        helper.make_tensor_value_info("axes", TensorProto.INT64, [1]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [5])]
    graph = helper.make_graph(nodes, "graph", inputs, outputs)
    path = tmp_path / "norm.onnx"
    opsets = [helper.make_opsetid("", 21)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    x = np.abs(normal(2, 5))
    (have,) = run_program(import_file(path), {"x": x, "axes": ints(0)})
    np.testing.assert_allclose(have, np.sqrt(x.sum(0)), rtol=1e-5)
