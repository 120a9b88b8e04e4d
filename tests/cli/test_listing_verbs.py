"""``passes``, ``targets``, ``doctor`` and ``completion``."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation import machine_checks
from lepton_compiler.evaluation.machine_checks import Check, Status, check_machine, within_bounds
from lepton_compiler.pipeline import build_pipeline
from lepton_compiler.targets.registry import TARGETS, native_target, runs_here


def test_passes_are_those_of_the_pipeline_in_order(lepton) -> None:
    listed = json.loads(lepton("passes", "--format", "json").stdout)
    plans = build_pipeline(CompileOptions())
    expected = [(p.name(), plan.stage.name, p.required) for plan in plans for p in plan.passes]
    assert [(entry["name"], entry["stage"], entry["required"]) for entry in listed] == expected
    table = lepton("passes").stdout
    assert all(entry["name"] in table for entry in listed)


def test_targets_say_which_run_here(lepton) -> None:
    listed = json.loads(lepton("targets", "--format", "json").stdout)
    assert [entry["name"] for entry in listed] == list(TARGETS)
    assert {e["name"] for e in listed if e["runs_here"]} == {s.name for s in TARGETS.values() if runs_here(s)}
    assert [e["name"] for e in listed if e["native"]] == [native_target().name]


def test_targets_say_which_multiply_bfloat16(lepton) -> None:
    listed = json.loads(lepton("targets", "--format", "json").stdout)
    capable = {spec.name for spec in TARGETS.values() if spec.has_bfloat16_dot}
    assert capable
    assert {entry["name"] for entry in listed if entry["bfloat16_products"]} == capable
    lines = lepton("targets").stdout.splitlines()
    assert "bf16" in lines[0]
    place = lines[0].index("bf16")
    assert {line.split()[0] for line in lines[2:] if line[place:].startswith("yes")} == capable


def test_doctor_finds_this_machine_fit(lepton) -> None:
    result = lepton("doctor", "--format", "json")
    checks = {check["name"]: check for check in json.loads(result.stdout)}
    assert result.exit_code == 0, result.output
    assert checks["apache-tvm"]["status"] == "ok"
    assert checks["zig cc"]["status"] == "ok"
    assert native_target().name in checks["native target"]["detail"]


def only(monkeypatch: pytest.MonkeyPatch, group) -> None:
    monkeypatch.setattr(machine_checks, "_GROUPS", (("group", group),))


def test_doctor_names_the_command_and_fails_where_something_needed_is_missing(
    lepton, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(monkeypatch, lambda: iter([Check("ziglang", Status.FAILED, "not installed", "pip install ziglang")]))
    result = lepton("doctor")
    assert result.exit_code == 1
    assert "pip install ziglang" in result.stdout


def test_missing_peer_is_no_failure(lepton, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, machine_checks._peers)
    monkeypatch.setattr("lepton_compiler.evaluation.runner.Peer.version", lambda self: None)
    result = lepton("doctor")
    assert result.exit_code == 0
    assert "pip install 'lepton-compiler[peers]'" in result.stdout


def test_missing_extras_are_no_failure(lepton, monkeypatch: pytest.MonkeyPatch) -> None:
    only(monkeypatch, machine_checks._extras)
    monkeypatch.setattr("lepton_compiler.core.optional_packages.OptionalPackage.version", lambda self: None)
    result = lepton("doctor")
    assert result.exit_code == 0
    for extra in ("demo", "plot", "tune"):
        assert f"pip install 'lepton-compiler[{extra}]'" in result.stdout


def test_missing_emulator_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    only(monkeypatch, machine_checks._emulators)
    checks = check_machine()
    assert checks
    assert {check.remedy for check in checks} == {"sudo apt-get install qemu-user-static"}


def test_emulators_of_both_packages_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("qemu-aarch64", "qemu-arm-static"):
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    only(monkeypatch, machine_checks._emulators)
    monkeypatch.setattr(machine_checks, "host_architecture", lambda: None)
    assert [(check.name, check.status) for check in check_machine()] == [
        ("qemu-aarch64", Status.OK),
        ("qemu-arm-static", Status.OK),
    ]


def test_wrong_version_of_a_pinned_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks.importlib.metadata, "requires", lambda name: ["click==0.0.1", "x; extra == 'y'"])
    only(monkeypatch, machine_checks._packages)
    (check,) = check_machine()
    assert check.status is Status.FAILED
    assert check.remedy == "pip install 'click==0.0.1'"


@pytest.mark.parametrize(
    ("version", "bounds", "fits"),
    [
        ("1.23.2", ">=1.17,<2", True),
        ("1.9", ">=1.17,<2", False),
        ("2.0.0", ">=1.17,<2", False),
        ("0.1.14.post1", "==0.1.14.post1", True),
        ("0.1.15.post2", "==0.1.14.post1", False),
        ("3.0", "<=3", True),
        ("3.0.1", ">3", True),
    ],
)
def test_version_bounds(version: str, bounds: str, fits: bool) -> None:
    assert within_bounds(version, bounds) is fits


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_names_the_program(lepton, shell: str) -> None:
    script = lepton("completion", shell).stdout
    assert "_LEPTON_COMPLETE" in script
    assert "lepton" in script


def test_bash_accepts_the_completion_script(lepton) -> None:
    done = subprocess.run(["bash", "-n"], input=lepton("completion", "bash").stdout, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [("lepton comp", "plain,compile"), ("lepton compile m.onnx --target arm-cortex-a7", "plain,arm-cortex-a72")],
)
def test_completion_completes_verbs_and_targets(words: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from lepton_compiler.cli.main import main

    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    from click.shell_completion import BashComplete

    lines = BashComplete(main, {}, "lepton", "_LEPTON_COMPLETE").complete().splitlines()
    assert expected in lines
