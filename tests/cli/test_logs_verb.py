"""``lepton logs``: what each of its verbs prints, writes and refuses."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from sample_records import BOARD, RECORD, V4, record, write_log, wrong
from test_command_group import loaded_modules

from lepton_compiler.cli.log_tables import seconds_text
from lepton_compiler.cli.logs import command
from lepton_compiler.tuning.log_writer import LogWriter

SUBCOMMANDS = ("list", "show", "best", "merge", "prune", "verify", "export")


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder ``tuning_logs`` in the current one: two targets, five right trials and a wrong one, a torn line."""
    monkeypatch.chdir(tmp_path)
    root = Path("tuning_logs")
    write_log(root / "x86-64-v3" / "resnet50", [*(record(i * 1e-4, i) for i in (3, 1, 2)), wrong(9)])
    log = write_log(root / "x86-64-v4" / "vit", [record(i * 1e-5, i, target=V4, device=BOARD) for i in (1, 2)])
    with log.open("ab") as file:
        file.write(b'{"format": "1')
    return root


def document(lepton, *arguments: object):
    result = lepton("logs", *arguments, "--format", "json")
    assert result.exit_code in (0, 1), result.output
    return json.loads(result.stdout)


def test_every_subcommand_has_help_with_examples(lepton) -> None:
    assert set(command.commands) == set(SUBCOMMANDS)
    for name in SUBCOMMANDS:
        text = lepton("logs", name, "--help").stdout
        assert f"Examples:\n    lepton logs {name}" in text, name


def test_reading_logs_needs_no_compiler(logs: Path) -> None:
    for arguments in (("list",), ("show",), ("best",), ("export",), ("merge", "tuning_logs", "-o", "m", "--all")):
        modules = loaded_modules("logs", *arguments)
        assert "lepton_compiler" in modules
        assert not modules & {"tvm", "numpy", "onnx"}


def test_list(lepton, logs: Path) -> None:
    listed = document(lepton, "list")
    assert [(e["target"], e["model"], e["kernels"], e["records"], e["ok"]) for e in listed] == [
        ("x86-64-v3", "resnet50", 1, 4, 3),
        ("x86-64-v4", "vit", 1, 2, 2),
    ]
    assert listed[0]["bytes"] == (logs / "x86-64-v3/resnet50/records.jsonl").stat().st_size
    result = lepton("logs", "list")
    assert "resnet50" in result.stdout
    assert f"warning: {logs}/x86-64-v4/vit/records.jsonl:3: the last line is torn" in result.stderr


def test_show(lepton, logs: Path) -> None:
    assert [entry["line"] for entry in document(lepton, "show")] == [1, 2, 3, 4, 1, 2]
    (only,) = document(lepton, "show", "--status", "wrong_result")
    assert only["record"]["outcome"] == {"status": "wrong_result", "reason": "12 of 64 elements differ"}
    assert only["log"] == f"{logs}/x86-64-v3/resnet50/records.jsonl"
    result = lepton("logs", "show", "--limit", 2)
    assert "4 earlier records are not shown" in result.stderr
    assert "20.0 us" in result.stdout
    assert "resnet50" not in result.stdout


def test_filters(lepton, logs: Path) -> None:
    assert len(document(lepton, "show", "--target", "x86-64-v4")) == 2
    assert len(document(lepton, "show", "--workload", "w1-0123", "--anchor", "packed_convolution")) == 6
    for arguments, message in (
        (("--target", "x86-64-v9"), 'no record has --target "x86-64-v9"; there are: x86-64-v3, x86-64-v4'),
        (("--anchor", "matmul"), 'no record has --anchor "matmul"; there are: packed_convolution'),
        (("--workload", "w1-9"), 'no record has a workload key that begins with "w1-9"'),
    ):
        result = lepton("logs", "show", *arguments)
        assert result.exit_code == 2
        assert result.stderr == f"error: {message}\n"


def test_best(lepton, logs: Path) -> None:
    found = document(lepton, "best")
    assert [(e["target"]["name"], e["trials"], e["best"][0]["record"]["knobs"]["chunks"]) for e in found] == [
        ("x86-64-v3", 4, 1),
        ("x86-64-v4", 2, 1),
    ]
    (v3,) = document(lepton, "best", "--target", "x86-64-v3", "--top", 5)
    assert [entry["record"]["knobs"]["chunks"] for entry in v3["best"]] == [1, 2, 3]
    assert "100.0 us" in lepton("logs", "best").stdout


def test_best_says_which_kernels_have_none(lepton, tmp_path: Path) -> None:
    log = write_log(tmp_path, [wrong(1)])
    assert "1 kernels have no right candidate" in lepton("logs", "best", log).stderr


def test_merge(lepton, logs: Path, tmp_path: Path) -> None:
    merged = tmp_path / "merged"
    first = document(lepton, "merge", logs, "-o", merged)
    assert first["read"] == 6
    assert sorted(first["written"].values()) == [1, 2]
    assert len(first["problems"]) == 1
    result = lepton("logs", "merge", logs, "-o", merged)
    assert result.stdout == f"{merged} has it all already: 6 records read, none appended\n"
    assert sorted(document(lepton, "merge", logs, "-o", tmp_path / "all", "--all")["written"].values()) == [2, 4]
    both = lepton("logs", "merge", logs, "-o", merged, "--all", "--keep", 2)
    assert both.exit_code == 2
    assert "--keep has no effect with --all" in both.stderr


def test_prune(lepton, logs: Path) -> None:
    before = (logs / "x86-64-v3/resnet50/records.jsonl").read_bytes()
    assert lepton("logs", "prune", logs, "--dry-run").stdout == "3 records would go, 3 records stay\n"
    assert (logs / "x86-64-v3/resnet50/records.jsonl").read_bytes() == before
    pruned = document(lepton, "prune", logs, "--damaged")
    assert (pruned["dropped"], pruned["kept"], pruned["damaged"]) == (3, 3, 1)
    assert lepton("logs", "verify").exit_code == 0
    assert lepton("logs", "prune").exit_code == 2, "what is pruned must be named"


def test_a_log_that_is_being_written_is_not_pruned(lepton, logs: Path) -> None:
    with LogWriter(logs / "x86-64-v3" / "resnet50"):
        result = lepton("logs", "prune", logs)
    assert result.exit_code == 2
    assert "is being written by another process; wait until that is done" in result.stderr


def test_verify(lepton, logs: Path) -> None:
    result = lepton("logs", "verify")
    assert result.exit_code == 1
    assert result.stdout.endswith("2 files, 6 good records, 1 torn\n")
    (problem,) = document(lepton, "verify")["problems"]
    assert (problem["kind"], problem["line"]) == ("torn", 3)
    good = lepton("logs", "verify", logs / "x86-64-v3")
    assert (good.exit_code, good.stdout) == (0, "1 files, 4 good records, no problem\n")


def test_verify_checks_knobs_where_it_is_asked_to(lepton, tmp_path: Path) -> None:
    log = write_log(tmp_path, [record(), record(anchor="fourier"), record(anchor="winograd")])
    assert lepton("logs", "verify", log).exit_code == 0
    result = lepton("logs", "verify", log, "--knobs")
    assert result.exit_code == 1
    assert 'no schedule with knobs for "fourier"' in result.stdout
    assert "1 good records, 2 knobs" in result.stdout


def test_many_problems_are_summed_up(lepton, tmp_path: Path) -> None:
    log = tmp_path / "records.jsonl"
    log.write_bytes(b"damaged\n" * 9)
    result = lepton("logs", "list", log)
    assert result.stderr.count("warning: ") == 6
    assert "4 more lines are skipped; `lepton logs verify` lists them" in result.stderr


def test_export_csv(lepton, logs: Path, tmp_path: Path) -> None:
    result = lepton("logs", "export", "-o", "trials.csv")
    assert result.stdout == "trials.csv: 6 records\n"
    rows = list(csv.DictReader(io.StringIO(Path("trials.csv").read_text(encoding="utf-8"))))
    assert len(rows) == 6
    assert json.loads(rows[0]["knobs"]) == {**RECORD.knobs, "chunks": 3}
    assert float(rows[0]["median_s"]) == 3 * 1e-4
    assert rows[0]["cpu_features"] == "avx2 fma"
    assert (rows[3]["status"], rows[3]["median_s"], rows[3]["reason"]) == (
        "wrong_result",
        "",
        "12 of 64 elements differ",
    )
    assert "exists; give --force" in lepton("logs", "export", "-o", "trials.csv").stderr
    assert lepton("logs", "export", "-o", "trials.csv", "--force", "--target", "x86-64-v4").exit_code == 0
    assert len(Path("trials.csv").read_text(encoding="utf-8").splitlines()) == 3


def test_export_json(lepton, logs: Path) -> None:
    shown = json.loads(lepton("logs", "export").stdout)
    assert [entry["line"] for entry in shown] == [1, 2, 3, 4, 1, 2]
    lepton("logs", "export", "-o", "trials.json")
    assert json.loads(Path("trials.json").read_text(encoding="utf-8")) == shown
    assert lepton("logs", "export", "--format", "csv").stdout.startswith("target,cpu_features,workload,")
    assert lepton("logs", "export", "--force").exit_code == 2


@pytest.mark.parametrize("verb", ["list", "show", "best", "verify", "export"])
def test_no_logs_are_an_error(lepton, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    monkeypatch.chdir(tmp_path)
    result = lepton("logs", verb)
    assert result.exit_code == 2
    assert result.stderr == "error: tuning_logs does not exist; name a tuning log or a folder of them\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(3.25e-8, "32.5 ns"), (1.25e-4, "125.0 us"), (0.0025, "2.5 ms"), (1.0, "1.0 s"), (0.0, "0.0 ns")],
)
def test_times_have_a_unit(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text
