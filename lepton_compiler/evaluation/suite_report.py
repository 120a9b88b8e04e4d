"""What a run of the suite says: one document for programs, one table for people, both made from the same rows.

The table is rendered from the document as JSON has it, so that a saved run can be shown again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lepton_compiler.core.result_files import write_text
from lepton_compiler.evaluation.interleaved_timing import RATIO_NOTE
from lepton_compiler.evaluation.marked_tables import MarkedTable, markdown_rows

SUITE_TABLE = MarkedTable("suite")
"""Its place in a Markdown file."""

_LAST_COLUMNS = ("times as fast as the best peer (p10 - p90)>", "error / range>", "compile s>")

Document = Mapping[str, Any]


def column_names(document: Document) -> list[str]:
    """Headings of the table; one that ends in ``>`` is right-aligned."""
    peers = [f"{name} ms>" for name in document["peers"]]
    return ["model", "threads>", "lepton ms>", *peers, *_LAST_COLUMNS]


def row_cells(row: Mapping[str, Any], peers: Sequence[str]) -> list[str]:
    """Texts of one row, a problem in the place of what is missing because of it."""
    median = {entry["name"]: f"{entry['milliseconds']['median']:.2f}" for entry in row["peers"]}
    ours = row["milliseconds"]
    speedup = "-" if row["speedup"] is None else _speedup_text(row["speedup"])
    return [
        row["title"],
        str(row["threads"]),
        "-" if ours is None else f"{ours['median']:.2f}",
        *(median.get(name, "-") for name in peers),
        speedup if row["problem"] is None else f"failed, see below ({speedup})" if ours else "failed, see below",
        "-" if row["max_error_of_range"] is None else f"{row['max_error_of_range']:.1e}",
        "-" if row["compile_seconds"] is None else f"{row['compile_seconds']:.1f}",
    ]


def problems(document: Document) -> list[str]:
    """One sentence for each row that failed."""
    return [
        f"{row['title']}, {_threads_text(row['threads'])}: {row['problem']}"
        for row in document["rows"]
        if row["problem"] is not None
    ]


def ratio_notes(document: Document) -> list[str]:
    """How to read the table's ratios; nothing where it has none."""
    return [RATIO_NOTE] if document["peers"] else []


def conditions(document: Document) -> str:
    """The machine, the versions and the settings, in one sentence."""
    return (
        f"{machine_text(document)}; {document['started']}; {batch_text(document)}, "
        f"{document['rounds']} interleaved rounds, precision {document['precision']}"
    )


def machine_text(document: Document) -> str:
    """The machine and the versions."""
    machine = document["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in machine["versions"].items())
    return (
        f"{machine['processor']}, {machine['cores']} cores, load average {machine['load_average']:.2f} before "
        f"the start; {machine['system']}; {versions}"
    )


def batch_text(document: Document) -> str:
    """The size of a batch, and whether libraries were compiled for it or for any."""
    return f"batch {document['batch']}{' of a symbolic one' if document.get('symbolic_batch') else ''}"


def summary_line(row: Mapping[str, Any]) -> str:
    """One finished row as a line of progress."""
    start = f"{row['title']}, {_threads_text(row['threads'])}: "
    if row["milliseconds"] is None:
        return f"{start}failed: {row['problem']}"
    text = f"{start}{row['milliseconds']['median']:.2f} ms"
    if row["speedup"] is not None:
        text += f", {row['speedup']['median']:.2f} times as fast as {row['best_peer']}"
    return text if row["problem"] is None else f"{text}; {row['problem']}"


def markdown_table(document: Document) -> str:
    """The table, what failed, and the conditions, as Markdown."""
    peers = list(document["peers"])
    table = markdown_rows(column_names(document), [row_cells(row, peers) for row in document["rows"]])
    failed = [f"* {problem}" for problem in problems(document)]
    parts = [table, *ratio_notes(document), "\n".join(failed), f"{conditions(document)}."]
    return "\n\n".join(part for part in parts if part) + "\n"


def write_json(path: Path, document: Document) -> None:
    """Writes the document.

    Raises:
        OutputError: The file can't be written.
    """
    write_text(path, json.dumps(document, indent=2, ensure_ascii=False) + "\n")


def _speedup_text(speedup: Mapping[str, float]) -> str:
    return f"{speedup['median']:.2f} ({speedup['p10']:.2f} - {speedup['p90']:.2f})"


def _threads_text(threads: int) -> str:
    return f"{threads} thread{'s' if threads > 1 else ''}"
