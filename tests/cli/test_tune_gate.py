"""``lepton tune --max-error``: what costs the model too much accuracy is taken back, said, and never compiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.evaluation.accuracy_check import worst_output
from lepton_compiler.evaluation.precision_errors import reference_outputs
from lepton_compiler.tuning.database import Database
from lepton_compiler.tuning.record import Status


def tune(lepton, model: Path, logs: Path, *options: object) -> dict[str, Any]:
    result = lepton("tune", model, "-o", logs, "--trials", 6, "--format", "json", *options)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refused(logs: Path) -> list[str]:
    return [
        found.workload for found in Database.load([logs]).records() if found.outcome.status is Status.INEXACT_IN_MODEL
    ]


@pytest.fixture(scope="module")
def feed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    image = np.random.default_rng(3).standard_normal((1, 32, 28, 28)).astype(np.float32)
    file = tmp_path_factory.mktemp("inputs") / "inputs.npz"
    np.savez(file, image=image)
    return file, {"image": image}


def test_a_tight_limit_takes_choices_back_and_a_loose_one_none(
    lepton, winograd_model: Path, feed: tuple[Path, dict[str, np.ndarray]], tmp_path: Path
) -> None:
    file, inputs = feed
    exact = reference_outputs(winograd_model, CompileOptions(winograd=False), inputs)

    def error_with(logs: Path) -> float:
        tuned = reference_outputs(winograd_model, CompileOptions(tuning_logs=(logs,)), inputs)
        return worst_output(tuned, exact).share

    logs = tmp_path / "logs"
    loose = tune(lepton, winograd_model, logs, "--inputs", file)["accuracy"]
    assert loose["max_error"] == 1e-4
    assert loose["holds"]
    assert loose["refused"] == []
    assert len(loose["kept"]) == 2
    assert refused(logs) == []
    assert loose["after"]["share"] == pytest.approx(error_with(logs))

    limit = loose["after"]["share"] / 2
    tight = tune(lepton, winograd_model, logs, "--inputs", file, "--resume", "--max-error", limit)
    gate = tight["accuracy"]
    assert gate["holds"]
    assert gate["before"]["share"] > limit >= gate["after"]["share"] == pytest.approx(error_with(logs))
    assert gate["refused"]
    assert all(choice["algorithm"].startswith("F(") for choice in gate["refused"])
    assert sorted(refused(logs)) == sorted(choice["workload"] for choice in gate["refused"])
    problems = {task["workload"]: task["problem"] for task in tight["report"]["tasks"]}
    assert all(problems[choice["workload"]] == "not exact enough" for choice in gate["refused"])

    # A later session goes on from there: what was refused is neither tried nor taken again.
    later = lepton(
        "tune", winograd_model, "-o", logs, "--resume", "--trials", 1, "--inputs", file, "--max-error", limit
    )
    assert later.exit_code == 0, later.output
    assert f"(--max-error {limit:g}); " in later.output
    assert "taken back" not in later.output
    assert "not exact enough" in later.output
    assert sorted(refused(logs)) == sorted(choice["workload"] for choice in gate["refused"])
    assert error_with(logs) <= limit


def test_what_can_not_hold_is_said(lepton, winograd_model: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    result = lepton("tune", winograd_model, "-o", logs, "--trials", 1, "--max-error", 1e-12)
    assert result.exit_code == 0, result.output
    text = " ".join(result.stdout.split())
    assert "0 layers take algorithms that change numbers" in text
    assert text.count("taken back for accuracy: F(") == 4
    assert len(refused(logs)) == 4
    exact = lepton("compile", winograd_model, "-o", tmp_path / "m.so", "--tuning-log", logs)
    assert exact.exit_code == 0, exact.output
    why = lepton("inspect", tmp_path / "m.so", "--why", "/b/conv").output
    assert "direct: no Winograd algorithm may be taken" in " ".join(why.split())


def test_without_a_choice_that_changes_numbers_nothing_is_checked(lepton, tunable_model: Path, tmp_path: Path) -> None:
    assert tune(lepton, tunable_model, tmp_path)["accuracy"] is None


def test_without_checks_nothing_is_refused(lepton, winograd_model: Path, tmp_path: Path) -> None:
    assert tune(lepton, winograd_model, tmp_path, "--no-check")["accuracy"] is None
    assert refused(tmp_path) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--max-error", 0), "0.0 is not in the range"),
        (("--max-error", 1e-5, "--no-check"), "leave out the check of the whole model, which uses --max-error"),
        (("--inputs", "x.npz", "--dry-run"), "leave out the check of the whole model, which uses --inputs"),
        (("--inputs", "absent.npz"), "absent.npz"),
    ],
)
def test_what_has_no_effect_or_can_not_be_read_is_refused_at_once(
    lepton, winograd_model: Path, tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    result = lepton("tune", winograd_model, "-o", tmp_path / "logs", *options)
    assert result.exit_code == 2, result.output
    assert message in " ".join(result.stderr.split())
    assert not (tmp_path / "logs").exists()


def test_inputs_that_do_not_fit_are_refused_at_once(lepton, winograd_model: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "wrong.npz", image=np.zeros((1, 3, 28, 28), np.float32))
    result = lepton("tune", winograd_model, "-o", tmp_path / "logs", "--inputs", tmp_path / "wrong.npz")
    assert result.exit_code == 2
    assert "image" in result.stderr
    assert not (tmp_path / "logs").exists()
