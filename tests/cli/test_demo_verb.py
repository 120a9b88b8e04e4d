"""``lepton demo``: with a stand-in for the recogniser that compiles in a second, and once, slowly, for real."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_conv_model, write_model

CHARACTERS = "a\nb\nc"
CLASSES = 5


@pytest.fixture(scope="module")
def recogniser(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Has the recogniser's input, output and metadata: an 8-pixel column of the image becomes one step."""
    path = tmp_path_factory.mktemp("demo") / "recogniser.onnx"
    weights = {"w": np.random.default_rng(1).standard_normal((CLASSES, 3, 48, 8)).astype(np.float32) / 30}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["columns"], "conv", strides=[48, 8]),
        helper.make_node("Squeeze", ["columns", "axis"], ["classes_first"], "squeeze"),
        helper.make_node("Transpose", ["classes_first"], ["scores"], "transpose", perm=[0, 2, 1]),
        helper.make_node("Softmax", ["scores"], ["y"], "softmax", axis=2),
    ]
    inputs: dict[str, tuple[int, list[int | str]]] = {"x": (TensorProto.FLOAT, ["batch", 3, 48, "width"])}
    write_model(path, nodes, inputs, {"y": 3}, {**weights, "axis": np.array([2])})
    model = onnx.load(path)
    model.metadata_props.add(key="character", value=CHARACTERS)
    onnx.save(model, path)
    return path


def test_demo_reads_agrees_and_times(lepton, recogniser: Path) -> None:
    result = lepton("demo", "--model", recogniser, "--text", "abc", "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert document["agrees"] is True
    assert document["rendered"] == "abc"
    assert document["read"] == document["read_by_onnxruntime"] != ""
    assert [entry["name"] for entry in document["times"]] == ["lepton", "onnxruntime"]


def test_demo_prints_text_agreement_and_both_times(lepton, recogniser: Path) -> None:
    result = lepton("demo", "--model", recogniser)
    assert result.exit_code == 0, result.output
    labels = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert labels == ["rendered", "read", "ONNX Runtime", "agreement", "compiled", "times"]


def test_model_that_is_no_recogniser(lepton, tmp_path: Path) -> None:
    result = lepton("demo", "--model", write_conv_model(tmp_path / "conv.onnx"))
    assert result.exit_code == 2
    assert 'no input "x"' in result.stderr


def test_empty_text(lepton, recogniser: Path) -> None:
    result = lepton("demo", "--model", recogniser, "--text", "  ")
    assert result.exit_code == 2
    assert "the text is empty" in result.stderr


@pytest.mark.parametrize("package", ["PIL", "onnxruntime"])
def test_missing_extra_is_named(lepton, recogniser: Path, monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else original(name))
    result = lepton("demo", "--model", recogniser)
    assert result.exit_code == 2
    assert "pip install 'lepton-compiler[demo]'" in result.stderr


@pytest.mark.slow
def test_the_real_recogniser_reads_the_line(lepton) -> None:
    result = lepton("demo", "--text", "Compiled ahead of time", "--format", "json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["read"] == "Compiled ahead of time"
