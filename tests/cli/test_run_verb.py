"""``lepton run``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_model

IMAGE = np.random.default_rng(3).standard_normal((1, 3, 8, 8)).astype(np.float32)


def test_outputs_file_holds_what_onnxruntime_computes(
    lepton, fixed_library: Path, fixed_model: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", image=IMAGE)
    out = tmp_path / "out.npz"
    result = lepton("run", fixed_library, "--inputs", tmp_path / "in.npz", "--outputs", out)
    assert result.exit_code == 0, result.output
    session = onnxruntime.InferenceSession(str(fixed_model), providers=["CPUExecutionProvider"])
    scores, features = session.run(None, {"image": IMAGE})
    with np.load(out) as written:
        assert written.files == ["scores", "features"]
        np.testing.assert_allclose(written["scores"], scores, rtol=0, atol=1e-5 * np.ptp(scores))
        np.testing.assert_allclose(written["features"], features, rtol=0, atol=1e-5 * np.ptp(features))


def test_seed_decides_the_random_inputs(lepton, fixed_library: Path, tmp_path: Path) -> None:
    outputs = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        path = tmp_path / f"{name}.npz"
        assert lepton("run", fixed_library, "--seed", seed, "--outputs", path).exit_code == 0
        with np.load(path) as written:
            outputs.append(written["scores"])
    np.testing.assert_array_equal(outputs[0], outputs[1])
    assert not np.array_equal(outputs[0], outputs[2])


def test_table_shows_shape_and_times(lepton, fixed_library: Path) -> None:
    result = lepton("run", fixed_library, "--repeat", 3, "--threads", 1)
    assert result.exit_code == 0, result.output
    assert "1x5" in result.stdout
    assert "ms a run with 1 thread: median of 3" in result.stdout


def test_json_holds_outputs_and_times(lepton, fixed_library: Path) -> None:
    document = json.loads(lepton("run", fixed_library, "--repeat", 3, "--format", "json").stdout)
    assert [(entry["name"], entry["shape"]) for entry in document["outputs"]] == [
        ("scores", [1, 5]),
        ("features", [1, 4]),
    ]
    times = document["milliseconds"]
    assert 0 < times["p10"] <= times["median"] <= times["p90"]


def test_onnx_file_is_compiled_on_the_way(lepton, fixed_model: Path, fixed_library: Path) -> None:
    direct = json.loads(lepton("run", fixed_model, "--format", "json").stdout)
    compiled = json.loads(lepton("run", fixed_library, "--format", "json").stdout)
    assert direct["outputs"] == compiled["outputs"]


def test_symbolic_dimensions_need_sizes(lepton, batch_library: Path) -> None:
    refused = lepton("run", batch_library)
    assert refused.exit_code == 2
    assert '--input-shapes "image:[batch,3,8,8]"' in refused.stderr
    accepted = lepton("run", batch_library, "--input-shapes", "image:[4,3,8,8]")
    assert accepted.exit_code == 0
    assert "4x5" in accepted.stdout


def test_outputs_file_is_not_overwritten_without_force(lepton, fixed_library: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    out.write_bytes(b"precious")
    refused = lepton("run", fixed_library, "--outputs", out)
    assert refused.exit_code == 2
    assert out.read_bytes() == b"precious"
    assert lepton("run", fixed_library, "--outputs", out, "--force").exit_code == 0


@pytest.mark.parametrize(
    ("tensors", "reason"),
    [
        ({"picture": IMAGE}, "missing: image; unknown: picture"),
        ({"image": IMAGE.astype(np.float64)}, "must be float32, not float64"),
        ({"image": IMAGE[:, :, :7]}, "has shape [1,3,7,8], the model takes [1,3,8,8]"),
        ({"image": IMAGE[0]}, "has shape [3,8,8], the model takes [1,3,8,8]"),
    ],
)
def test_wrong_inputs_are_refused_by_name(
    lepton, fixed_library: Path, tmp_path: Path, tensors: dict[str, np.ndarray], reason: str
) -> None:
    np.savez(tmp_path / "in.npz", **tensors)
    result = lepton("run", fixed_library, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz")
    assert result.exit_code == 2
    assert reason in result.stderr
    assert not (tmp_path / "out.npz").exists()


def test_nan_in_the_input_file(lepton, fixed_library: Path, tmp_path: Path) -> None:
    damaged = IMAGE.copy()
    damaged[0, 1, 2, 3] = np.nan
    np.savez(tmp_path / "in.npz", image=damaged)
    refused = lepton("run", fixed_library, "--inputs", tmp_path / "in.npz")
    assert refused.exit_code == 2
    assert 'input "image"' in refused.stderr
    assert "1 NaN among 192 values" in refused.stderr
    allowed = lepton("run", fixed_library, "--inputs", tmp_path / "in.npz", "--allow-nan")
    assert allowed.exit_code == 0


def test_nan_in_outputs_is_mentioned(lepton, tmp_path: Path) -> None:
    nodes = [helper.make_node("Sqrt", ["x"], ["y"], "root")]
    model = write_model(tmp_path / "root.onnx", nodes, {"x": (TensorProto.FLOAT, [64])}, {"y": 1})
    np.savez(tmp_path / "in.npz", x=np.concatenate([np.full(3, -1.0), np.ones(61)]).astype(np.float32))
    result = lepton("run", model, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 0, result.output
    assert 'warning: output "y" holds 3 NaN and 0 infinite values' in result.stderr


def test_infinities_are_mentioned(lepton, fixed_library: Path, tmp_path: Path) -> None:
    extreme = IMAGE.copy()
    extreme[0, 0, 0, 0] = -np.inf
    np.savez(tmp_path / "in.npz", image=extreme)
    result = lepton("run", fixed_library, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 0
    assert 'warning: input "image"' in result.stderr
    assert "1 infinite values" in result.stderr


def test_outputs_file_is_not_the_inputs_file(lepton, fixed_library: Path, tmp_path: Path) -> None:
    file = tmp_path / "in.npz"
    np.savez(file, image=np.zeros((1, 3, 8, 8), np.float32))
    before = file.read_bytes()
    result = lepton("run", fixed_library, "--inputs", file, "--outputs", file, "--force")
    assert result.exit_code == 2
    assert "is the file of --inputs" in result.stderr
    assert file.read_bytes() == before


@pytest.mark.parametrize(
    ("shapes", "reason"),
    [
        ("image:[3,3,8,8]", 'gives input "image" the shape [3,3,8,8], the file of --inputs [2,3,8,8]'),
        ("picture:[2,3,8,8]", 'names "picture", which is no input'),
        ("image:[2,3,8,8]", ""),
        ("image:[batch,3,8,8]", ""),
    ],
)
def test_input_file_and_shapes_must_agree(
    lepton, batch_library: Path, tmp_path: Path, shapes: str, reason: str
) -> None:
    np.savez(tmp_path / "in.npz", image=np.zeros((2, 3, 8, 8), np.float32))
    result = lepton("run", batch_library, "--inputs", tmp_path / "in.npz", "--input-shapes", shapes)
    assert result.exit_code == (2 if reason else 0), result.output
    assert reason in result.stderr


def test_names_with_spaces_are_quoted(lepton, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["my input/é"], ["y"], "relu")]
    model = write_model(tmp_path / "m.onnx", nodes, {"my input/é": (TensorProto.FLOAT, ["n", 3])}, {"y": 2})
    assert lepton("compile", model, "-o", tmp_path / "m.so").exit_code == 0
    asked = lepton("run", tmp_path / "m.so")
    assert """give --input-shapes '"my input/é":[n,3]' with numbers""" in asked.stderr
    result = lepton("run", tmp_path / "m.so", "--input-shapes", '"my input/é":[2,3]')
    assert result.exit_code == 0, result.output
    assert "2x3" in result.stdout


def test_input_without_a_declared_shape_is_named(lepton, tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"], "relu")]
    model = write_model(tmp_path / "m.onnx", nodes, {"x": (TensorProto.FLOAT, [1])}, {"y": 1})
    proto = onnx.load(model)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.ClearField("shape")
    model.write_bytes(proto.SerializeToString())
    asked = lepton("run", model)
    assert asked.exit_code == 2
    assert 'input "x" has no shape in the model: give one' in asked.stderr
    result = lepton("run", model, "--input-shapes", "x:[2,3]")
    assert result.exit_code == 0, result.output
    assert "2x3" in result.stdout
