from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lepton_compiler
from lepton_compiler import driver
from lepton_compiler.core.errors import InternalError, LeptonError, ModelError, OutputError, TargetError, UserError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.core.program import Stage
from lepton_compiler.driver import compile_model, optimize_model, resolve_target
from lepton_compiler.runtime.artifact_file import read_manifest

STEPS = ["import", "optimize", "schedule", "generate", "link"]
WEIGHT = np.random.default_rng(5).normal(size=(8, 4)).astype(np.float32)
X = np.random.default_rng(6).normal(size=(3, 8)).astype(np.float32)
ATOL = 1e-5
"""Sums of eight products of about 1, in float32."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A linear layer over any number of rows."""
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["h"], name="fc/MatMul"),
            helper.make_node("Relu", ["h"], ["y"], name="fc/Relu"),
        ],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    path = tmp_path / "linear.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    return path


def test_report_says_what_was_made(model: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    output = tmp_path / "linear.so"
    report = compile_model(model, output, CompileOptions(), on_step=steps.append)
    assert steps == STEPS == list(report.seconds)
    assert all(seconds >= 0 for seconds in report.seconds.values())
    assert report.output == output
    assert report.artifact_bytes == output.stat().st_size
    assert report.manifest == read_manifest(output)
    assert report.manifest.inputs[0].shape == ("batch", 8)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linear.onnx", "linear.so"]


def test_library_computes_what_the_model_says(model: Path, tmp_path: Path) -> None:
    compile_model(model, tmp_path / "linear.so", CompileOptions())
    with lepton_compiler.load(tmp_path / "linear.so") as compiled:
        for rows in (1, 3):
            np.testing.assert_allclose(compiled(X[:rows])["y"], np.maximum(X[:rows] @ WEIGHT, 0), atol=ATOL)


def test_input_shapes_fix_a_symbol(model: Path, tmp_path: Path) -> None:
    report = compile_model(model, tmp_path / "linear.so", CompileOptions(input_shapes={"x": (3, 8)}))
    assert report.manifest.inputs[0].shape == (3, 8)
    assert report.manifest.symbols == ()
    assert report.manifest.memory.arena_bytes is not None


def test_weights_above_the_limit_go_to_a_file(model: Path, tmp_path: Path) -> None:
    report = compile_model(model, tmp_path / "linear.so", CompileOptions(embed_weights_bytes=0))
    assert report.manifest.weights.file == "linear.so.weights"
    assert (tmp_path / "linear.so.weights").is_file()
    assert report.artifact_bytes == (tmp_path / "linear.so").stat().st_size


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (CompileOptions(target="z80"), TargetError, 'unknown target "z80"; known: native'),
        (CompileOptions(disabled_passes=("make-coffee",)), UserError, 'no pass "make-coffee"'),
        (CompileOptions(disabled_passes=("schedule-functions",)), UserError, "schedule-functions can't be disabled"),
    ],
)
def test_unusable_options_are_refused_before_the_model_is_read(
    options: CompileOptions, error: type[LeptonError], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        compile_model(tmp_path / "missing.onnx", tmp_path / "out.so", options)
    assert list(tmp_path.iterdir()) == []


def test_model_that_is_missing_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"missing\.onnx"):
        compile_model(tmp_path / "missing.onnx", tmp_path / "out.so", CompileOptions())
    assert list(tmp_path.iterdir()) == []


def test_existing_output_is_replaced_only_by_force(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "linear.so"
    output.write_bytes(b"precious")
    with pytest.raises(OutputError, match="--force"):
        compile_model(model, output, CompileOptions())
    assert output.read_bytes() == b"precious"
    compile_model(model, output, CompileOptions(), force=True)
    assert read_manifest(output).model.name == "linear.onnx"


def failing(*arguments: object, **named: object) -> None:
    raise InternalError("it broke")


@pytest.mark.parametrize("step", ["import_model", "run_stages", "build_artifact"])
def test_failure_of_any_step_keeps_the_old_library(
    step: str, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "linear.so"
    output.write_bytes(b"old")
    monkeypatch.setattr(driver, step, failing)
    with pytest.raises(InternalError, match="it broke"):
        compile_model(model, output, CompileOptions(), force=True)
    assert output.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linear.onnx", "linear.so"]


def test_optimize_goes_through_every_stage_and_builds_nothing(model: Path, tmp_path: Path) -> None:
    program = optimize_model(model, CompileOptions())
    assert program.stage is Stage.SCHEDULED
    assert [record.pass_name for record in program.history][-1] == "schedule-functions"
    assert program.records_of("fc/Relu")
    assert [path.name for path in tmp_path.iterdir()] == ["linear.onnx"]


class Recorder:
    """An instrument that writes down the passes."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str]] = []

    def before_pass(self, name: str, module: object) -> None:
        self.seen.append(("before", name))

    def after_pass(self, name: str, module: object) -> None:
        self.seen.append(("after", name))


@pytest.mark.parametrize("call", [compile_model, optimize_model])
def test_instruments_see_every_pass_once(call: Callable, model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    output = (tmp_path / "linear.so",) if call is compile_model else ()
    call(model, *output, CompileOptions(), instruments=[recorder])
    # The first record is that of the import, which is no pass.
    names = [record.pass_name for record in optimize_model(model, CompileOptions()).history][1:]
    assert recorder.seen == [(moment, name) for name in names for moment in ("before", "after")]


def test_target_is_found_by_name() -> None:
    assert resolve_target("x86-64-v4").name == "x86-64-v4"
    with pytest.raises(TargetError, match="unknown target"):
        resolve_target("X86-64-V4")
