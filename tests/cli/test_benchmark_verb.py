"""``lepton benchmark``."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path

import pytest

from lepton_compiler.cli.benchmark_suite import warn_of_precisions
from lepton_compiler.evaluation.interleaved_timing import RATIO_NOTE


def test_every_runner_is_timed_and_agrees(lepton, fixed_library: Path, fixed_model: Path) -> None:
    arguments = ("--against", "onnxruntime,tvm", "--rounds", 3, "--warmup", 1, "--format", "json")
    result = lepton("benchmark", fixed_library, fixed_model, *arguments)
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    runners = {entry["name"]: entry for entry in document["results"]}
    assert list(runners) == ["lepton", "onnxruntime", "tvm"]
    for name in ("onnxruntime", "tvm"):
        ratio = runners[name]["ratio"]
        assert 0 < ratio["p10"] <= ratio["median"] <= ratio["p90"]
        assert runners[name]["max_error_of_range"] <= 1e-5
    assert runners["lepton"]["ratio"] is None
    assert document["machine"]["versions"]["onnxruntime"]
    assert document["machine"]["load_average"] >= 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="two threads need two processors")
def test_table_has_a_row_for_each_runner_and_number_of_threads(lepton, fixed_model: Path) -> None:
    pytest.importorskip("openvino", reason="openvino comes with the extra peers, which is not installed")
    result = lepton("benchmark", fixed_model, "--against", "openvino", "--threads", "1,2", "--rounds", 2, "--warmup", 1)
    assert result.exit_code == 0, result.output
    rows = [line.split()[:2] for line in result.stdout.splitlines() if line.split()[:1] in (["1"], ["2"])]
    assert rows == [["1", "lepton"], ["1", "openvino"], ["2", "lepton"], ["2", "openvino"]]
    assert RATIO_NOTE in result.stdout.splitlines()


def test_artifact_alone_needs_no_peer(lepton, fixed_library: Path) -> None:
    result = lepton("benchmark", fixed_library, "--against", "", "--rounds", 2, "--format", "json")
    assert result.exit_code == 0, result.output
    assert [entry["name"] for entry in json.loads(result.stdout)["results"]] == ["lepton"]


def test_unknown_peer(lepton, fixed_model: Path) -> None:
    result = lepton("benchmark", fixed_model, "--against", "tensorflow")
    assert result.exit_code == 2
    assert 'unknown peer "tensorflow"; known: onnxruntime, openvino, openvino-bf16, tvm' in result.stderr


def test_peer_that_is_not_installed_names_its_extra(lepton, fixed_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = lepton("benchmark", fixed_model, "--against", "openvino")
    assert result.exit_code == 2
    assert "a benchmark against openvino" in result.stderr
    assert "pip install 'lepton-compiler[peers]'" in result.stderr


def test_more_threads_than_processors(lepton, fixed_library: Path) -> None:
    result = lepton("benchmark", fixed_library, "--against", "", "--threads", "1000", "--rounds", 1)
    assert result.exit_code == 2
    assert "1000 threads need as many processors" in result.stderr


@pytest.mark.parametrize("threads", ["one", "0", "1,-2"])
def test_threads_are_a_list_of_numbers(lepton, fixed_library: Path, threads: str) -> None:
    assert lepton("benchmark", fixed_library, "--threads", threads).exit_code == 2


def test_a_number_of_threads_is_timed_once(lepton, fixed_library: Path) -> None:
    arguments = ("--against", "", "--threads", "1,1", "--rounds", 2, "--format", "json")
    result = lepton("benchmark", fixed_library, *arguments)
    assert result.exit_code == 0, result.output
    assert [entry["threads"] for entry in json.loads(result.stdout)["results"]] == [1]


@pytest.mark.parametrize("verb", ["benchmark", "compare"])
@pytest.mark.parametrize("first", ["fixed_library", "fixed_model"])
def test_the_reference_is_an_onnx_file(
    lepton, fixed_library: Path, verb: str, first: str, request: pytest.FixtureRequest
) -> None:
    result = lepton(verb, request.getfixturevalue(first), fixed_library)
    assert result.exit_code == 2
    assert f"{fixed_library} is a compiled artifact, and peers run ONNX files" in result.stderr
    assert "the second argument, REFERENCE.onnx, is the file that the artifact" in result.stderr


@pytest.mark.parametrize(
    ("precision", "peers", "warned"),
    [
        ("fp32", ["onnxruntime", "openvino", "tvm"], []),
        ("fp32", ["onnxruntime", "openvino-bf16"], ["openvino-bf16 computes in bf16, Lepton in fp32"]),
        ("mixed", ["onnxruntime", "openvino-bf16"], []),
        ("bf16", ["onnxruntime", "openvino"], ["openvino computes in fp32, Lepton in bf16"]),
    ],
)
def test_peers_of_another_precision_are_named(
    precision: str, peers: list[str], warned: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    warn_of_precisions(precision, peers)
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("warning: ").partition(": the precisions differ")[0] for line in lines] == warned


def test_one_model_against_a_peer_of_another_precision(lepton, fixed_library: Path, fixed_model: Path) -> None:
    pytest.importorskip("openvino", reason="openvino comes with the extra peers, which is not installed")
    arguments = ("--against", "openvino-bf16", "--rounds", 2, "--warmup", 1)
    result = lepton("benchmark", fixed_library, fixed_model, *arguments)
    assert result.exit_code == 0, result.output
    assert "openvino-bf16 computes in bf16, Lepton in fp32: the precisions differ" in result.stderr
