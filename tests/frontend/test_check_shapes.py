"""Models whose axes, ranks, windows or types don't fit are refused before anything is converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import binding_names, import_file, run_program

from lepton_compiler.core.errors import LeptonWarning, ModelError, UnsupportedOperatorError

ONES = {"w": np.ones((4, 4, 1, 1), np.float32)}
MATRIX, IMAGE = [2, 3], [1, 4, 4, 4]
ANY_IMAGE = (TensorProto.FLOAT, ["n", "c", "h", "w"])


def write(
    path: Path,
    nodes: Sequence[onnx.NodeProto],
    shape: Sequence[int | str],
    constants: Mapping[str, np.ndarray] | None = None,
    output: tuple[int, Sequence[int | str] | None] = (TensorProto.FLOAT, None),
    domains: Sequence[str] = (),
) -> Path:
    """One input ``x`` and one output ``y``, which nobody has inferred or checked."""
    kind, declared = output
    y = helper.make_tensor_value_info("y", kind, declared)
    if declared is None:
        # The checker wants a shape; a rank that nothing contradicts is one of unknown sizes.
        y.type.tensor_type.shape.CopyFrom(onnx.TensorShapeProto())
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [y],
        [onnx.numpy_helper.from_array(value, name) for name, value in (constants or {}).items()],
    )
    opsets = [helper.make_opsetid("", 17), *(helper.make_opsetid(domain, 1) for domain in domains)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def node(op: str, inputs: str = "x", **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), ["y"], "the_node", **attributes)


def index(*values: int) -> dict[str, np.ndarray]:
    return {"k": np.array(values, np.int64)}


MISFITS = {
    "axis of Softmax": (node("Softmax", axis=5), MATRIX, {}),
    "axis of LogSoftmax": (node("LogSoftmax", axis=-4), MATRIX, {}),
    "axis of Concat": (node("Concat", "x x", axis=7), MATRIX, {}),
    "axis of Gather": (node("Gather", "x k", axis=5), MATRIX, index(0)),
    "axis of GatherElements": (node("GatherElements", "x k", axis=4), MATRIX, {"k": np.zeros((2, 3), np.int64)}),
    "axis of Flatten": (node("Flatten", axis=6), MATRIX, {}),
    "axes of ReduceMean": (node("ReduceMean", axes=[9]), MATRIX, {}),
    "axes of Unsqueeze": (node("Unsqueeze", "x k"), MATRIX, index(9)),
    "axes of Squeeze": (node("Squeeze", "x k"), MATRIX, index(0)),
    "axes of Slice": (node("Slice", "x k k k"), MATRIX, index(8)),
    "perm twice": (node("Transpose", perm=[0, 0]), MATRIX, {}),
    "perm too long": (node("Transpose", perm=[0, 1, 2]), MATRIX, {}),
    "split": (helper.make_node("Split", ["x", "k"], ["y", "z"], "the_node", axis=1), MATRIX, index(1, 1)),
    "window larger than the image": (node("MaxPool", kernel_shape=[9, 9]), IMAGE, {}),
    "window as large as nothing": (node("MaxPool", kernel_shape=[5, 5]), IMAGE, {}),
    "strides of zero": (node("MaxPool", kernel_shape=[2, 2], strides=[0, 0]), IMAGE, {}),
    "negative size by padding": (node("Pad", "x k"), MATRIX, index(-5, 0, 0, 0)),
    "rank of convolution": (node("Conv", "x w"), MATRIX, ONES),
    "kernel_shape": (node("Conv", "x w", kernel_shape=[3, 3]), IMAGE, ONES),
    "channels": (node("Conv", "x w"), IMAGE, {"w": np.ones((4, 5, 1, 1), np.float32)}),
    "groups": (node("Conv", "x w", group=3), IMAGE, {"w": np.ones((4, 1, 1, 1), np.float32)}),
    "even LRN": (node("LRN", size=4), IMAGE, {}),
    "shapes that don't broadcast": (node("Add", "x w"), MATRIX, {"w": np.ones((5, 7), np.float32)}),
}


@pytest.mark.parametrize("case", list(MISFITS))
def test_misfits_are_refused_with_the_node(tmp_path: Path, case: str) -> None:
    wrong, shape, constants = MISFITS[case]
    path = write(tmp_path / "m.onnx", [wrong], shape, constants)
    with pytest.raises(ModelError, match='not a valid ONNX model: node "the_node"') as error:
        import_file(path)
    assert "Error]" not in str(error.value)


def test_shapes_that_the_user_gives_are_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("MaxPool", kernel_shape=[9, 9])], [1, 4, "h", "w"], output=ANY_IMAGE)
    import_file(path, x=(1, 4, 9, 9))
    with pytest.raises(ModelError, match="its result would have the shape"):
        import_file(path, x=(1, 4, 4, 4))


def test_all_misfits_are_listed(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], "first", axis=5),
        helper.make_node("Transpose", ["x"], ["y"], "second", perm=[1, 1]),
    ]
    with pytest.raises(ModelError, match=r'node "first" .*\n.*node "second" '):
        import_file(write(tmp_path / "m.onnx", nodes, MATRIX))


def test_output_of_another_type_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("Relu")], MATRIX, output=(TensorProto.INT64, MATRIX))
    with pytest.raises(ModelError, match="its output is declared as INT64, but is FLOAT"):
        import_file(path)


def test_output_of_another_shape_is_warned_of(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("Relu")], MATRIX, output=(TensorProto.FLOAT, [7, 9]))
    with pytest.warns(LeptonWarning, match=r'declares the shape \[7,9\] for output "y", but computes \[2,3\]'):
        import_file(path)


def test_nothing_is_refused_for_a_stale_declaration_inside(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["a"], "relu"), helper.make_node("Neg", ["a"], ["y"], "neg")]
    path = write(tmp_path / "m.onnx", nodes, MATRIX, output=(TensorProto.FLOAT, MATRIX))
    model = onnx.load(path)
    model.graph.value_info.append(helper.make_tensor_value_info("a", TensorProto.FLOAT, [5, 5]))
    onnx.save(model, path)
    program = import_file(path)
    assert binding_names(program) == ["relu", "neg"]
    x = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    (result,) = run_program(program, {"x": x})
    np.testing.assert_array_equal(result, -np.maximum(x, 0))


def test_no_outputs(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("Relu")], MATRIX)
    model = onnx.load(path)
    del model.graph.output[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="has no outputs"):
        import_file(path)


def test_operators_of_other_domains_don_t_stop_the_check(tmp_path: Path) -> None:
    """What stands behind them has no type, which inference would crash on for some operators."""
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], "foo", domain="q"),
        helper.make_node("EyeLike", ["a"], ["b"], "eye"),
        helper.make_node("Softmax", ["x"], ["c"], "soft", axis=5),
        helper.make_node("Add", ["b", "c"], ["y"], "add"),
    ]
    path = write(tmp_path / "m.onnx", nodes, MATRIX, domains=["q"])
    with pytest.raises(UnsupportedOperatorError, match=r"(?s)q\.Foo x1 \(node foo\).*node \"soft\" \(Softmax\)"):
        import_file(path)


def test_unknown_operators_are_listed_with_everything_else(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Foo", ["x"], ["a"], "f1"),
        helper.make_node("Bar", ["a"], ["b"], "b1"),
        helper.make_node("Foo", ["b"], ["c"], "f2"),
        helper.make_node("Gelu", ["x"], ["d"], "gelu"),
        helper.make_node("NonZero", ["x"], ["y"], "nz"),
    ]
    path = write(tmp_path / "m.onnx", nodes, MATRIX, output=(TensorProto.INT64, [2, "n"]))
    with pytest.raises(UnsupportedOperatorError) as error:
        import_file(path)
    lines = str(error.value).splitlines()
    assert lines[0].endswith("5 nodes of 4 operators can't be converted")
    assert lines[1] == "  Foo x2 (node f1, node f2): ONNX's operator set 17 has no operator of this name"
    assert lines[2] == "  Bar x1 (node b1): ONNX's operator set 17 has no operator of this name"
    assert lines[3] == "  Gelu x1 (node gelu): ONNX has it since operator set 20, the model uses 17"
    assert lines[4].startswith("  NonZero x1 (node nz): ")


def test_unknown_operators_beside_external_data(tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [node("Foo", "x w")], MATRIX, {"w": np.ones((2, 3), np.float32)})
    model = onnx.load(path)
    onnx.save(model, path, save_as_external_data=True, location="w.bin", size_threshold=0)
    with pytest.raises(UnsupportedOperatorError, match=r"Foo x1 \(node the_node\)"):
        import_file(path)


def test_large_weights_need_not_be_copied(tmp_path: Path) -> None:
    weights = {"w": np.ones((300, 300), np.float32), "k": np.zeros(20_000, np.int64)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["a"], "product"), node("Gather", "a k")]
    import_file(write(tmp_path / "m.onnx", nodes, [2, 300], weights, (TensorProto.FLOAT, [20_000, 300])))
    with pytest.raises(ModelError, match='node "product"'):
        import_file(write(tmp_path / "m.onnx", nodes, [2, 299], weights, (TensorProto.FLOAT, [20_000, 300])))
