"""What ``lepton tune`` refuses before it does anything."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


@pytest.mark.parametrize(("module", "extra"), [("xgboost", "tune"), ("matplotlib", "plot")])
def test_a_missing_extra_is_said_before_anything_runs(
    lepton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, extra: str
) -> None:
    original = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == module else original(name))
    result = lepton("tune", tmp_path / "absent.onnx", "--report", tmp_path / "report.html")
    assert result.exit_code == 2
    assert f"pip install 'lepton-compiler[{extra}]'" in result.stderr


def test_a_report_is_named_for_what_it_holds(lepton, tmp_path: Path) -> None:
    result = lepton("tune", tmp_path / "absent.onnx", "--report", tmp_path / "report.txt")
    assert result.exit_code == 2
    assert "--report writes a file that ends in .html, and" in " ".join(result.stderr.split())


def test_a_report_that_exists_is_kept(lepton, tmp_path: Path) -> None:
    report = tmp_path / "report.html"
    report.write_text("mine", encoding="utf-8")
    result = lepton("tune", tmp_path / "absent.onnx", "--report", report)
    assert result.exit_code == 2
    assert f"{report} exists; give --force to overwrite it" in " ".join(result.stderr.split())
    assert report.read_text(encoding="utf-8") == "mine"


def test_kernels_of_symbolic_sizes_are_not_tuned(lepton, batch_model: Path, tmp_path: Path) -> None:
    result = lepton("tune", batch_model, "--dry-run", "-o", tmp_path / "logs")
    assert result.exit_code == 2
    assert "it has dimensions that are known at run time alone; --input-shapes gives them sizes" in result.stderr


def test_names_that_no_kernel_has(lepton, fixed_model: Path, tmp_path: Path) -> None:
    result = lepton("tune", fixed_model, "--dry-run", "--tasks", "absent*", "-o", tmp_path / "logs")
    assert result.exit_code == 2
    assert "no kernel is called absent*; kernels with knobs: fused_conv2d" in result.stderr


def test_a_dry_run_has_no_report(lepton, tmp_path: Path) -> None:
    result = lepton("tune", tmp_path / "absent.onnx", "--dry-run", "--report", tmp_path / "report.html")
    assert result.exit_code == 2
    assert "--dry-run measures nothing that --report could show" in result.stderr
