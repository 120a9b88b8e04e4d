"""``lepton inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_model, write_unsupported_model

from lepton_compiler.driver import compile_model
from lepton_compiler.runtime.artifact_file import read_manifest

CONV_MACS = 4 * 8 * 8 * 3 * 3 * 3
MATMUL_MACS = 4 * 5
PARAMETERS = 4 * 3 * 3 * 3 + 4 + 4 * 5


def test_model_counts(lepton, fixed_model: Path) -> None:
    document = json.loads(lepton("inspect", fixed_model, "--format", "json").stdout)
    assert document["macs"] == CONV_MACS + MATMUL_MACS
    assert document["parameters"] == PARAMETERS
    assert document["weight_bytes"] == 4 * PARAMETERS
    assert document["inputs"] == [{"name": "image", "shape": [1, 3, 8, 8], "dtype": "float32"}]
    assert document["outputs"][0] == {"name": "scores", "dtype": "float32", "shape": [1, 5]}
    assert document["importable"] is True
    operators = {entry["operator"]: entry for entry in document["operators"]}
    assert operators["Conv"]["nodes"] == ["/body/conv"]
    assert operators["Conv"]["converter"] == "lepton"


def test_counts_with_a_symbolic_batch_are_for_one_item(lepton, batch_model: Path) -> None:
    one = json.loads(lepton("inspect", batch_model, "--format", "json").stdout)
    assert (one["macs"], one["macs_at_batch_1"]) == (CONV_MACS + MATMUL_MACS, True)
    assert one["outputs"][0]["shape"] == ["batch", 5]
    arguments = ("--input-shapes", "image:[3,3,8,8]", "--format", "json")
    three = json.loads(lepton("inspect", batch_model, *arguments).stdout)
    assert (three["macs"], three["macs_at_batch_1"]) == (3 * (CONV_MACS + MATMUL_MACS), False)


def test_model_table_lists_operators(lepton, fixed_model: Path) -> None:
    result = lepton("inspect", fixed_model, "--operators")
    assert result.exit_code == 0, result.output
    for name in ("/body/conv", "/head/flatten", "GlobalAveragePool", "every node can be imported"):
        assert name in result.stdout


def test_unsupported_operators_are_named_with_count_and_nodes(lepton, tmp_path: Path) -> None:
    model = write_unsupported_model(tmp_path / "odd.onnx")
    result = lepton("inspect", model, "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["importable"] is False
    assert "com.example.Frobnicate x2 (node /frob/1, node /frob/2)" in document["refusal"]
    converters = {entry["operator"]: entry["converter"] for entry in document["operators"]}
    assert converters["com.example.Frobnicate"] == "none"


def test_artifact_shows_its_manifest(lepton, batch_library: Path, batch_model: Path) -> None:
    result = lepton("inspect", batch_library)
    assert result.exit_code == 0, result.output
    for text in (batch_model.name, "symbols      batch", "batchx5", "at batch = 64", "fuse-operators"):
        assert text in result.stdout
    document = json.loads(lepton("inspect", batch_library, "--format", "json").stdout)
    assert document["manifest"]["symbols"] == ["batch"]


def test_artifact_for_another_machine_is_inspected_without_running_it(
    lepton, fixed_model: Path, tmp_path: Path
) -> None:
    library = tmp_path / "arm.so"
    assert lepton("compile", fixed_model, "-o", library, "--target", "arm-cortex-a7").exit_code == 0
    result = lepton("inspect", library, "--kernels")
    assert result.exit_code == 0
    assert "arm-cortex-a7 (armv7l)" in result.stdout


def test_profile_gives_every_kernel_its_share(lepton, fixed_library: Path) -> None:
    document = json.loads(lepton("inspect", fixed_library, "--profile", "--format", "json").stdout)
    assert len(document["kernel_seconds"]) == len(document["manifest"]["kernels"])
    assert all(seconds > 0 for seconds in document["kernel_seconds"])
    table = lepton("inspect", fixed_library, "--profile").stdout
    assert "/body/conv" in table
    assert "GFLOP/s" in table
    shares = [float(line.split()[1]) for line in table.splitlines() if line.split()[2:3] == ["%"]]
    assert sum(shares) == pytest.approx(100, abs=1)


@pytest.mark.parametrize("kind", ["model", "artifact"])
def test_why_follows_a_node_through_the_passes(lepton, fixed_model: Path, fixed_library: Path, kind: str) -> None:
    path = fixed_model if kind == "model" else fixed_library
    result = lepton("inspect", path, "--why", "/body/relu", "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    fused = [event for event in document["events"] if event["pass_name"] == "fuse-operators"]
    assert fused
    assert fused[0]["did"] is True
    assert "/body/conv" in document["kernels"][0]["nodes"]
    assert document["kernels"][0]["schedule"]


@pytest.fixture(scope="module")
def folded_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shape chain, a dead pair of transposes, an identity, and a convolution that becomes two operators."""
    nodes = [
        helper.make_node("Identity", ["x"], ["i"], "/Identity"),
        helper.make_node("Transpose", ["i"], ["t"], "tr1", perm=[0, 2, 3, 1]),
        helper.make_node("Transpose", ["t"], ["v"], "tr2", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["v", "w", "b"], ["c"], "cv"),
        helper.make_node("Shape", ["c"], ["s"], "/Shape"),
        helper.make_node("Gather", ["s", "zero"], ["batch"], "/Gather"),
        helper.make_node("Concat", ["batch", "rest"], ["target"], "/Concat", axis=0),
        helper.make_node("Reshape", ["c", "target"], ["y"], "/Reshape"),
    ]
    weights = {
        "w": np.ones((4, 3, 3, 3), np.float32),
        "b": np.ones(4, np.float32),
        "zero": np.array([0]),
        "rest": np.array([-1]),
    }
    path = tmp_path_factory.mktemp("folded") / "folded.onnx"
    return write_model(path, nodes, {"x": (TensorProto.FLOAT, [1, 3, 8, 8])}, {"y": 2}, weights)


@pytest.fixture(scope="module")
def folded_library(folded_model: Path) -> Path:
    library = folded_model.with_suffix(".so")
    compile_model(folded_model, library)
    return library


@pytest.mark.parametrize("kind", ["model", "artifact"])
@pytest.mark.parametrize(
    ("node", "sentence"),
    [
        ("/Shape", "folded to a constant while importing"),
        ("/Gather", "folded to a constant while importing"),
        ("/Concat", "folded to a constant while importing"),
        ("/Identity", "gives back its input: no operator needed"),
        ("tr1", "nothing reads it any more: removed"),
        ("tr2", "undoes tr1: removed"),
        ("cv", "reads 3 plain channels, writes packed ones"),
    ],
)
def test_why_knows_nodes_that_became_none_or_several(
    lepton, folded_model: Path, folded_library: Path, kind: str, node: str, sentence: str
) -> None:
    result = lepton("inspect", folded_model if kind == "model" else folded_library, "--why", node)
    assert result.exit_code == 0, result.output
    assert sentence in result.stdout
    assert "cv/1" not in result.stdout
    assert ("no kernel is left" in result.stdout) is (node != "cv")


def test_manifest_has_one_record_for_a_folded_node(folded_library: Path) -> None:
    first = read_manifest(folded_library).passes[0]
    assert (first.name, first.stage) == ("import", "IMPORTED")
    assert [node for node, _ in first.rewrites] == ["/Identity", "/Shape", "/Gather", "/Concat"]


def test_only_nodes_of_the_model_are_suggested(lepton, folded_library: Path) -> None:
    result = lepton("inspect", folded_library, "--why", "cw")
    assert "did you mean: cv" in result.stderr
    assert "cv/1" not in result.stderr


@pytest.mark.parametrize("kind", ["model", "artifact"])
def test_unknown_node_suggests_near_ones(lepton, fixed_model: Path, fixed_library: Path, kind: str) -> None:
    path = fixed_model if kind == "model" else fixed_library
    result = lepton("inspect", path, "--why", "/body/rulu")
    assert result.exit_code == 2
    assert 'has no node "/body/rulu"' in result.stderr
    assert "/body/relu" in result.stderr


def test_options_of_the_other_kind_are_refused(lepton, fixed_model: Path, fixed_library: Path) -> None:
    assert lepton("inspect", fixed_model, "--profile").exit_code == 2
    assert lepton("inspect", fixed_model, "--kernels").exit_code == 2
    assert lepton("inspect", fixed_library, "--operators").exit_code == 2


def test_options_without_effect_are_refused(lepton, fixed_model: Path, fixed_library: Path) -> None:
    for model, options, reason in (
        (fixed_model, ("--seed", "3"), "without --profile nothing is run: leave --seed out"),
        (fixed_model, ("--inputs", "in.npz", "--threads", "2"), "leave --inputs, --threads out"),
        (fixed_model, ("--target", "x86-64-v2"), "without --why no pass is run: leave --target out"),
        (fixed_library, ("--disable-pass", "fold-pad"), "is compiled already: leave --disable-pass out"),
        (fixed_library, ("--input-shapes", "image:[1,3,8,8]"), "has its shapes already"),
        (fixed_library, ("--why", "/body/conv", "--kernels"), "--why shows one node"),
        (fixed_model, ("--why", "/body/conv", "--operators"), "--why shows one node"),
    ):
        result = lepton("inspect", model, *options)
        assert result.exit_code == 2
        assert reason in result.stderr


def test_functions_of_the_model_are_operators(lepton, tmp_path: Path) -> None:
    nodes = [helper.make_node("Square", ["x"], ["y"], "sq1", domain="my")]
    model = onnx.load(write_model(tmp_path / "m.onnx", nodes, {"x": (TensorProto.FLOAT, ["n", 3])}, {"y": 2}))
    body = [helper.make_node("Mul", ["a", "a"], ["b"], "product")]
    model.functions.append(helper.make_function("my", "Square", ["a"], ["b"], body, [helper.make_opsetid("", 17)]))
    model.opset_import.append(helper.make_opsetid("my", 1))
    onnx.save(model, tmp_path / "m.onnx")
    document = json.loads(lepton("inspect", tmp_path / "m.onnx", "--format", "json").stdout)
    assert {entry["operator"]: entry["converter"] for entry in document["operators"]} == {
        "my.Square": "function body",
        "Mul": "lepton",
    }
    assert document["outputs"] == [{"name": "y", "dtype": "float32", "shape": ["n", 3]}]
    assert document["refusal"] is None
    assert "sq1" in lepton("inspect", tmp_path / "m.onnx", "--why", "sq1").stdout
