"""What is refused before a graph is looked at: files that are no models, and data that lies where it must not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_graphs import import_file, run_program, save

from lepton_compiler.core.errors import ModelError
from lepton_compiler.frontend.load_model import load_model
from lepton_compiler.frontend.wire_format import describe_damage


@pytest.fixture
def relu(tmp_path: Path) -> Path:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    return save(tmp_path / "relu.onnx", nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"])


def external(path: Path, location: str, length: int = 24, offset: int = 0) -> Path:
    """A model that adds a (2, 3) tensor whose values lie in another file."""
    nodes = [helper.make_node("Add", ["x", "w"], ["y"], "add")]
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    save(path, nodes, {"x": (TensorProto.FLOAT, [2, 3])}, ["y"], {"w": weight})
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", str(offset)), ("length", str(length))):
        tensor.external_data.add(key=key, value=value)
    onnx.save(model, path)
    return path


def refused(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert str(path) in str(error.value)
    return str(error.value)


def test_reads_hash_and_opset(relu: Path) -> None:
    model = load_model(relu)
    assert len(model.sha256) == 64
    assert model.opsets[""] == 17


def test_missing_file_folder_and_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.onnx").touch()
    assert "No such file" in refused(tmp_path / "none.onnx")
    assert "is a folder" in refused(tmp_path)
    assert "is empty" in refused(tmp_path / "empty.onnx")


def test_other_kinds_of_files(tmp_path: Path) -> None:
    for name, data in {
        "text": b"hello, this is text\n" * 9,
        "zip": b"PK\x03\x04" + bytes(60),
        "elf": b"\x7fELF" + bytes(60),
    }.items():
        path = tmp_path / name
        path.write_bytes(data)
        assert "not an ONNX model" in refused(path)


def test_a_message_that_is_no_model(tmp_path: Path) -> None:
    path = tmp_path / "tensor.pb"
    path.write_bytes(helper.make_opsetid("", 17).SerializeToString())
    assert "not an ONNX model" in refused(path)


@pytest.mark.parametrize("kept", [0.999, 0.7, 0.3])
def test_truncated_files_are_called_so(relu: Path, kept: float) -> None:
    data = relu.read_bytes()
    relu.write_bytes(data[: int(len(data) * kept)])
    assert "truncated" in refused(relu)


def test_no_cut_of_a_model_crashes(relu: Path) -> None:
    """Every prefix gets a message; none is whole, since the operator set comes last."""
    model = onnx.load(relu)
    del model.opset_import[1:]
    data = model.SerializeToString()
    cut = relu.with_name("cut.onnx")
    for length in range(1, len(data)):
        cut.write_bytes(data[:length])
        refused(cut)
    assert describe_damage(data) is None


def test_unknown_operator_set(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [2])}, ["y"])
    model = onnx.load(path)
    model.opset_import[0].version = 999
    onnx.save(model, path)
    message = refused(path)
    assert "operator set 999" in message
    assert f"knows 1 to {onnx.defs.onnx_opset_version()}" in message


def test_what_the_checker_refuses(tmp_path: Path) -> None:
    path = save(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], {"x": (TensorProto.FLOAT, [2])}, ["y"])
    model = onnx.load(path)
    model.graph.node[0].input.append("x")
    onnx.save(model, path)
    assert "not a valid ONNX model" in refused(path)


def test_external_data_beside_the_model(tmp_path: Path) -> None:
    weight = np.arange(6, dtype=np.float32).reshape(2, 3)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(b"skip" + weight.tobytes())
    program = import_file(external(tmp_path / "m.onnx", "data/w.bin", offset=4))
    (y,) = run_program(program, {"x": np.ones((2, 3), np.float32)})
    np.testing.assert_array_equal(y, weight + 1)


def test_external_data_missing_or_too_short(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx", "w.bin")
    assert "is missing" in refused(path)
    (tmp_path / "w.bin").write_bytes(bytes(20))
    assert "needs bytes 0 to 24" in refused(path)
    assert '"w"' in refused(path)


@pytest.mark.parametrize("location", ["../w.bin", "data/../../w.bin", "{root}/w.bin", "data\\..\\w.bin", ""])
def test_external_data_that_leads_outside(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    (folder / "data").mkdir(parents=True)
    (tmp_path / "w.bin").write_bytes(bytes(24))
    path = external(folder / "m.onnx", location.format(root=tmp_path))
    assert "leads out of the model's folder" in refused(path)


def test_external_data_behind_a_link_that_leads_outside(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "w.bin").write_bytes(bytes(24))
    (folder / "w.bin").symlink_to(tmp_path / "w.bin")
    assert "a link that leads out" in refused(external(folder / "m.onnx", "w.bin"))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "w.bin").write_bytes(bytes(24))
    (folder / "sub").symlink_to(tmp_path / "elsewhere")
    assert "a link that leads out" in refused(external(folder / "n.onnx", "sub/w.bin"))


@pytest.mark.parametrize(
    ("dtype", "shape", "needed"),
    [
        (TensorProto.FLOAT, [2, 3], 24),
        (TensorProto.BFLOAT16, [3], 6),
        (TensorProto.INT4, [3], 2),
        (TensorProto.UINT2, [9], 3),
    ],
)
@pytest.mark.parametrize("difference", [-1, 0, 1])
def test_external_data_of_another_length(
    dtype: int, shape: list[int], needed: int, difference: int, tmp_path: Path
) -> None:
    path = external(tmp_path / "m.onnx", "w.bin", needed + difference)
    model = onnx.load(path, load_external_data=False)
    tensor = model.graph.initializer[0]
    tensor.data_type, tensor.dims[:] = dtype, shape
    onnx.save(model, path)
    (tmp_path / "w.bin").write_bytes(bytes(64))
    if difference:
        message = refused(path)
        assert f'"w" in {path} has {needed + difference} bytes' in message
        assert f"needs {needed}" in message
    else:
        loaded = load_model(path)
        assert loaded.read_tensor(loaded.proto.graph.initializer[0]).shape == tuple(shape)


def test_external_data_without_a_length(tmp_path: Path) -> None:
    path = external(tmp_path / "m.onnx", "w.bin")
    model = onnx.load(path, load_external_data=False)
    del model.graph.initializer[0].external_data[2:]
    onnx.save(model, path)
    (tmp_path / "w.bin").write_bytes(bytes(23))
    assert "needs bytes 0 to 24 of w.bin, which has 23" in refused(path)
    (tmp_path / "w.bin").write_bytes(np.arange(7, dtype=np.float32).tobytes())
    (y,) = run_program(import_file(path), {"x": np.zeros((2, 3), np.float32)})
    np.testing.assert_array_equal(y, np.arange(6).reshape(2, 3))


def outside_tensor(name: str, values: np.ndarray, file: Path) -> TensorProto:
    """A tensor whose values lie in a file beside the model."""
    file.write_bytes(values.tobytes())
    code = helper.np_dtype_to_tensor_dtype(values.dtype)
    tensor = TensorProto(name=name, data_type=code, dims=values.shape, data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value=file.name)
    return tensor


def model_with_tensors_in_attributes(folder: Path) -> Path:
    """``x`` plus a Constant of the graph, one of a branch, one of a local function, and a sparse initializer."""
    weights = {name: np.full((2, 3), number, np.float32) for name, number in (("a", 1), ("b", 10), ("c", 100))}
    outside = {name: outside_tensor(name, value, folder / f"{name}.bin") for name, value in weights.items()}
    constants = {name: helper.make_node("Constant", [], [name], name, value=outside[name]) for name in outside}
    branch = helper.make_graph([constants["b"]], "branch", [], [helper.make_tensor_value_info("b", 1, [2, 3])])
    body = [constants["c"], helper.make_node("Add", ["t", "c"], ["u"], "inner")]
    function = helper.make_function("local", "Shift", ["t"], ["u"], body, [helper.make_opsetid("", 17)])
    nodes = [
        constants["a"],
        helper.make_node("If", ["yes"], ["chosen"], "if", then_branch=branch, else_branch=branch),
        helper.make_node("Sum", ["x", "a", "chosen", "s"], ["sum"], "sum"),
        helper.make_node("Shift", ["sum"], ["y"], "shift", domain="local"),
    ]
    values = {"x": (TensorProto.FLOAT, [2, 3])}
    dense = {"yes": np.array(True), "s": np.zeros((2, 3), np.float32)}
    path = save(folder / "m.onnx", nodes, values, ["y"], dense, functions=[function])
    model = onnx.load(path, load_external_data=False)
    del model.graph.initializer[1]
    sparse = model.graph.sparse_initializer.add(dims=[2, 3])
    sparse.values.CopyFrom(outside_tensor("s", np.array([1000], np.float32), folder / "s.bin"))
    sparse.indices.CopyFrom(onnx.numpy_helper.from_array(np.array([4], np.int64)))
    onnx.save(model, path)
    return path


def test_external_data_of_attributes_lies_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "elsewhere").mkdir()
    path = model_with_tensors_in_attributes(tmp_path / "model")
    monkeypatch.chdir(tmp_path / "elsewhere")
    (y,) = run_program(import_file(path), {"x": np.zeros((2, 3), np.float32)})
    np.testing.assert_array_equal(y, [[111, 111, 111], [111, 1111, 111]])


@pytest.mark.parametrize("name", ["a", "b", "c", "s"])
def test_missing_external_data_of_attributes(name: str, tmp_path: Path) -> None:
    path = model_with_tensors_in_attributes(tmp_path)
    (tmp_path / f"{name}.bin").unlink()
    assert f'tensor "{name}" in {path} is missing' in refused(path)
