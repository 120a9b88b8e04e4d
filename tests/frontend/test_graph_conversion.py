"""Names, functions, constant conditions, outputs, and what is said when nodes can't be converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import CONTRIB, OPSET, binding_names, import_file, operators, run_program, run_reference, save
from tvm import relax

from lepton_compiler.core.errors import InternalError, UnsupportedOperatorError
from lepton_compiler.frontend.conversion import Conversion
from lepton_compiler.frontend.load_model import load_model
from lepton_compiler.frontend.operator_census import take_census
from lepton_compiler.frontend.operators import registry

FLOAT = TensorProto.FLOAT
X = {"x": (FLOAT, [2, 3])}


def refusal(path: Path) -> str:
    with pytest.raises(UnsupportedOperatorError) as error:
        import_file(path)
    return str(error.value)


def test_bindings_are_named_after_nodes(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "p2o.Relu/0:1"),
        helper.make_node("Gemm", ["a", "w", "b"], ["c"], "/fc/Gemm"),
        helper.make_node("Softmax", ["c"], ["probabilities"]),
    ]
    constants = {"w": np.ones((3, 4), np.float32), "b": np.ones(4, np.float32)}
    program = import_file(save(tmp_path / "m.onnx", nodes, X, ["probabilities"], constants))
    assert binding_names(program) == ["p2o.Relu/0:1", "/fc/Gemm/1", "/fc/Gemm", "probabilities"]


def test_names_of_inputs_and_outputs_are_kept(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["out:0"], "r"), helper.make_node("Abs", ["x"], ["2"], "a")]
    main = import_file(save(tmp_path / "m.onnx", nodes, X, ["2", "out:0"])).module["main"]
    assert [str(name) for name in main.attrs["input_names"]] == ["x"]
    assert [str(name) for name in main.attrs["output_names"]] == ["2", "out:0"]


def test_source_says_where_the_program_came_from(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"], "r")], X, ["y"])
    model = onnx.load(path)
    model.metadata_props.add(key="character", value="abc")
    onnx.save(model, path)
    source = import_file(path).source
    assert (source.name, source.opset, dict(source.metadata)) == ("m.onnx", OPSET, {"character": "abc"})


def test_constants_are_folded_and_shared(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Mul", ["w", "w"], ["w2"], "square"),
        helper.make_node("Add", ["x", "w2"], ["a"], "first"),
        helper.make_node("Add", ["a", "w2"], ["y"], "second"),
    ]
    program = import_file(save(tmp_path / "m.onnx", nodes, X, ["y"], {"w": np.full((2, 3), 3, np.float32)}))
    assert operators(program) == ["relax.add", "relax.add"]
    first, second = (binding.value for binding in program.module["main"].body.blocks[0].bindings)
    assert first.args[1].same_as(second.args[1])
    assert first.args[1].value.numpy().max() == 9


def test_outputs_that_nothing_computes_are_tensors_of_their_own(tmp_path: Path) -> None:
    """An output that is an input, a constant, or comes twice under two names."""
    nodes = [
        helper.make_node("Identity", ["x"], ["same"], "id"),
        helper.make_node("Identity", ["w"], ["known"], "constant"),
        helper.make_node("Relu", ["x"], ["a"], "r"),
        helper.make_node("Identity", ["a"], ["b"], "twice"),
    ]
    constant = np.arange(3, dtype=np.float32)
    program = import_file(save(tmp_path / "m.onnx", nodes, X, ["same", "known", "a", "b"], {"w": constant}))
    outputs = program.module["main"].body.body.fields
    assert len({str(output.name) for output in outputs}) == 4
    x = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    same, known, a, b = run_program(program, {"x": x})
    for have, want in ((same, x), (known, constant), (a, np.maximum(x, 0)), (b, np.maximum(x, 0))):
        np.testing.assert_array_equal(have, want)


def test_local_functions_are_inlined(tmp_path: Path) -> None:
    body = [
        helper.make_node("Constant", [], ["scale"], "scale"),
        helper.make_node("Mul", ["t", "scale"], ["s"], "mul"),
        helper.make_node("Relu", ["s"], ["r"], "relu"),
    ]
    body[0].attribute.append(
        onnx.AttributeProto(name="value_float", ref_attr_name="factor", type=onnx.AttributeProto.FLOAT)
    )
    opsets = [helper.make_opsetid("", OPSET)]
    function = helper.make_function("local", "ScaledRelu", ["t"], ["r"], body, opsets, ["factor"])
    nodes = [
        helper.make_node("ScaledRelu", ["x"], ["a"], "first", domain="local", factor=2.0),
        helper.make_node("ScaledRelu", ["a"], ["y"], "second", domain="local", factor=-1.0),
    ]
    path = save(tmp_path / "m.onnx", nodes, X, ["y"], functions=[function])
    program = import_file(path)
    assert binding_names(program) == ["first/mul", "first", "second/mul", "second"]
    x = np.array([[-1, 2, -3], [4, -5, 6]], np.float32)
    (y,) = run_program(program, {"x": x})
    np.testing.assert_array_equal(y, run_reference(path, {"x": x})[0])


def test_operators_without_a_converter_take_their_function_body(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.find_converter("", "HardSwish", OPSET)
    monkeypatch.delitem(registry._TABLE, ("", "HardSwish"))
    monkeypatch.setattr("lepton_compiler.frontend.tvm_converters.is_available", lambda domain, op: False)
    path = save(tmp_path / "m.onnx", [helper.make_node("HardSwish", ["x"], ["y"], "act")], X, ["y"])
    program = import_file(path)
    assert binding_names(program)[-1] == "act"
    x = np.array([[-4, -1, 0], [1, 2, 5]], np.float32)
    np.testing.assert_allclose(run_program(program, {"x": x})[0], run_reference(path, {"x": x})[0], 1e-6)


def test_constant_conditions_are_decided(tmp_path: Path) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, FLOAT, [2, 3])
        return helper.make_graph([helper.make_node(op, ["x"], [name], op)], name, [], [output])

    nodes = [
        helper.make_node("Shape", ["x"], ["s"], "shape"),
        helper.make_node("Size", ["s"], ["rank"], "rank"),
        helper.make_node("Equal", ["rank", "two"], ["is_matrix"], "test"),
        helper.make_node(
            "If", ["is_matrix"], ["y"], "if", then_branch=branch("t", "Relu"), else_branch=branch("e", "Abs")
        ),
    ]
    program = import_file(save(tmp_path / "m.onnx", nodes, X, ["y"], {"two": np.array(2, np.int64)}))
    assert binding_names(program) == ["if"]
    assert operators(program) == ["relax.nn.relu"]


def test_everything_unsupported_is_reported_at_once(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Frobnicate", ["x"], ["a"], "f1", domain=CONTRIB),
        helper.make_node("Relu", ["a"], ["b"], "fine"),
        helper.make_node("Frobnicate", ["b"], ["c"], "f2", domain=CONTRIB),
        helper.make_node("NonZero", ["x"], ["d"], "where"),
        helper.make_node("Reshape", ["x", "target"], ["y"], "by_data"),
    ]
    inputs = {**X, "target": (TensorProto.INT64, [2])}
    path = save(tmp_path / "m.onnx", nodes, inputs, ["c", "d", "y"])
    model = onnx.load(path)
    for output, kind in zip(model.graph.output, (FLOAT, TensorProto.INT64, FLOAT), strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, [None] * 2))
    onnx.save(model, path)
    message = refusal(path)
    assert "4 nodes of 3 operators" in message
    assert "com.microsoft.Frobnicate x2 (node f1, node f2)" in message
    assert "NonZero x1 (node where)" in message
    assert "Reshape x1 (node by_data)" in message
    assert "fine" not in message


def test_no_output_of_tvm_reaches_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    nodes = [helper.make_node("NonZero", ["x"], ["y"], "where")]
    refusal(save(tmp_path / "m.onnx", nodes, X, ["y"]))
    assert capfd.readouterr() == ("", "")


def test_condition_known_only_at_run_time_is_refused_by_name(tmp_path: Path) -> None:
    def branch(name: str, op: str) -> onnx.GraphProto:
        output = helper.make_tensor_value_info(name, FLOAT, [2, 3])
        return helper.make_graph([helper.make_node(op, ["x"], [name], op)], name, [], [output])

    nodes = [
        helper.make_node("If", ["c"], ["y"], "gate", then_branch=branch("t", "Relu"), else_branch=branch("e", "Abs"))
    ]
    message = refusal(save(tmp_path / "m.onnx", nodes, {**X, "c": (TensorProto.BOOL, [])}, ["y"]))
    assert "If x1 (node gate)" in message
    assert "run time" in message


def test_mistakes_of_the_model_are_explained(tmp_path: Path) -> None:
    nodes = [helper.make_node("Gather", ["x", "i"], ["y"], "pick", axis=1)]
    message = refusal(save(tmp_path / "m.onnx", nodes, X, ["y"], {"i": np.array([0, 3], np.int64)}))
    assert "index 3 lies outside of axis 1, which has 3 elements" in message


def test_domains_are_told_apart(tmp_path: Path) -> None:
    """TVM's table takes com.microsoft's Attention for the standard one; ours must not."""
    assert registry.find_converter(CONTRIB, "Conv", 1) is None
    assert registry.find_converter("", "FusedConv", OPSET) is None
    assert registry.find_converter("ai.onnx", "Conv", OPSET) is registry.find_converter("", "Conv", OPSET)


def test_the_highest_fitting_version_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_TABLE", {})
    monkeypatch.setattr(registry, "_load_all", lambda: None)
    old = registry.converter("Thing", domain="test", since=1)(lambda conversion: None)
    new = registry.converter("Thing", domain="test", since=7)(lambda conversion: [])
    assert registry.find_converter("test", "Thing", 6) is old
    assert registry.find_converter("test", "Thing", 7) is registry.find_converter("test", "Thing", 12) is new
    with pytest.raises(ValueError, match="two converters"):
        registry.converter("Thing", domain="test", since=7)(old)


def test_census_counts_and_explains(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "r1"),
        helper.make_node("Relu", ["a"], ["b"], "r2"),
        helper.make_node("Frobnicate", ["b"], ["y"], "f", domain=CONTRIB),
    ]
    path = save(tmp_path / "m.onnx", nodes, X, ["y"])
    model = onnx.load(path)
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", FLOAT, [None, None]))
    onnx.save(model, path)
    loaded = load_model(path)
    relu, other = take_census(loaded.proto, loaded.opsets)
    assert (relu.label, relu.nodes, relu.reason) == ("Relu", ["r1", "r2"], None)
    assert (other.label, other.nodes) == ("com.microsoft.Frobnicate", ["f"])
    assert other.reason


def test_every_size_is_a_number_or_follows_from_the_inputs(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv", strides=[2, 2]),
        helper.make_node("Reshape", ["a", "flat"], ["y"], "reshape"),
    ]
    constants = {"w": np.ones((4, 3, 3, 3), np.float32), "flat": np.array([0, -1], np.int64)}
    program = import_file(save(tmp_path / "m.onnx", nodes, {"x": (FLOAT, ["n", 3, "h", "w_"])}, ["y"], constants))
    for binding in program.module["main"].body.blocks[0].bindings:
        assert isinstance(binding.var.ty.shape, relax.ShapeExpr)


def test_a_faulty_converter_is_no_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the compiler does wrong is not the model's fault; what TVM finds wrong with the shapes is."""

    def faulty(conversion: Conversion) -> relax.Expr:
        return conversion.no_such_thing  # type: ignore[attr-defined]

    def unfit(conversion: Conversion) -> relax.Expr:
        return conversion.emit(relax.op.matmul(conversion.tensor(0), conversion.tensor(0)))

    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"], "act")], X, ["y"])
    registry.find_converter("", "Relu", OPSET)
    monkeypatch.setitem(registry._TABLE, ("", "Relu"), {1: faulty})
    with pytest.raises(InternalError, match=r'faulty failed on node "act" \(Relu\): AttributeError.*no_such_thing'):
        import_file(path)
    monkeypatch.setitem(registry._TABLE, ("", "Relu"), {1: unfit})
    assert "its converter does not handle this node" in refusal(path)
