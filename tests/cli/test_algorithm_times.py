"""Algorithms of layers: tasks of their own in ``lepton tune``, and chosen by their times in ``lepton compile``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_records import record, write_log

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.runtime.artifact_file import read_manifest
from lepton_compiler.targets.registry import get_target
from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.record import Outcome, Status, TunedTarget, TuningRecord
from lepton_compiler.tuning.session import Plan, TuningRequest, plan_session
from lepton_compiler.tuning.tasks import TuningTask

DIRECT, F2, F4 = "direct", "F(2x2, 3x3)", "F(4x4, 3x3)"
TARGET = "x86-64-v3"
LATER = "2026-02-01T00:00:00Z"


def plan_of(model: Path, logs: Path, *tasks: str, **options: Any) -> Plan:
    request = TuningRequest(model, CompileOptions(target=TARGET, **options), logs, only=tasks)
    return plan_session(request, lambda step: None)


@pytest.fixture(scope="module")
def plan(winograd_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return plan_of(winograd_model, tmp_path_factory.mktemp("logs") / "none")


def tasks_of_second(plan: Plan) -> dict[str | None, TuningTask]:
    """Those of the layer with most work, by algorithm."""
    layer = plan.tasks[0].layer
    return {task.algorithm: task for task in plan.tasks if task.layer == layer}


def trial(task: TuningTask, microseconds: float, **changes: Any) -> TuningRecord:
    fields: dict[str, Any] = {
        "workload": task.workload,
        "anchor": task.anchor,
        "knobs": to_values(task.default),
        "outcome": Outcome.ok(microseconds * 1e-6, 1e-9, 15),
        "target": TunedTarget.of(get_target(TARGET)),
    }
    return record(**{**fields, **changes})


def test_every_algorithm_of_a_layer_is_a_task(plan: Plan) -> None:
    assert len(plan.tasks) == 6
    for task in plan.tasks:
        assert task.layer.index(task.workload) == [DIRECT, F2, F4].index(task.algorithm or "")
        assert task.anchor == ("packed_convolution" if task.algorithm == DIRECT else "winograd")
        assert task.is_called == (task.algorithm == F4)
    second = tasks_of_second(plan)
    assert set(second) == {DIRECT, F2, F4}
    assert second[DIRECT].names == (f"{second[F4].names[0]} as direct",)
    assert second[DIRECT].stands_for == second[F4].names
    assert len({task.workload for task in plan.tasks}) == 6


@pytest.mark.parametrize(
    ("options", "algorithms"),
    [({"max_winograd_error": 1e-6}, {DIRECT, F2}), ({"winograd": False}, {None})],
)
def test_what_is_not_allowed_is_no_task(
    winograd_model: Path, tmp_path: Path, options: dict[str, Any], algorithms: set[str | None]
) -> None:
    assert {task.algorithm for task in plan_of(winograd_model, tmp_path / "none", **options).tasks} == algorithms


def test_patterns_choose_among_algorithms(winograd_model: Path, plan: Plan, tmp_path: Path) -> None:
    found = plan_of(winograd_model, tmp_path / "none", "* as direct").tasks
    assert [task.algorithm for task in found] == [DIRECT, DIRECT]


def compiled(lepton, model: Path, log: Path, folder: Path, *options: object) -> tuple[Path, list[str]]:
    """The library, and what stands behind the second layer's node."""
    library = folder / "model.so"
    result = lepton("compile", model, "-o", library, "--target", TARGET, "--tuning-log", log, "--force", *options)
    assert result.exit_code == 0, result.output
    (entry,) = [found for found in read_manifest(library).passes if found.name == "pack-activations"]
    return library, [words for node, words in (*entry.rewrites, *entry.declines) if node.startswith("/b/conv")]


@pytest.mark.parametrize(
    ("times", "kernel", "words"),
    [
        ({DIRECT: 50, F2: 60, F4: 70}, "fused_conv2d", "direct: measured 50.0 us ({log}:1), F(2x2, 3x3) 60.0 us"),
        ({DIRECT: 90, F2: 60, F4: 70}, "fused_winograd2", "Winograd F(2x2, 3x3): measured 60.0 us ({log}:2), direct"),
        ({DIRECT: 50}, "fused_winograd4", "Winograd F(4x4, 3x3): estimated 0."),
    ],
)
def test_measured_times_choose(
    lepton, winograd_model: Path, plan: Plan, tmp_path: Path, times: dict[str, float], kernel: str, words: str
) -> None:
    tasks = tasks_of_second(plan)
    log = write_log(tmp_path, [trial(tasks[name], time) for name, time in times.items()])
    library, sentences = compiled(lepton, winograd_model, log, tmp_path)
    assert any(sentence.startswith(words.format(log=log)) for sentence in sentences), sentences
    by_nodes = {entry.nodes: entry.name for entry in read_manifest(library).kernels}
    assert by_nodes["/b/conv+/b/relu"].startswith(kernel)
    assert by_nodes["/a/conv+/a/relu"].startswith("fused_winograd4"), "of the other layer nothing is known"
    why = lepton("inspect", library, "--why", "/b/conv")
    assert words.split(":", maxsplit=1)[0] in why.output
    again, _ = compiled(lepton, winograd_model, log, tmp_path)
    assert again.read_bytes() == library.read_bytes()


def test_a_profile_says_the_times(lepton, winograd_model: Path, plan: Plan, tmp_path: Path) -> None:
    tasks = tasks_of_second(plan)
    log = write_log(tmp_path, [trial(tasks[DIRECT], 50), trial(tasks[F4], 70)])
    library, _ = compiled(lepton, winograd_model, log, tmp_path)
    result = lepton("profile", library, "--runs", 1, "--format", "json")
    assert f"direct: measured 50.0 us ({log}:1), F(4x4, 3x3) 70.0 us ({log}:2)" in result.stdout


def test_records_of_another_target_choose_nothing(lepton, winograd_model: Path, plan: Plan, tmp_path: Path) -> None:
    tasks = tasks_of_second(plan)
    other = {"target": TunedTarget.of(get_target("x86-64-v2"))}
    log = write_log(tmp_path, [trial(tasks[DIRECT], 50, **other), trial(tasks[F4], 70, **other)])
    _, sentences = compiled(lepton, winograd_model, log, tmp_path)
    assert any("estimated 0." in sentence for sentence in sentences)


def test_what_was_not_exact_enough_is_not_chosen(lepton, winograd_model: Path, plan: Plan, tmp_path: Path) -> None:
    tasks = tasks_of_second(plan)
    inexact = Outcome.failed(Status.INEXACT_IN_MODEL, "output y of m was off by 2.0e-04 of its range, 0.0001 allowed")
    log = write_log(
        tmp_path, [trial(tasks[DIRECT], 90), trial(tasks[F4], 30), trial(tasks[F4], 30, outcome=inexact, time=LATER)]
    )
    library, sentences = compiled(lepton, winograd_model, log, tmp_path)
    words = f"; not F(4x4, 3x3): output y of m was off by 2.0e-04 of its range, 0.0001 allowed ({log}:3)"
    assert any(sentence.endswith(words) for sentence in sentences), sentences
    assert not any(entry.name.startswith("fused_winograd4") for entry in read_manifest(library).kernels[2:])


def test_a_dry_run_shows_the_algorithms(lepton, winograd_model: Path, tmp_path: Path) -> None:
    result = lepton("tune", winograd_model, "-o", tmp_path / "logs", "--dry-run", "--format", "json")
    kernels = json.loads(result.stdout)["kernels"]
    assert [kernel["algorithm"] for kernel in kernels if not kernel["stands_for"]] == [F4, F4]
    assert sorted(kernel["algorithm"] for kernel in kernels if kernel["stands_for"]) == [F2, F2, DIRECT, DIRECT]
