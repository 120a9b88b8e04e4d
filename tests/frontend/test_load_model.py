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
    refused(path)


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
