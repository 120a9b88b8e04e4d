"""Shape arithmetic is done while importing: chains of real exports leave no kernel behind, symbolic sizes included."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import import_file, operators, run_program, run_reference, save

from lepton_compiler.core.program import Program

FLOAT = TensorProto.FLOAT


def node(op: str, inputs: str, output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], output, **attributes)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def agree(program: Program, path: Path, **shapes: tuple[int, ...]) -> None:
    feeds = {name: np.random.default_rng(0).standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    for have, want in zip(run_program(program, feeds), run_reference(path, feeds), strict=True):
        np.testing.assert_allclose(have, want, 1e-6, 1e-6)


def flatten_by_shape(folder: Path) -> Path:
    """``x.view(x.shape[0], -1)`` as torch exports it."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "target", axis=0),
        node("Reshape", "x target", "y"),
    ]
    constants = {"zero": np.array(0, np.int64), "axis": ints(0), "rest": ints(-1)}
    return save(folder / "m.onnx", nodes, {"x": (FLOAT, ["n", 3, "h", 5])}, ["y"], constants)


def test_reshape_by_shape_folds_with_fixed_sizes(tmp_path: Path) -> None:
    program = import_file(flatten_by_shape(tmp_path), x=(2, 3, 4, 5))
    assert operators(program) == ["relax.reshape"]


def test_reshape_by_shape_folds_with_symbols(tmp_path: Path) -> None:
    path = flatten_by_shape(tmp_path)
    program = import_file(path)
    assert operators(program) == ["relax.reshape"]
    agree(program, path, x=(2, 3, 7, 5))
    agree(program, path, x=(1, 3, 4, 5))


def test_dynamic_pad_folds(tmp_path: Path) -> None:
    """torch's ``F.pad``: the pads are reversed in pairs by Slice, Transpose and Reshape of a constant."""
    nodes = [
        node("ConstantOfShape", "count", "zeros", value=onnx.numpy_helper.from_array(ints(0))),
        node("Concat", "given zeros", "all", axis=0),
        node("Reshape", "all pairs", "matrix"),
        node("Slice", "matrix from to axis back", "reversed"),
        node("Transpose", "reversed", "turned", perm=[1, 0]),
        node("Reshape", "turned flat", "pads"),
        node("Pad", "x pads", "y", mode="constant"),
    ]
    constants = {"count": ints(4), "given": ints(1, 2, 0, 3), "pairs": ints(-1, 2), "from": ints(-1), "to": ints(-9),
                 "axis": ints(0), "back": ints(-1), "flat": ints(-1)}  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 2, 4, 4])}, ["y"], constants)
    program = import_file(path)
    assert operators(program) == ["relax.nn.pad"]
    agree(program, path, x=(2, 2, 4, 4))


def test_upsampling_to_twice_the_shape_folds(tmp_path: Path) -> None:
    """Sizes computed in floating point: Shape -> Cast -> Mul -> Floor -> Cast -> Concat -> Resize."""
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s two four", "hw"),
        node("Cast", "hw", "f", to=FLOAT),
        node("Mul", "f factor", "scaled"),
        node("Floor", "scaled", "floored"),
        node("Cast", "floored", "sizes", to=TensorProto.INT64),
        node("Slice", "s zero two", "nc"),
        node("Concat", "nc sizes", "target", axis=0),
        node(
            "Resize",
            "x   target",
            "y",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
    ]
    nodes[-1].ClearField("input")
    nodes[-1].input.extend(["x", "", "", "target"])
    constants = {"two": ints(2), "four": ints(4), "zero": ints(0), "factor": np.float32([2.0, 3.0])}
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 2, "h", "w"])}, ["y"], constants)
    program = import_file(path)
    assert operators(program) == ["resize_nearest"]
    agree(program, path, x=(1, 2, 3, 5))


def test_expand_with_where_and_equal_folds(tmp_path: Path) -> None:
    """torch's ``expand``: -1 in the target means "keep", resolved by Equal and Where."""
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s zero", "n"),
        node("Unsqueeze", "n axis", "n1"),
        node("Concat", "n1 rest", "wish", axis=0),
        node("Equal", "wish minus", "open"),
        node("Where", "open ones wish", "target"),
        node("Expand", "table target", "e"),
        node("Add", "x e", "y"),
    ]
    constants = {"zero": np.array(0, np.int64), "axis": ints(0), "rest": ints(-1, 4), "minus": ints(-1, -1, -1),
                 "ones": ints(1, 1, 1), "table": np.ones((1, 3, 4), np.float32)}  # fmt: skip
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 3, 4])}, ["y"], constants)
    program = import_file(path)
    assert operators(program) == ["relax.broadcast_to", "relax.add"]
    agree(program, path, x=(5, 3, 4))


def test_attention_mask_from_range_and_symbols(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Gather", "s one", "length"),
        node("Range", "zero length one", "positions"),
        node("Cast", "positions", "f", to=FLOAT),
        node("Mul", "x f", "y"),
    ]
    constants = {"one": np.array(1, np.int64), "zero": np.array(0, np.int64)}
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", "t"])}, ["y"], constants)
    program = import_file(path)
    agree(program, path, x=(2, 7))


def test_a_shape_that_is_data_becomes_a_tensor(tmp_path: Path) -> None:
    nodes = [
        node("Shape", "x", "s"),
        node("Cast", "s", "f", to=FLOAT),
        node("ReduceProd", "f", "count", keepdims=0),
        node("ReduceSum", "x", "total", keepdims=0),
        node("Div", "total count", "y"),
    ]
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", "m"])}, ["y"])
    agree(import_file(path), path, x=(3, 5))


def test_slices_by_symbolic_positions(tmp_path: Path) -> None:
    """A position table cut to the length of the input; BERT's exports all have it."""
    nodes = [
        node("Shape", "x", "s"),
        node("Slice", "s one two", "length"),
        node("Slice", "table zero length one", "rows"),
        node("Add", "x rows", "y"),
    ]
    constants = {
        "zero": ints(0),
        "one": ints(1),
        "two": ints(2),
        "table": np.arange(32, dtype=np.float32).reshape(1, 16, 2),
    }
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", "t", 2])}, ["y"], constants)
    agree(import_file(path), path, x=(2, 9, 2))


def test_sizes_that_must_be_equal_are_checked_when_the_model_runs(tmp_path: Path) -> None:
    """Half the size rounded up, doubled, meets the size itself: equal for even ones only."""
    nodes = [
        node("MaxPool", "x", "small", kernel_shape=[1, 1], strides=[1, 2]),
        node(
            "Resize",
            "small",
            "large",
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        ),
        node("Add", "x large", "y"),
    ]
    nodes[1].input.extend(["", "scales"])
    constants = {"scales": np.float32([1, 1, 1, 2])}
    path = save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, [1, 2, 3, "w"])}, ["y"], constants)
    program = import_file(path)
    agree(program, path, x=(1, 2, 3, 6))
    with pytest.raises(Exception, match=r"(?i)shape"):
        run_program(program, {"x": np.zeros((1, 2, 3, 7), np.float32)})
