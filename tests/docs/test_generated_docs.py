"""What the documentation says by table is what the code says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from file_tables import ROOT, documented_folders, files_with_rows, idea, source_folders, with_fresh_tables
from generated_pages import PAGES

from lepton_compiler.evaluation.suite_report import with_table

ARCHITECTURE = ROOT / "docs" / "architecture.md"


PERFORMANCE = ROOT / "docs" / "performance.md"
SUITE_RESULTS = ROOT / "docs" / "suite_results.json"


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


def test_the_table_of_the_suite_is_that_of_the_saved_results(pytestconfig: pytest.Config) -> None:
    if not SUITE_RESULTS.is_file():
        pytest.skip("docs/suite_results.json is not there: no run of the suite is committed yet")
    fresh = with_table(PERFORMANCE.read_text(encoding="utf-8"), json.loads(SUITE_RESULTS.read_text(encoding="utf-8")))
    assert fresh is not None, "docs/performance.md has lost the markers of its table"
    check_or_write(PERFORMANCE, fresh, pytestconfig.getoption("update_docs"))
