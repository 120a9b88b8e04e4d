"""``lepton benchmark --suite`` and ``--list``."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
from small_suite import BROKEN, NOT_TO_BE_HAD, SMALL_RESNET, SMALL_UNET

from lepton_compiler.evaluation.interleaved_timing import RATIO_NOTE
from lepton_compiler.evaluation.suite import models
from lepton_compiler.evaluation.suite.models import SUITE

QUICK = ("--threads", 1, "--rounds", 2, "--warmup", 1, "--against", "onnxruntime")


def one_line(text: str) -> str:
    """What stands in a message that click may have broken into lines."""
    return " ".join(text.split())


@pytest.fixture
def small_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "SUITE", {model.name: model for model in (SMALL_RESNET, BROKEN, SMALL_UNET)})


def test_the_whole_suite_is_measured_saved_and_shown(lepton, small_suite: None, tmp_path: Path) -> None:
    output, page = tmp_path / "results.json", tmp_path / "table.md"
    result = lepton("benchmark", "--suite", *QUICK, "--output", output, "--markdown", page)
    assert result.exit_code == 1, result.output
    document = json.loads(output.read_text())
    assert [row["model"] for row in document["rows"]] == ["small_resnet", "broken", "small_unet"]
    assert [row["problem"] for row in document["rows"]] == [None, NOT_TO_BE_HAD, None]
    assert document["machine"]["versions"]["onnxruntime"]
    assert document["machine"]["load_average"] >= 0
    assert document["rows"][0]["max_error_of_range"] < 1e-5
    assert f"Broken, 1 thread: {NOT_TO_BE_HAD}" in result.stdout
    assert RATIO_NOTE in result.stdout.splitlines()
    assert "times as fast as onnxruntime" in result.stderr
    assert "| Small U-Net | 1 |" in page.read_text()


def test_named_models_that_all_work_end_well(lepton, small_suite: None) -> None:
    result = lepton("benchmark", "--suite", "small_unet", *QUICK, "--batch", 2, "--format", "json")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["batch"], document["models"]) == (2, ["small_unet"])
    assert [row["best_peer"] for row in document["rows"]] == ["onnxruntime"]


def test_without_peers_the_suite_is_timed_alone_and_says_so(
    lepton, small_suite: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = lepton("benchmark", "--suite", "small_unet", *QUICK[:-2], "--format", "json")
    assert result.exit_code == 0, result.output
    assert "no peer is installed" in result.stderr
    assert json.loads(result.stdout)["rows"][0]["speedup"] is None


def test_a_symbolic_batch_is_compiled_once_and_run_with_one(lepton, small_suite: None) -> None:
    result = lepton(
        "benchmark", "--suite", "small_resnet", *QUICK, "--batch", 3, "--symbolic-batch", "--format", "json"
    )
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["batch"], document["symbolic_batch"]) == (3, True)
    assert document["rows"][0]["max_error_of_range"] < 1e-5


def test_resources_are_measured_saved_and_shown(lepton, small_suite: None, tmp_path: Path) -> None:
    output, page = tmp_path / "results.json", tmp_path / "page.md"
    result = lepton("benchmark", "--suite", "--resources", "--output", output, "--markdown", page)
    assert result.exit_code == 1, result.output
    document = json.loads(output.read_text())
    assert [row["problem"] for row in document["rows"]] == [None, NOT_TO_BE_HAD, None]
    assert f"Broken: {NOT_TO_BE_HAD}" in result.stdout
    assert page.read_text().startswith("<!-- resources -->")


@pytest.mark.parametrize(
    "option",
    [
        ("--threads", "2"),
        ("--symbolic-batch",),
        ("--precision", "bf16"),
        ("--against", "onnxruntime"),
        ("--rounds", "3"),
    ],
    ids=lambda option: option[0],
)
def test_resources_take_nothing_that_they_ignore(lepton, small_suite: None, option: tuple[str, ...]) -> None:
    result = lepton("benchmark", "--suite", "--resources", *option)
    assert result.exit_code == 2
    assert f"for the size of --batch: leave {option[0]} out" in one_line(result.stderr)


def test_list_names_every_model_with_its_inputs(lepton) -> None:
    result = lepton("benchmark", "--list")
    assert result.exit_code == 0, result.output
    assert "ppocr_rec" in result.stdout and "1x3x48x320" in result.stdout
    entries = json.loads(lepton("benchmark", "--list", "--format", "json").stdout)
    assert [entry["name"] for entry in entries] == list(SUITE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--suite", "resnet18", "model.onnx"), "so that MODEL can't be given with it"),
        (("--suite", "resnet18", "--input-shapes", "x:[1]"), "so that --input-shapes can't be given with it"),
        (("--suite", "resnet18", "--inputs", "x.npz", "--allow-nan"), "--inputs, --allow-nan can't be given"),
        (("--suite", "model.onnx"), 'the suite has no model "model.onnx"; its models: all, resnet50'),
        (("--suite", "--threads", "1000"), "1000 threads need as many processors"),
        (("--suite", "--against", "tensorflow"), 'unknown peer "tensorflow"'),
        (("--suite", "--output", "absent/x.json"), "there is no folder absent"),
        (("model.onnx", "--batch", "8"), "--batch needs --suite; --input-shapes gives one model its batch"),
        (("model.onnx", "--batch", "8"), '--input-shapes "NAME:[8,...]"'),
        (("model.onnx", "--output", "x.json", "--markdown", "x.md"), "--output needs --suite; of one model, --format"),
        (("model.onnx", "--batch", "8"), "a fixed batch has to be exported again with a symbolic one"),
        (("--suite", "resnet18", "--keep-fp32", "first"), "so that --keep-fp32 can't be given with it"),
        (("--suite", "--keep-fp32", "first", "--precision", "bf16"), "so that --keep-fp32 can't be given with it"),
        (
            ("--suite", "--no-winograd", "--max-winograd-error", "1"),
            "so that --no-winograd, --max-winograd-error can't",
        ),
        (("--list", "--keep-fp32", "first"), "--list only lists"),
        (("--keep-fp32", "first"), "name a MODEL to time"),
        (("--suite", "--no-winograd", "--disable-pass", "fold-pad"), "so that --disable-pass, --no-winograd can't be"),
        (("--list", "--suite"), "--list only lists"),
        ((), "name a MODEL to time, or give --suite"),
    ],
)
def test_what_contradicts_itself_is_refused(lepton, arguments: tuple[str, ...], message: str) -> None:
    result = lepton("benchmark", *arguments)
    assert result.exit_code == 2
    assert message in one_line(result.stderr)


def test_a_page_that_is_no_text_is_refused_before_anything_is_measured(
    lepton, small_suite: None, tmp_path: Path
) -> None:
    page = tmp_path / "picture.jpg"
    page.write_bytes(b"\xff\xd8\xff\xe0")
    result = lepton("benchmark", "--suite", "small_unet", *QUICK, "--markdown", page)
    assert result.exit_code == 2
    assert f"{page} is not a text file (its byte 0 is not UTF-8)" in result.stderr
    assert "codec" not in result.stderr
    assert page.read_bytes() == b"\xff\xd8\xff\xe0"


def test_results_are_not_overwritten_unasked(lepton, small_suite: None, tmp_path: Path) -> None:
    output = tmp_path / "results.json"
    output.write_text("mine")
    result = lepton("benchmark", "--suite", "small_unet", *QUICK, "--output", output)
    assert result.exit_code == 2
    assert "give --force to overwrite it" in result.stderr
    assert output.read_text() == "mine"
