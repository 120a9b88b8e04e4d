"""What the documentation says by table is what the code says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from file_tables import ROOT, documented_folders, files_with_rows, idea, source_folders, with_fresh_tables
from generated_pages import PAGES

from lepton_compiler.evaluation import resources_report, suite_report
from lepton_compiler.evaluation.marked_tables import MarkedTable

ARCHITECTURE = ROOT / "docs" / "architecture.md"


PERFORMANCE = ROOT / "docs" / "performance.md"
SUITE_RESULTS = ROOT / "docs" / "suite_results.json"
PERFORMANCE_BF16 = ROOT / "docs" / "performance_bf16.md"
SUITE_RESULTS_BF16 = ROOT / "docs" / "suite_results_bf16.json"
TOOLCHAIN = ROOT / "docs" / "toolchain_times.md"
RESOURCES = ROOT / "docs" / "resource_results.json"


def check_or_write(path: Path, fresh: str, update: bool) -> None:
    if update:
        path.write_text(fresh, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == fresh, f"{path.name} is stale: pytest tests/docs --update-docs"


@pytest.mark.parametrize("name", PAGES)
def test_generated_page_is_fresh(name: str, pytestconfig: pytest.Config) -> None:
    check_or_write(ROOT / "docs" / "generated" / name, PAGES[name](), pytestconfig.getoption("update_docs"))


def test_architecture_names_every_file_with_its_idea(pytestconfig: pytest.Config) -> None:
    text = ARCHITECTURE.read_text(encoding="utf-8")
    assert sorted(documented_folders(text)) == source_folders()
    check_or_write(ARCHITECTURE, with_fresh_tables(text), pytestconfig.getoption("update_docs"))


def test_every_source_file_says_what_it_is_for() -> None:
    assert not [path for path in files_with_rows() if not idea(path)]


@pytest.mark.parametrize(
    ("page", "results", "place", "table"),
    [
        (PERFORMANCE, SUITE_RESULTS, suite_report.SUITE_TABLE, suite_report.markdown_table),
        (PERFORMANCE_BF16, SUITE_RESULTS_BF16, suite_report.SUITE_TABLE, suite_report.markdown_table),
        (TOOLCHAIN, RESOURCES, resources_report.RESOURCES, resources_report.markdown_table),
    ],
    ids=["suite", "suite in bf16", "resources"],
)
def test_a_measured_table_is_that_of_the_saved_results(
    page: Path,
    results: Path,
    place: MarkedTable,
    table: Callable[[Mapping[str, Any]], str],
    pytestconfig: pytest.Config,
) -> None:
    if not results.is_file():
        pytest.skip(f"{results.name} is not there: no run is committed yet")
    fresh = place.put(page.read_text(encoding="utf-8"), table(json.loads(results.read_text(encoding="utf-8"))))
    assert fresh is not None, f"{page.name} has lost the markers of its table"
    check_or_write(page, fresh, pytestconfig.getoption("update_docs"))
