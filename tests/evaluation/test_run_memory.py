"""Memory of runs and of compilations, measured from outside."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from small_suite import BROKEN, NOT_TO_BE_HAD, SMALL_RESNET

from lepton_compiler.evaluation.process_memory import mapped_file, process_memory, release_unused, reset_peak
from lepton_compiler.evaluation.resources_report import COLUMNS, markdown_table, row_cells
from lepton_compiler.evaluation.run_memory import RUNNERS
from lepton_compiler.evaluation.suite_resources import measure_resources

BLOCK = 64 << 20


def test_the_peak_is_what_was_held_in_between() -> None:
    release_unused()
    reset_peak()
    before = process_memory()
    block = np.ones(BLOCK, np.uint8)
    held = process_memory()
    del block
    release_unused()
    after = process_memory()
    assert held.anonymous_bytes - before.anonymous_bytes > 0.9 * BLOCK
    assert after.anonymous_bytes - before.anonymous_bytes < 0.5 * BLOCK
    assert after.peak_bytes - before.resident_bytes > 0.9 * BLOCK
    reset_peak()
    assert process_memory().peak_bytes - before.resident_bytes < 0.5 * BLOCK


def test_pages_of_a_mapped_file_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b"\1" * (4 << 20))
    assert mapped_file("/proc/self/smaps", file).resident_bytes == 0
    mapping = np.memmap(file, np.uint8, "c")
    assert mapping.sum() == 4 << 20
    use = mapped_file("/proc/self/smaps", file)
    assert (use.resident_bytes, use.own_bytes) == (4 << 20, 0)
    mapping[: 1 << 20] = 2
    # The first megabyte is a copy of this process's own now.
    assert mapped_file("/proc/self/smaps", file).own_bytes == 1 << 20


def test_rows_of_a_model_and_of_one_that_fails() -> None:
    steps: list[str] = []
    row, broken = measure_resources([SMALL_RESNET, BROKEN], 2, 0, steps.append)
    assert row.problem is None and broken.problem == NOT_TO_BE_HAD
    assert set(row.run_bytes) == set(RUNNERS)
    assert row.run_bytes["lepton"] >= row.arena_bytes > 0
    assert all(0 < size < 64 << 20 for size in row.run_bytes.values())
    assert row.compile_seconds > 0 and row.compile_processor_seconds > 0
    assert 100 << 20 < row.compile_peak_bytes < 4 << 30
    assert row.nodes > 5 and row.kernels[0] >= row.kernels[1]
    assert steps[0].startswith("Small ResNet (1 of 2): compile")


def test_the_table() -> None:
    row = {
        "title": "Net",
        "nodes": 7,
        "parameters_bytes": 3 << 20,
        "kernels": [5, 2],
        "compile_seconds": 1.25,
        "compile_processor_seconds": 2.0,
        "compile_peak_bytes": 300 << 20,
        "arena_bytes": 1 << 19,
        "run_bytes": dict.fromkeys(RUNNERS, 1 << 20),
        "problem": None,
    }
    assert row_cells(row) == ["Net", "7", "3.0", "5, 2", "1.2", "2.0", "300", "0.5", "1.0", "1.0", "1.0"]
    machine = {"processor": "CPU", "cores": 2, "load_average": 0.0, "system": "Linux 6", "versions": {"python": "3"}}
    failed = {"title": "Bad", "problem": "killed"}
    document = {"rows": [row, failed], "machine": machine, "started": "now", "batch": 1}
    table = markdown_table(document)
    assert len(row_cells(failed)) == len(COLUMNS)
    assert "* Bad: killed" in table and table.endswith("3; now; batch 1, one thread.\n")
