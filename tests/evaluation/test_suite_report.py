"""The suite's table in Markdown, from a document as a run saves it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lepton_compiler.core.errors import OutputError
from lepton_compiler.evaluation.marked_tables import END
from lepton_compiler.evaluation.suite_report import (
    SUITE_TABLE,
    markdown_table,
    problems,
    summary_line,
)

TABLE = """\
| model | threads | lepton ms | onnxruntime ms | times as fast as the best peer (p10 - p90) \
| error / range | compile s |
| - | -: | -: | -: | -: | -: | -: |
| ResNet-50 | 1 | 54.00 | 79.25 | 1.47 (1.40 - 1.50) | 5.0e-07 | 31.4 |
| U-Net | 2 | - | - | failed, see below | - | 7.0 |
| MiniLM-L6 | 1 | 54.00 | 79.25 | failed, see below (1.47 (1.40 - 1.50)) | 2.0e-01 | 31.4 |

Ratios are medians of each round's ratio, not ratios of the medians; p10 - p90 is their spread.

* U-Net, 2 threads: killed
* MiniLM-L6, 1 thread: disagrees

Some CPU, 2 cores, load average 0.10 before the start; Linux 6; python 3.11.7, onnxruntime 1.32.0; \
2026-01-31T12:00:00+00:00; batch 1, 20 interleaved rounds, precision fp32.
"""


def row(title: str, **changes: Any) -> dict[str, Any]:
    spread = {"median": 54.0, "p10": 53.0, "p90": 55.0}
    theirs = {"median": 79.25, "p10": 79.0, "p90": 80.0}
    speedup = {"median": 1.47, "p10": 1.4, "p90": 1.5}
    peer = {"name": "onnxruntime", "milliseconds": theirs, "speedup": speedup, "max_error_of_range": 5e-7}
    result = {
        "model": title,
        "title": title,
        "threads": 1,
        "load_average": 0.1,
        "compile_seconds": 31.4,
        "milliseconds": spread,
        "peers": [peer],
        "best_peer": "onnxruntime",
        "speedup": speedup,
        "max_error_of_range": 5e-7,
        "problem": None,
    }
    return result | changes


FAILED = row(
    "U-Net",
    threads=2,
    compile_seconds=7.0,
    milliseconds=None,
    peers=[],
    best_peer=None,
    speedup=None,
    max_error_of_range=None,
    problem="killed",
)
WRONG = row("MiniLM-L6", max_error_of_range=0.2, problem="disagrees")

DOCUMENT = {
    "started": "2026-01-31T12:00:00+00:00",
    "machine": {
        "processor": "Some CPU",
        "cores": 2,
        "load_average": 0.1,
        "system": "Linux 6",
        "versions": {"python": "3.11.7", "onnxruntime": "1.32.0"},
    },
    "batch": 1,
    "precision": "fp32",
    "rounds": 20,
    "peers": {"onnxruntime": "CPU provider"},
    "rows": [row("ResNet-50"), FAILED, WRONG],
}


def test_table_shows_every_row_and_what_failed() -> None:
    assert markdown_table(DOCUMENT) == TABLE
    assert problems(DOCUMENT) == ["U-Net, 2 threads: killed", "MiniLM-L6, 1 thread: disagrees"]


def test_times_without_peers_have_no_ratios_to_explain() -> None:
    assert "Ratios" not in markdown_table(DOCUMENT | {"peers": {}, "rows": []})


def test_progress_says_how_a_row_ended() -> None:
    assert [summary_line(entry) for entry in DOCUMENT["rows"]] == [
        "ResNet-50, 1 thread: 54.00 ms, 1.47 times as fast as onnxruntime",
        "U-Net, 2 threads: failed: killed",
        "MiniLM-L6, 1 thread: 54.00 ms, 1.47 times as fast as onnxruntime; disagrees",
    ]


def test_a_new_file_gets_the_table_between_markers_and_a_second_run_replaces_it(tmp_path: Path) -> None:
    path = tmp_path / "table.md"
    SUITE_TABLE.write(path, markdown_table(DOCUMENT))
    assert path.read_text() == f"{SUITE_TABLE.begin}\n{TABLE}\n{END}\n"
    SUITE_TABLE.write(path, markdown_table(DOCUMENT | {"rows": []}))
    assert "ResNet-50" not in path.read_text()


def test_the_rest_of_a_page_stays(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"# Title\n\n{SUITE_TABLE.begin}old\n{END}\n\nrest\n<!-- end -->\n")
    SUITE_TABLE.write(path, markdown_table(DOCUMENT))
    assert path.read_text() == f"# Title\n\n{SUITE_TABLE.begin}\n{TABLE}\n{END}\n\nrest\n<!-- end -->\n"


def test_a_page_without_markers_is_refused_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "page.md"
    path.write_text("# Title\n")
    for refused in (lambda: SUITE_TABLE.check(path), lambda: SUITE_TABLE.write(path, markdown_table(DOCUMENT))):
        with pytest.raises(OutputError, match=r"page\.md has no place for the table: two lines"):
            refused()
    assert path.read_text() == "# Title\n"
