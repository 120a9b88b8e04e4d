"""Loop and Scan, written out where their number of iterations is known, refused where it is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import IR_VERSION, OPSET, import_file, run_program, run_reference, save

from lepton_compiler.core.errors import UnsupportedOperatorError

FLOAT = TensorProto.FLOAT


def info(name: str, dtype: int = FLOAT, shape: list[int] | None = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def scan_model(folder: Path, **attributes: object) -> Path:
    nodes = [helper.make_node("Add", ["sum", "item"], ["next"]), helper.make_node("Mul", ["next", "next"], ["square"])]
    body = helper.make_graph(
        nodes, "body", [info("sum", FLOAT, [3]), info("item", FLOAT, [3])], [info("next", FLOAT, [3]), info("square")]
    )
    node = helper.make_node("Scan", ["start", "x"], ["total", "squares"], "scan", body=body, num_scan_inputs=1,
                            **attributes)  # fmt: skip
    inputs = {"start": (FLOAT, [3]), "x": (FLOAT, [5, 3])}
    return save(folder / "scan.onnx", [node], inputs, ["total", "squares"])


@pytest.mark.parametrize(
    "attributes",
    [{}, {"scan_input_directions": [1]}, {"scan_output_axes": [1]}, {"scan_output_directions": [1]}],
)
def test_scan(attributes: dict, tmp_path: Path) -> None:
    path = scan_model(tmp_path, **attributes)
    rng = np.random.default_rng(0)
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("start", 3), ("x", (5, 3)))}
    for have, want in zip(run_program(import_file(path), feeds), run_reference(path, feeds), strict=True):
        np.testing.assert_allclose(have, want, rtol=1e-6)


def loop_model(folder: Path, count: int | None, stop: bool = False) -> Path:
    """``state = state * 2`` while ``step < count``; ``stop`` ends it by a condition on the data."""
    if stop:
        nodes = [helper.make_node("ReduceSum", ["state"], ["whole"], keepdims=0),
                 helper.make_node("Less", ["whole", "limit"], ["again"])]  # fmt: skip
    else:
        nodes = [helper.make_node("Less", ["step", "last"], ["again"])]
    nodes.append(helper.make_node("Add", ["state", "state"], ["doubled"]))
    body = helper.make_graph(
        nodes,
        "body",
        [info("step", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("state", FLOAT, [2])],
        [info("again", TensorProto.BOOL, []), info("doubled", FLOAT, [2])],
    )
    constants = {"last": np.array(3, np.int64), "limit": np.array(9, np.float32)}
    if count is not None:
        constants["count"] = np.array(count, np.int64)
    node = helper.make_node("Loop", ["count" if count is not None else "", "", "x"], ["y"], "loop", body=body)
    initializers = [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph([node], "graph", [info("x", FLOAT, [2])], [info("y", FLOAT, [2])], initializers)
    path = folder / "loop.onnx"
    opsets = [helper.make_opsetid("", OPSET)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())
    return path


@pytest.mark.parametrize(("count", "doublings"), [(2, 2), (50, 4), (0, 0)])
def test_loop_ends_by_its_count_or_its_condition(count: int, doublings: int, tmp_path: Path) -> None:
    x = np.array([1, 3], np.float32)
    (have,) = run_program(import_file(loop_model(tmp_path, count)), {"x": x})
    np.testing.assert_array_equal(have, x * 2**doublings)


def test_loop_with_a_condition_on_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedOperatorError, match=r"Loop x1 \(node loop\): its condition is computed from data"):
        import_file(loop_model(tmp_path, 4, stop=True))


def test_endless_loop_is_refused(tmp_path: Path) -> None:
    from lepton_compiler.frontend.unrolled_loops import MAX_NODES

    path = loop_model(tmp_path, MAX_NODES + 1)
    model = onnx.load(path)
    # Without the condition only the count would end it.
    body = model.graph.node[0].attribute[0].g
    body.node[0].CopyFrom(helper.make_node("Identity", ["go"], ["again"]))
    onnx.save(model, path)
    with pytest.raises(UnsupportedOperatorError, match="would have to stay a loop"):
        import_file(path)


def declared_loop(folder: Path, condition: str) -> Path:
    """As many doublings as the input ``most`` says, or until the sum is 9 where ``condition`` looks at the data."""
    nodes = [
        helper.make_node("ReduceSum", ["state"], ["whole"], keepdims=0),
        helper.make_node("Less", ["whole", "limit"], ["again"])
        if condition == "data"
        else helper.make_node("Identity", ["go"], ["again"]),
        helper.make_node("Add", ["state", "state"], ["doubled"]),
        helper.make_node("Identity", ["doubled"], ["item"]),
    ]
    outputs = [info("again", TensorProto.BOOL, []), info("doubled", FLOAT, [2]), info("item", FLOAT, [2])]
    inputs = [info("step", TensorProto.INT64, []), info("go", TensorProto.BOOL, []), info("state", FLOAT, [2])]
    body = helper.make_graph(nodes, "body", inputs, outputs)
    node = helper.make_node("Loop", ["most", "", "x"], ["y", "items"], "loop", body=body)
    graph = helper.make_graph(
        [node], "graph", [info("most", TensorProto.INT64, []), info("x", FLOAT, [2])],
        [info("y", FLOAT, [2]), info("items", FLOAT, [3, 2])],
        [onnx.numpy_helper.from_array(np.array(9, np.float32), "limit")],
    )  # fmt: skip
    path = folder / "loop.onnx"
    opsets = [helper.make_opsetid("", OPSET)]
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("condition", "fitting", "wrong"),
    [
        ("none", [(3, [1, 3])], [(2, [1, 3]), (4, [1, 3]), (-1, [1, 3])]),
        # The sum before a doubling decides whether there is another one.
        ("data", [(3, [1, 3]), (3, [1, 1]), (9, [1, 2])], [(2, [1, 1]), (9, [1, 1]), (9, [9, 9]), (3, [9, 9])]),
    ],
)
def test_loop_of_declared_length(condition: str, fitting: list, wrong: list, tmp_path: Path) -> None:
    program = import_file(declared_loop(tmp_path, condition))
    for most, start in fitting:
        feeds = {"most": np.array(most, np.int64), "x": np.array(start, np.float32)}
        y, items = run_program(program, feeds)
        np.testing.assert_array_equal(items, [feeds["x"] * 2**step for step in (1, 2, 3)])
        np.testing.assert_array_equal(y, items[-1])
    for most, start in wrong:
        with pytest.raises(RuntimeError, match="another number of iterations than the model declares"):
            run_program(program, {"most": np.array(most, np.int64), "x": np.array(start, np.float32)})
