"""``lepton compile``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lepton_compiler.runtime.artifact_file import read_manifest


def test_summary_says_what_was_written(lepton, fixed_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", fixed_model, "-o", output, "--print-time")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    facts = {line.split()[0]: line for line in result.stdout.splitlines() if line.strip()}
    assert str(output) in facts["wrote"]
    assert "image float32 1x3x8x8" in facts["inputs"]
    assert "scores float32 1x5, features float32 1x4" in facts["outputs"]
    assert "times the lower bound" in facts["memory"]
    assert "fuse-operators" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["model.so"]


def test_json_report_matches_the_manifest(lepton, fixed_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    report = json.loads(lepton("compile", fixed_model, "-o", output, "--format", "json").stdout)
    manifest = read_manifest(output)
    assert report["artifact_bytes"] == output.stat().st_size
    assert report["kernels"] == len(manifest.kernels)
    assert report["memory"]["arena_bytes"] == manifest.memory.arena_bytes
    assert list(report["seconds"]) == ["import", "optimize", "schedule", "generate", "link"]


def test_existing_output_needs_force(lepton, fixed_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    output.write_text("precious", encoding="ascii")
    refused = lepton("compile", fixed_model, "-o", output)
    assert refused.exit_code == 2
    assert "--force" in refused.stderr
    assert output.read_text(encoding="ascii") == "precious"
    assert lepton("compile", fixed_model, "-o", output, "--force").exit_code == 0
    assert read_manifest(output).model.name == fixed_model.name


def test_input_shapes_fix_a_symbolic_dimension(lepton, batch_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", batch_model, "-o", output, "--input-shapes", "image:[3,3,8,8]")
    assert result.exit_code == 0, result.output
    manifest = read_manifest(output)
    assert manifest.symbols == ()
    assert manifest.inputs[0].shape == (3, 3, 8, 8)


def test_other_targets_compile_here(lepton, fixed_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", fixed_model, "-o", output, "--target", "arm-cortex-a72")
    assert result.exit_code == 0, result.output
    assert read_manifest(output).target.architecture == "aarch64"


def test_dump_ir_writes_the_program_after_every_pass(lepton, fixed_model: Path, tmp_path: Path) -> None:
    dumps = tmp_path / "dumps"
    result = lepton("compile", fixed_model, "-o", tmp_path / "model.so", "--dump-ir", dumps)
    assert result.exit_code == 0, result.output
    names = sorted(path.name for path in dumps.iterdir())
    assert names[0] == "000_imported.py"
    assert any(name.endswith("_schedule-functions.py") for name in names)
    assert "def main" in (dumps / names[0]).read_text(encoding="utf-8")


def test_disabled_pass_does_not_run(lepton, fixed_model: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", fixed_model, "-o", output, "--disable-pass", "fold-batch-norm")
    assert result.exit_code == 0, result.output
    assert "fold-batch-norm" not in [entry.name for entry in read_manifest(output).passes]


@pytest.mark.parametrize(
    ("name", "reason"),
    [("no-such-pass", 'there is no pass "no-such-pass"'), ("schedule-functions", "can't be disabled")],
)
def test_passes_that_cannot_be_disabled(lepton, fixed_model: Path, tmp_path: Path, name: str, reason: str) -> None:
    result = lepton("compile", fixed_model, "-o", tmp_path / "model.so", "--disable-pass", name)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert list(tmp_path.iterdir()) == []
