"""Tables of what models take, from the document that ``lepton benchmark --suite --resources`` saves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lepton_compiler.evaluation.marked_tables import MarkedTable, markdown_rows
from lepton_compiler.evaluation.run_memory import RUNNERS
from lepton_compiler.evaluation.suite_report import machine_text

RESOURCES = MarkedTable("resources")

COLUMNS = (
    "model",
    "nodes>",
    "initializers MiB>",
    "kernels, in place>",
    "compile s>",
    "processor s>",
    "compile MiB>",
    "arena MiB>",
    *(f"{name}: run MiB>" for name in RUNNERS),
)

Document = Mapping[str, Any]


def row_cells(row: Mapping[str, Any]) -> list[str]:
    """Texts of one row."""
    if row["problem"] is not None:
        return [row["title"], *["-"] * (len(COLUMNS) - 2), "failed, see below"]
    calls, in_place = row["kernels"]
    return [
        row["title"],
        str(row["nodes"]),
        _mib(row["parameters_bytes"]),
        f"{calls}, {in_place}",
        f"{row['compile_seconds']:.1f}",
        f"{row['compile_processor_seconds']:.1f}",
        f"{row['compile_peak_bytes'] / 2**20:.0f}",
        _mib(row["arena_bytes"]),
        *(_mib(row["run_bytes"][name]) for name in RUNNERS),
    ]


def problems(document: Document) -> list[str]:
    """One sentence for each row that failed."""
    return [f"{row['title']}: {row['problem']}" for row in document["rows"] if row["problem"] is not None]


def conditions(document: Document) -> str:
    """The machine, the versions and the settings, in one sentence."""
    return f"{machine_text(document)}; {document['started']}; batch {document['batch']}, one thread"


def markdown_table(document: Document) -> str:
    """The table, what failed, and the conditions, as Markdown."""
    table = markdown_rows(COLUMNS, [row_cells(row) for row in document["rows"]])
    failed = "\n".join(f"* {problem}" for problem in problems(document))
    return "\n\n".join(part for part in (table, failed, f"{conditions(document)}.") if part) + "\n"


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}"
