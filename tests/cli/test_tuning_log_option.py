"""``--tuning-log`` of the verbs that compile: what is tuned, by which record, and why something is not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from sample_records import record, write_log

from lepton_compiler.core.options import CompileOptions
from lepton_compiler.runtime.artifact_file import read_manifest
from lepton_compiler.targets.registry import get_target, native_target
from lepton_compiler.tuning.knob_values import to_values
from lepton_compiler.tuning.record import Outcome, TunedTarget, TuningRecord
from lepton_compiler.tuning.session import TuningRequest, plan_session
from lepton_compiler.tuning.tasks import TuningTask

KERNEL = "fused_conv2d_add_relu"
OTHER = "x86-64-v2"


def _task(model: Path, target: str) -> TuningTask:
    plan = plan_session(TuningRequest(model, CompileOptions(target), model.parent / "logs"), lambda step: None)
    (task,) = plan.tasks
    return task


def _trial(task: TuningTask, knobs: Any, median_s: float, target: str, **changes: Any) -> TuningRecord:
    fields: dict[str, Any] = {
        "workload": task.workload,
        "anchor": task.anchor,
        "knobs": to_values(knobs),
        "outcome": Outcome.ok(median_s, 1e-9, 15),
        "target": TunedTarget.of(get_target(target)),
    }
    return record(**{**fields, **changes})


@pytest.fixture(scope="module")
def log(tunable_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says that the last candidate is one and a half times as fast as the default, and more of another target."""
    folder = tmp_path_factory.mktemp("logs")
    task, other = _task(tunable_model, "native"), _task(tunable_model, OTHER)
    records = [
        _trial(task, task.default, 3e-6, "native"),
        _trial(task, task.candidates[-1], 2e-6, "native"),
        _trial(task, task.candidates[-2], 1e-9, OTHER),
        _trial(other, other.default, 3e-6, OTHER),
        _trial(other, other.candidates[-1], 1e-6, OTHER),
    ]
    return write_log(folder, records)


@pytest.fixture(scope="module")
def best(tunable_model: Path) -> str:
    """The last candidate's knobs, as schedules say them."""
    return str(_task(tunable_model, "native").candidates[-1])


def compiled(lepton, model: Path, library: Path, *options: object):
    result = lepton("compile", model, "-o", library, *options)
    assert result.exit_code == 0, result.output
    return result


def test_compile_says_what_is_tuned(lepton, tunable_model: Path, log: Path, best: str, tmp_path: Path) -> None:
    library = tmp_path / "model.so"
    result = compiled(lepton, tunable_model, library, "--tuning-log", log)
    kernels = read_manifest(library).kernels
    facts = dict(line.split(None, 1) for line in result.stdout.splitlines())
    assert facts["tuned"] == f"1 of {len(kernels)} kernels, 1.50 times as fast as their defaults, by {log}"
    assert result.stderr == ""
    (kernel,) = [kernel for kernel in kernels if kernel.name == KERNEL]
    assert kernel.tuning is not None
    assert (kernel.tuning.record, kernel.tuning.refusal) == (f"{log}:2", "")
    assert f": {best}" in kernel.schedule
    assert all(kernel.tuning is None for kernel in kernels if kernel.name != KERNEL)
    inspected = lepton("inspect", library).stdout
    assert f"tuned        1 of {len(kernels)} kernels, 1.50 times as fast as their defaults\n" in inspected
    again = lepton("inspect", library, "--why", "/body/conv").stdout
    assert f"tuned by {log}:2, 1.50 times as fast as the default" in again


def test_compile_says_it_as_json(lepton, tunable_model: Path, log: Path, tmp_path: Path) -> None:
    result = compiled(lepton, tunable_model, tmp_path / "model.so", "--tuning-log", log.parent, "--format", "json")
    (tuning,) = json.loads(result.stdout)["tuning"]
    assert tuning == {"kernel": KERNEL, "record": f"{log}:2", "gain": pytest.approx(1.5), "refusal": ""}
    plain = compiled(lepton, tunable_model, tmp_path / "plain.so", "--format", "json")
    assert json.loads(plain.stdout)["tuning"] == []


def test_without_logs_nothing_is_said(lepton, tunable_model: Path, tmp_path: Path) -> None:
    assert "tuned" not in compiled(lepton, tunable_model, tmp_path / "model.so").stdout
    assert "tuned" not in lepton("inspect", tmp_path / "model.so").stdout


def test_a_tuned_model_is_right(lepton, tunable_model: Path, log: Path) -> None:
    pytest.importorskip("onnxruntime")
    result = lepton("compare", tunable_model, "--tuning-log", log)
    assert result.exit_code == 0, result.output


def test_the_same_logs_give_the_same_bytes(lepton, tunable_model: Path, log: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, other = (tmp_path / name / "model.so" for name in ("one", "other"))
    for library in (one, other):
        compiled(lepton, tunable_model, library, "--tuning-log", log)
    assert one.read_bytes() == other.read_bytes()
    compiled(lepton, tunable_model, tmp_path / "model.so")
    assert (tmp_path / "model.so").read_bytes() != one.read_bytes()


def test_inspect_why_names_the_record(lepton, tunable_model: Path, log: Path, best: str) -> None:
    result = lepton("inspect", tunable_model, "--why", "/body/conv", "--tuning-log", log)
    assert result.exit_code == 0, result.output
    assert f"tuned by {log}:2, 1.50 times as fast as the default" in result.stdout
    assert best in result.stdout
    assert "tuned by" not in lepton("inspect", tunable_model, "--why", "/body/conv").stdout


def test_records_of_another_target_are_never_applied(lepton, tunable_model: Path, log: Path, tmp_path: Path) -> None:
    library = tmp_path / "model.so"
    result = compiled(lepton, tunable_model, library, "--tuning-log", log, "--target", "x86-64-v3")
    assert ": no record of these kernels for this target is faster than their defaults" in result.stdout
    untuned = tmp_path / "untuned.so"
    compiled(lepton, tunable_model, untuned, "--target", "x86-64-v3")
    assert [kernel.schedule for kernel in read_manifest(library).kernels] == [
        kernel.schedule for kernel in read_manifest(untuned).kernels
    ]


def test_knobs_that_are_no_candidate_leave_the_default_and_say_so(lepton, tunable_model: Path, tmp_path: Path) -> None:
    task = _task(tunable_model, "native")
    strange = to_values(task.default) | {"chunks": 12345}
    fast = Outcome.ok(1e-6, 1e-9, 15)
    records = [_trial(task, task.default, 3e-6, "native"), _trial(task, task.default, 1, "native", outcome=fast)]
    records[1] = record(**{**_fields(records[1]), "knobs": strange})
    log = write_log(tmp_path, records)
    result = compiled(lepton, tunable_model, tmp_path / "model.so", "--tuning-log", log)
    assert f"tuned    0 of 3 kernels, by {log}; 1 kept the default, such as one not as {log}:2 says: " in result.stdout
    assert "chunks=12345) are no candidate of this version's schedule" in result.stdout
    why = lepton("inspect", tmp_path / "model.so", "--why", "/body/conv").stdout
    assert f"not as {log}:2 says: its knobs" in why
    assert f"scheduled as {task.anchor}: {task.default}" in why


def _fields(entry: TuningRecord) -> dict[str, Any]:
    names = ("workload", "anchor", "outcome", "target")
    return {name: getattr(entry, name) for name in names}


def test_lines_that_are_skipped_are_said(lepton, tunable_model: Path, log: Path, tmp_path: Path) -> None:
    mixed = tmp_path / "mixed.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    mixed.write_bytes(b"damaged\n" + lines[1].replace(b'"1.0"', b'"2.0"', 1) + lines[0] + lines[1])
    result = compiled(lepton, tunable_model, tmp_path / "model.so", "--tuning-log", mixed)
    warnings = result.stderr.splitlines()
    assert len(warnings) == 2
    assert warnings[0].startswith(f"warning: {mixed}:1: ")
    assert warnings[1].startswith(f"warning: {mixed}:2: ")
    assert all(line.endswith("; the line is skipped") for line in warnings)
    assert "tuned    1 of 3 kernels" in result.stdout


@pytest.mark.parametrize("verb", ["compile", "inspect", "benchmark", "profile", "compare"])
def test_logs_that_are_not_there_are_an_error(lepton, tunable_model: Path, tmp_path: Path, verb: str) -> None:
    options = {"compile": ("-o", tmp_path / "model.so"), "inspect": ("--why", "/body/conv")}.get(verb, ())
    result = lepton(verb, tunable_model, *options, "--tuning-log", tmp_path / "nowhere")
    assert result.exit_code == 2
    assert f"{tmp_path}/nowhere does not exist; name a tuning log or a folder of them" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("inspect", "MODEL"), "without --why no pass is run: leave --tuning-log out"),
        (("benchmark", "--suite"), "so that --tuning-log can't be given with it"),
        (("profile", "LIBRARY"), "is compiled already: leave --tuning-log out"),
        (("compare", "LIBRARY", "MODEL"), "is compiled already: leave --tuning-log out"),
    ],
)
def test_logs_that_would_be_ignored_are_refused(
    lepton, tunable_model: Path, fixed_library: Path, log: Path, arguments: tuple[str, ...], message: str
) -> None:
    places = {"MODEL": tunable_model, "LIBRARY": fixed_library}
    result = lepton(*(places.get(word, word) for word in arguments), "--tuning-log", log)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())


def test_native_is_not_the_other_target() -> None:
    assert native_target().name != OTHER
