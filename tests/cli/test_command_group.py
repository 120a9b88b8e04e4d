"""The group around the verbs: what it imports, its help, and how errors leave it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from lepton_compiler.cli import main as main_module
from lepton_compiler.cli.main import VERBS, main
from lepton_compiler.core.errors import InputError, InternalError, MissingExtraError, RunError

HEAVY = ("tvm", "numpy", "onnx", "rich", "onnxruntime", "openvino", "PIL")


def loaded_modules(*arguments: str) -> set[str]:
    """Top-level modules that ``lepton ARGUMENTS`` has imported when it ends."""
    program = (
        "import sys, atexit; atexit.register(lambda: print(*sorted({m.split('.')[0] for m in sys.modules}),"
        " file=sys.stderr)); sys.argv[0] = 'lepton'; from lepton_compiler.cli.main import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=True)
    return set(done.stderr.split())


@pytest.mark.parametrize(
    "arguments", [("--help",), ("--version",), ("compile", "--help"), ("benchmark", "--help"), ("completion", "zsh")]
)
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    modules = loaded_modules(*arguments)
    assert "click" in modules
    assert not modules.intersection(HEAVY)


def test_listing_targets_needs_no_compiler() -> None:
    assert not loaded_modules("targets").intersection({"tvm", "numpy", "onnx"})


def test_running_and_inspecting_an_artifact_needs_no_compiler(batch_library: Path) -> None:
    for arguments in (("run", "--input-shapes", "image:[1,3,8,8]"), ("inspect",)):
        modules = loaded_modules(*arguments, str(batch_library))
        assert "lepton_compiler" in modules
        assert "tvm" not in modules


def test_every_verb_has_help_with_examples() -> None:
    for verb in VERBS:
        result = CliRunner().invoke(main, [verb, "--help"])
        assert result.exit_code == 0
        assert "Examples:" in result.output, verb
        assert f"lepton {verb}" in result.output


def test_help_lists_every_verb_and_the_exit_codes() -> None:
    result = CliRunner().invoke(main, ["--help"])
    assert [verb for verb in VERBS if f"\n  {verb} " not in result.output] == []
    assert "Exit codes: 0 done; 1" in result.output


def test_unknown_verb_suggests_the_near_one() -> None:
    result = CliRunner().invoke(main, ["complie"])
    assert result.exit_code == 2
    assert 'Did you mean "compile"?' in result.output


@pytest.mark.parametrize("arguments", [["compile"], ["targets", "--nonsense"], ["run", "m.so", "--threads", "0"]])
def test_usage_errors_are_exit_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "Usage: " in result.output


def verb_that_raises(monkeypatch: pytest.MonkeyPatch, error: BaseException, *group_options: str) -> Result:
    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(main_module.VerbGroup, "get_command", lambda self, ctx, name: failing)
    return CliRunner().invoke(main, [*group_options, "targets"], catch_exceptions=False)


def test_user_error_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verb_that_raises(monkeypatch, InputError('input "x" is missing'))
    assert result.exit_code == 2
    assert result.stderr == 'error: input "x" is missing\n'
    assert result.stdout == ""


def test_missing_extra_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verb_that_raises(monkeypatch, MissingExtraError("openvino", "peers", "a benchmark against openvino"))
    assert result.exit_code == 2
    assert "pip install 'lepton-compiler[peers]'" in result.stderr


def test_failed_run_is_exit_code_1(monkeypatch: pytest.MonkeyPatch) -> None:
    assert verb_that_raises(monkeypatch, RunError("out of memory")).exit_code == 1


@pytest.mark.parametrize("error", [InternalError("pass fold-batch-norm failed"), ZeroDivisionError("division by zero")])
def test_faults_of_lepton_are_exit_code_1_and_ask_for_a_report(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    result = verb_that_raises(monkeypatch, error)
    assert result.exit_code == 1
    assert result.stderr.startswith("internal error: ")
    assert str(error) in result.stderr
    assert result.stderr.count("\n") == 1
    assert "report" in result.stderr


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    by_option = verb_that_raises(monkeypatch, InputError("no"), "--debug")
    monkeypatch.setenv("LEPTON_DEBUG", "1")
    by_variable = verb_that_raises(monkeypatch, InputError("no"))
    for result in (by_option, by_variable):
        assert "Traceback (most recent call last)" in result.stderr
        assert result.stderr.endswith("error: no\n")
        assert result.exit_code == 2


def test_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verb_that_raises(monkeypatch, KeyboardInterrupt())
    assert result.exit_code == 130
    assert result.stderr == "interrupted\n"


def test_full_disk_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    result = verb_that_raises(monkeypatch, OSError(28, "No space left on device", "/data/out.npz"))
    assert result.exit_code == 2
    assert result.stderr == "error: can't write /data/out.npz: No space left on device\n"


def test_reader_that_leaves_gets_no_traceback() -> None:
    lepton = [sys.executable, "-c", "from lepton_compiler.cli.main import main; main()", "targets", "--format", "json"]
    reader = subprocess.Popen(["true"], stdin=subprocess.PIPE)
    reader.wait()
    assert reader.stdin is not None
    done = subprocess.run(lepton, stdout=reader.stdin, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 141
    assert done.stderr == ""


def test_full_standard_output_is_reported() -> None:
    lepton = [sys.executable, "-c", "from lepton_compiler.cli.main import main; main()", "targets"]
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(lepton, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert "No space left on device" in done.stderr
