"""``lepton compare``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper


@pytest.fixture
def changed_model(fixed_model: Path, tmp_path: Path) -> Path:
    """The same graph with another bias: an artifact of ``fixed_model`` must disagree with it."""
    model = onnx.load(fixed_model)
    for tensor in model.graph.initializer:
        if tensor.name == "bias":
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor) + np.float32(0.5), "bias"))
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    return path


@pytest.mark.parametrize("tolerance", ["strict", "fp32", "loose"])
def test_artifact_agrees_with_its_model(lepton, fixed_library: Path, fixed_model: Path, tolerance: str) -> None:
    result = lepton("compare", fixed_library, fixed_model, "--tolerance", tolerance)
    assert result.exit_code == 0, result.output
    assert result.stdout.count("agrees") == 2
    assert f"under {tolerance}" in result.stdout


def test_disagreement_is_exit_code_1_and_says_by_how_much(lepton, fixed_library: Path, changed_model: Path) -> None:
    result = lepton("compare", fixed_library, changed_model, "--format", "json")
    document = json.loads(result.stdout)
    assert result.exit_code == 1
    assert document["agrees"] is False
    assert "exceeds" in document["outputs"][0]["reasons"][0]
    assert "compiled from another file" in result.stderr


def test_onnx_file_alone_is_compiled_and_compared(lepton, batch_model: Path) -> None:
    result = lepton("compare", batch_model, "--input-shapes", "image:[2,3,8,8]", "--disable-pass", "fold-batch-norm")
    assert result.exit_code == 0, result.output
    assert "2x5" in result.stdout


def test_artifact_needs_its_model(lepton, fixed_library: Path) -> None:
    result = lepton("compare", fixed_library)
    assert result.exit_code == 2
    assert "give the ONNX file" in result.stderr


def test_artifact_has_no_passes_left_to_disable(lepton, fixed_library: Path, fixed_model: Path) -> None:
    result = lepton("compare", fixed_library, fixed_model, "--disable-pass", "fold-batch-norm")
    assert result.exit_code == 2
    assert "is compiled already" in result.stderr


def test_two_models_are_one_too_many(lepton, fixed_model: Path, batch_model: Path) -> None:
    result = lepton("compare", fixed_model, batch_model)
    assert result.exit_code == 2
    assert "is its own reference" in result.stderr


def test_nan_would_make_the_comparison_worthless(
    lepton, fixed_library: Path, fixed_model: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "in.npz", image=np.full((1, 3, 8, 8), np.nan, np.float32))
    result = lepton("compare", fixed_library, fixed_model, "--inputs", tmp_path / "in.npz")
    assert result.exit_code == 2
    assert "192 NaN" in result.stderr


def test_without_onnxruntime_the_extra_is_named(
    lepton, fixed_library: Path, fixed_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = lepton("compare", fixed_library, fixed_model)
    assert result.exit_code == 2
    assert "pip install 'lepton-compiler[peers]'" in result.stderr


@pytest.mark.parametrize("output_format", ["table", "json"])
def test_outputs_that_are_nan_do_not_agree(
    lepton, fixed_library: Path, fixed_model: Path, tmp_path: Path, output_format: str
) -> None:
    """An infinity in every sum, with weights of either sign."""
    inputs = tmp_path / "inf.npz"
    np.savez(inputs, image=np.full((1, 3, 8, 8), np.inf, np.float32))
    result = lepton("compare", fixed_library, fixed_model, "--inputs", inputs, "--format", output_format)
    assert result.exit_code == 1
    assert "nothing was compared: no element is finite on both sides" in " ".join(result.stdout.split())
    assert "1.000" not in result.stdout
