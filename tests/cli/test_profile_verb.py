"""``lepton profile``."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_model

from lepton_compiler.evaluation import machine_probe
from lepton_compiler.evaluation.algorithm_reasons import ANCHOR_REASONS
from lepton_compiler.passes.lowering.attention_kernel import ANCHOR as ATTENTION
from lepton_compiler.targets.cpu.schedule import knob_types
from lepton_compiler.targets.registry import TARGETS, get_target, native_target, runs_here

# Convolution with bias and ReLU, the mean of 64 pixels, the matrix product: four channels, filled up to whole vectors
# where they are packed, and five classes.
_LANES = native_target().vector_lanes()
_CHANNELS = -(-4 // _LANES) * _LANES
FLOPS = {
    "packed_convolution": 2 * 27 * _CHANNELS * 64 + 2 * _CHANNELS * 64,
    "generic": _CHANNELS * 64 + 4,
    "dense": 2 * 4 * 5,
}
COUNTED = {"flops", "bytes", "flops_per_second", "bytes_per_second", "share_of_memory_peak"}


@pytest.fixture(autouse=True)
def _short_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the machine reaches is not looked at here."""
    monkeypatch.setattr(machine_probe, "_SECONDS", 0.001)


def _document(lepton, *arguments: object) -> dict:
    result = lepton("profile", *arguments, "--runs", 2, "--format", "json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_every_kernel_has_its_work_and_rates_and_the_longest_comes_first(lepton, fixed_library: Path) -> None:
    document = _document(lepton, fixed_library, "--threads", 1)
    kernels = document["kernels"]
    assert {kernel["anchor"]: kernel["flops"] for kernel in kernels} == FLOPS
    times = [kernel["seconds"] for kernel in kernels]
    assert times == sorted(times, reverse=True)
    assert sum(kernel["share"] for kernel in kernels) == pytest.approx(1.0)
    assert document["kernel_seconds"] == pytest.approx(sum(times))
    assert (document["threads"], document["runs"]) == (1, 2)
    for kernel in kernels:
        rate = kernel["flops"] / kernel["seconds"] if kernel["flops"] else None
        assert kernel["flops_per_second"] == (rate if rate is None else pytest.approx(rate))
        assert kernel["bytes_per_second"] == pytest.approx(kernel["bytes"] / kernel["seconds"])
        assert kernel["schedule"].startswith(kernel["anchor"])
        assert kernel["limit"] in ("arithmetic", "memory")


def test_shares_are_of_the_peaks_in_the_document(lepton, fixed_library: Path) -> None:
    document = _document(lepton, fixed_library, "--threads", 1)
    peaks = document["peaks"]
    assert peaks["threads"] == 1
    best = max(peak["operations_per_second"] for peak in peaks["arithmetic"] if peak["type"] == "float32")
    for kernel in document["kernels"]:
        rate = kernel["flops_per_second"]
        assert kernel["share_of_arithmetic_peak"] == (rate if rate is None else pytest.approx(rate / best))
        memory = peaks["memory"]["bytes_per_second"]
        assert kernel["share_of_memory_peak"] == pytest.approx(kernel["bytes_per_second"] / memory)


def test_symbols_take_the_sizes_of_the_run(lepton, batch_library: Path) -> None:
    document = _document(lepton, batch_library, "--input-shapes", "image:[5,3,8,8]")
    assert {kernel["anchor"]: kernel["flops"] for kernel in document["kernels"]} == {
        anchor: 5 * flops for anchor, flops in FLOPS.items()
    }


def test_a_model_file_is_compiled_first(lepton, fixed_model: Path) -> None:
    document = _document(lepton, fixed_model, "--top", 2, "--target", "native")
    assert document["model"] == fixed_model.name
    assert len(document["kernels"]) == 2
    assert document["kernels"][0]["anchor"] in FLOPS


def test_the_table_shows_kernels_and_the_machine(lepton, fixed_library: Path) -> None:
    result = lepton("profile", fixed_library, "--runs", 2, "--threads", 1)
    assert result.exit_code == 0, result.output
    for text in (
        "/body/conv",
        "/head/pool",
        "of peak",
        f"in {len(FLOPS)} kernel calls with 1 thread",
        f"this machine with 1 thread and the instructions of {native_target().name}: float32 ",
    ):
        assert text in result.stdout
    shares = [float(line.split()[1]) for line in result.stdout.splitlines() if line.split()[2:3] == ["%"]]
    assert len(shares) == len(FLOPS)
    assert sum(shares) == pytest.approx(100, abs=0.2)


@pytest.fixture(scope="module")
def convolutions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three by three with 64 channels, for which Winograd's algorithm is faster, and one by one."""
    generator = np.random.default_rng(0)
    weights = {
        name: generator.standard_normal((64, 64, size, size)).astype(np.float32) / (8 * size)
        for name, size in (("w3", 3), ("w1", 1))
    }
    nodes = [
        helper.make_node("Conv", ["x", "w3"], ["a"], "/conv3", pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["a"], ["b"], "/sigmoid"),
        helper.make_node("Conv", ["b", "w1"], ["y"], "/conv1"),
    ]
    path = tmp_path_factory.mktemp("convolutions") / "convolutions.onnx"
    return write_model(path, nodes, {"x": (TensorProto.FLOAT, [1, 64, 56, 56])}, {"y": 4}, weights)


def _by_node(document: dict, node: str) -> dict:
    return next(kernel for kernel in document["kernels"] if node in kernel["nodes"].split("+"))


def test_reasons_are_those_of_the_passes(lepton, convolutions: Path) -> None:
    """With the cycles and errors that the choice was made by; a Winograd kernel's operations are its own."""
    chosen = _document(lepton, convolutions)
    winograd, pointwise = _by_node(chosen, "/conv3"), _by_node(chosen, "/conv1")
    assert re.fullmatch(
        r"Winograd F\(4x4, 3x3\): estimated 0\.\d+ of the direct cycles, estimated error \S+ of the range; "
        r"cycles of a core: direct \S+ M, F\(2x2, 3x3\) \S+ M with error \S+, F\(4x4, 3x3\) \S+ M with error \S+",
        winograd["reason"],
    )
    assert winograd["decisions"] == [{"pass_name": "pack-activations", "did": True, "sentence": winograd["reason"]}]
    assert "a kernel of 1x1 has no Winograd algorithm here" in pointwise["reason"]
    direct = _by_node(_document(lepton, convolutions, "--no-winograd"), "/conv3")
    assert "direct: Winograd is switched off" in direct["reason"]
    assert direct["flops"] == 2 * 9 * 64 * 64 * 56 * 56 + _epilogue(direct)
    assert winograd["flops"] < direct["flops"] / 2


def _epilogue(kernel: dict) -> int:
    """The sigmoid's operation an element, where it is fused."""
    return 64 * 56 * 56 if "/sigmoid" in kernel["nodes"] else 0


def test_reasons_stand_below_the_table(lepton, fixed_library: Path) -> None:
    lines = lepton("profile", fixed_library, "--runs", 1).stdout.splitlines()
    start = next(place for place, line in enumerate(lines) if "why it is computed so" in line)
    below = " ".join(" ".join(lines[start:]).split())
    assert "reads 3 plain channels, writes packed ones" in below
    assert "packed the weight for vectors of outputs" in below


def test_every_anchor_has_a_reason_of_its_own() -> None:
    assert set(ANCHOR_REASONS) == {*knob_types(), ATTENTION, "generic", "elementwise", "opaque"}


def test_top_shortens_the_table_and_not_the_sum(lepton, fixed_library: Path) -> None:
    result = lepton("profile", fixed_library, "--runs", 2, "--top", 1)
    assert sum(line.split()[2:3] == ["%"] for line in result.stdout.splitlines()) == 1
    assert f"in {len(FLOPS)} kernel calls" in result.stdout


def test_work_that_cannot_be_counted_is_said(lepton, batch_model: Path, tmp_path: Path) -> None:
    """A program that was built without counting."""
    from lepton_compiler.build.artifact import build_artifact
    from lepton_compiler.core.options import CompileOptions
    from lepton_compiler.driver import optimize_model

    library = tmp_path / "uncounted.so"
    build_artifact(optimize_model(batch_model, CompileOptions()), library, 1 << 20)
    arguments = (library, "--input-shapes", "image:[2,3,8,8]")
    kernels = _document(lepton, *arguments)["kernels"]
    assert {kernel[field] for kernel in kernels for field in COUNTED} == {None}
    table = lepton("profile", *arguments, "--runs", 1).stdout
    assert f"?: the work of {len(FLOPS)} kernel calls can't be counted" in table


def test_pictures_are_written_and_not_overwritten(lepton, fixed_library: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib comes with the extra plot, which is not installed")
    png, html = tmp_path / "roofline.png", tmp_path / "profile.html"
    arguments = ("profile", fixed_library, "--runs", 1, "--png", png, "--html", html)
    result = lepton(*arguments)
    assert result.exit_code == 0, result.output
    assert png.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    page = html.read_text(encoding="utf-8")
    assert "<svg" in page
    assert "/body/conv" in page
    assert f"wrote {png}\nwrote {html}" in result.stdout
    refused = lepton(*arguments)
    assert refused.exit_code == 2
    assert f"{png} exists; give --force to overwrite it" in refused.stderr
    assert lepton(*arguments, "--force").exit_code == 0


def test_a_missing_matplotlib_is_said_before_anything_runs(
    lepton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    result = lepton("profile", tmp_path / "absent.so", "--html", tmp_path / "p.html")
    assert result.exit_code == 2
    assert "pip install 'lepton-compiler[plot]'" in result.stderr


@pytest.mark.parametrize(("option", "name"), [("--png", "a.jpg"), ("--png", "a"), ("--html", "a.png")])
def test_a_file_is_named_for_what_it_holds(lepton, tmp_path: Path, option: str, name: str) -> None:
    result = lepton("profile", tmp_path / "absent.so", option, tmp_path / name)
    assert result.exit_code == 2
    assert f"{option} writes a file that ends in .{option[2:]}, and" in " ".join(result.stderr.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--runs", "--top", "--threads"])
def test_numbers_start_at_one(lepton, fixed_library: Path, option: str) -> None:
    assert lepton("profile", fixed_library, option, 0).exit_code == 2


@pytest.mark.skipif(not runs_here(get_target("x86-64-v2")), reason="the target is of another machine")
def test_peaks_are_those_of_the_target(lepton, fixed_model: Path) -> None:
    document = _document(lepton, fixed_model, "--target", "x86-64-v2", "--threads", 1)
    instructions = [peak["instruction"] for peak in document["peaks"]["arithmetic"]]
    assert instructions == ["mulps, addps", "pmaddubsw, pmaddwd, paddd"]


def test_a_target_that_does_not_run_here_is_refused_before_compiling(
    lepton, fixed_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something is compiled")

    monkeypatch.setattr("lepton_compiler.driver.compile_model", refuse)
    target = next(name for name, spec in TARGETS.items() if not runs_here(spec))
    result = lepton("profile", fixed_model, "--target", target)
    assert result.exit_code == 2
    assert f"this machine can't run code for target {target}" in result.stderr
    assert "leave --target out" in result.stderr
