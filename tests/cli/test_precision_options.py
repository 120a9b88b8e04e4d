"""``--precision`` and ``--keep-fp32``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper
from small_onnx_models import write_model

from lepton_compiler.core.errors import UserError
from lepton_compiler.core.options import CompileOptions
from lepton_compiler.driver import compile_model
from lepton_compiler.passes.precision.convert_precision import ConvertPrecision
from lepton_compiler.runtime.artifact_file import read_manifest
from lepton_compiler.targets.registry import get_target

needs_bfloat16 = pytest.mark.skipif(
    not get_target("native").has_bfloat16_dot, reason="the processor has no bfloat16 products"
)


def _one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.fixture(scope="module")
def two_products(tmp_path_factory: pytest.TempPathFactory) -> Path:
    generator = np.random.default_rng(3)
    weights = {
        name: generator.standard_normal(shape).astype(np.float32) / 4
        for name, shape in {"w1": (16, 12), "w2": (12, 6)}.items()
    }
    nodes = [
        helper.make_node("MatMul", ["x", "w1"], ["hidden"], name="first_product"),
        helper.make_node("Relu", ["hidden"], ["kept"], name="relu"),
        helper.make_node("MatMul", ["kept", "w2"], ["y"], name="second_product"),
    ]
    path = tmp_path_factory.mktemp("precision") / "products.onnx"
    return write_model(path, nodes, {"x": (TensorProto.FLOAT, ["n", 16])}, {"y": 2}, weights)


@needs_bfloat16
def test_errors_against_fp32_are_printed(lepton, two_products: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", two_products, "-o", output, "--precision", "bf16")
    assert result.exit_code == 0, result.output
    assert "bf16: 2 of 2 products" in result.stdout
    assert "against the same model in fp32" in result.stdout
    assert read_manifest(output).precision == "bf16"


@needs_bfloat16
def test_errors_are_those_of_the_rounding(lepton, two_products: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in.npz"
    np.savez(inputs, x=np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32))
    arguments = ["compile", two_products, "--format", "json", "--check-inputs", inputs, "--precision"]
    (bf16,) = json.loads(lepton(*arguments, "bf16", "-o", tmp_path / "a.so").stdout)["errors_against_fp32"]
    assert 1e-4 < bf16["max_abs"] / bf16["reference_range"] < 1e-2
    assert bf16["reasons"] == []
    kept = ["--keep-fp32", "first", "--keep-fp32", "second*"]
    (fp32,) = json.loads(lepton(*arguments, "bf16", "-o", tmp_path / "b.so", *kept).stdout)["errors_against_fp32"]
    assert fp32["max_abs"] == 0


@needs_bfloat16
def test_outputs_that_are_nan_have_no_errors(lepton, two_products: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inf.npz"
    np.savez(inputs, x=np.full((9, 16), np.inf, np.float32))
    arguments = ("--precision", "bf16", "--check-inputs", inputs)
    result = lepton("compile", two_products, "-o", tmp_path / "model.so", *arguments)
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[-1].split() == ["y", "-", "-", "-"]
    assert (
        'output "y" is not compared with fp32: nothing was compared: no element is finite on both sides'
        in _one_line(result.stderr)
    )


def test_a_model_in_fp32_is_not_compared(lepton, two_products: Path, tmp_path: Path) -> None:
    result = lepton("compile", two_products, "-o", tmp_path / "model.so", "--format", "json")
    assert json.loads(result.stdout)["errors_against_fp32"] is None


@needs_bfloat16
def test_compare_takes_the_loose_tolerance(lepton, two_products: Path) -> None:
    pytest.importorskip("onnxruntime")
    arguments = ["compare", two_products, "--input-shapes", "x:[9,16]", "--precision", "bf16"]
    assert "under loose" in lepton(*arguments).stdout
    strict = lepton(*arguments, "--tolerance", "fp32")
    assert strict.exit_code == 1
    assert "exceeds" in strict.stdout


def test_a_target_without_the_instruction_is_refused(lepton, two_products: Path, tmp_path: Path) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", two_products, "-o", output, "--target", "x86-64-v2", "--precision", "mixed")
    assert result.exit_code == 2
    assert "x86-64-v2 has no instruction for products of bfloat16, which precision mixed is made of" in result.stderr
    assert not output.exists()


@pytest.mark.parametrize("verb", ["profile", "compare", "benchmark", "inspect"])
@pytest.mark.parametrize(
    "option",
    [
        ("--precision", "fp32"),
        ("--keep-fp32", "first"),
        ("--no-winograd",),
        ("--max-winograd-error", "1e-3"),
        ("--disable-pass", "fold-pad"),
        ("--target", "x86-64-v2"),
    ],
    ids=lambda option: option[0],
)
def test_a_library_is_compiled_already(
    lepton, fixed_library: Path, fixed_model: Path, verb: str, option: tuple[str, ...]
) -> None:
    takes_a_target = verb in ("profile", "inspect")
    if option[0] == "--target" and not takes_a_target:
        pytest.skip("the verb has no --target")
    result = lepton(verb, fixed_library, *option)
    assert result.exit_code == 2
    assert f"{fixed_library} is compiled already: leave {option[0]} out" in _one_line(result.stderr)


@pytest.mark.parametrize("verb", ["compile", "profile", "compare", "benchmark"])
@pytest.mark.parametrize("precision", [(), ("--precision", "fp32")])
def test_nothing_is_kept_where_everything_stays(
    lepton, two_products: Path, tmp_path: Path, verb: str, precision: tuple[str, ...]
) -> None:
    output = ("-o", tmp_path / "model.so") if verb == "compile" else ()
    result = lepton(verb, two_products, *output, *precision, "--keep-fp32", "first")
    assert result.exit_code == 2
    assert "give --precision bf16 or mixed, or leave --keep-fp32 out" in _one_line(result.stderr)
    assert not list(tmp_path.iterdir())


def test_inputs_of_a_comparison_that_is_not_made(lepton, two_products: Path, tmp_path: Path) -> None:
    arguments = ("compile", two_products, "-o", tmp_path / "model.so", "--check-inputs", tmp_path / "absent.npz")
    result = lepton(*arguments)
    assert result.exit_code == 2
    assert "give --precision bf16 or mixed, or leave --check-inputs out" in _one_line(result.stderr)


@needs_bfloat16
@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (None, "in.npz: No such file or directory"),
        ({}, "in.npz is not an .npz file"),
        ({"z": (9, 16)}, "missing: x; unknown: z"),
        ({"x": (9, 15)}, "shape"),
    ],
    ids=["missing", "unreadable", "other names", "other shape"],
)
def test_inputs_of_the_comparison_are_checked_before_the_compilation(
    lepton,
    two_products: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arrays: dict[str, tuple[int, ...]] | None,
    message: str,
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise AssertionError("something is compiled")

    monkeypatch.setattr("lepton_compiler.driver.compile_model", refuse)
    inputs = tmp_path / "in.npz"
    if arrays:
        np.savez(inputs, **{name: np.zeros(shape, np.float32) for name, shape in arrays.items()})
    elif arrays is not None:
        inputs.write_text("no archive")
    output = tmp_path / "model.so"
    result = lepton("compile", two_products, "-o", output, "--precision", "bf16", "--check-inputs", inputs)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not output.exists()


@pytest.mark.parametrize("verb", ["compile", "profile", "compare", "benchmark", "inspect", "tune"])
@pytest.mark.parametrize("precision", ["bf16", "mixed"])
def test_a_precision_without_its_pass_is_refused(
    lepton, two_products: Path, tmp_path: Path, verb: str, precision: str
) -> None:
    arguments = {"compile": ("-o", tmp_path / "z.so"), "tune": ("-o", tmp_path / "log")}.get(verb, ())
    result = lepton(verb, two_products, *arguments, "--disable-pass", ConvertPrecision.name(), "--precision", precision)
    assert result.exit_code == 2
    message = f"--precision {precision} is made by the pass convert-precision, and --disable-pass leaves it out"
    assert message in _one_line(result.stderr)
    assert not list(tmp_path.iterdir())


def test_a_precision_without_its_pass_is_refused_in_python(two_products: Path, tmp_path: Path) -> None:
    options = CompileOptions(precision="bf16", disabled_passes=(ConvertPrecision.name(),))
    with pytest.raises(UserError, match="leave one of the two out"):
        compile_model(two_products, tmp_path / "z.so", options)
    assert not list(tmp_path.iterdir())


@needs_bfloat16
@pytest.mark.parametrize(("kept", "text"), [(1, "1 stays float32"), (2, "2 stay float32")])
def test_products_that_stay_are_counted_in_words_that_agree(
    lepton, two_products: Path, tmp_path: Path, kept: int, text: str
) -> None:
    pattern = "*" if kept == 2 else "last"
    arguments = ("--precision", "mixed", "--keep-fp32", pattern)
    result = lepton("compile", two_products, "-o", tmp_path / "model.so", *arguments)
    assert result.exit_code == 0, result.output
    done = "fp32: 0" if kept == 2 else "mixed: 1"
    assert f"{done} of 2 products; {text}" in result.stdout
    assert f"{done} of 2 products; {text}" in lepton("inspect", tmp_path / "model.so").stdout
    assert read_manifest(tmp_path / "model.so").precision == done.partition(":")[0]


@pytest.mark.parametrize("target", ["amd-zen4", "intel-sapphire-rapids"])
def test_other_targets_are_compiled_and_not_compared(lepton, two_products: Path, tmp_path: Path, target: str) -> None:
    output = tmp_path / "model.so"
    result = lepton("compile", two_products, "-o", output, "--target", target, "--precision", "bf16")
    assert result.exit_code == 0, result.output
    assert "bf16: 2 of 2 products" in result.stdout
    assert ("against the same model in fp32" in result.stdout) != ("not compared with fp32" in result.stderr)
