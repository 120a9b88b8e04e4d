"""Test folders are no packages: pytest imports their modules by bare names, which have to differ from one another."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path


def test_modules_of_all_test_folders_have_names_of_their_own() -> None:
    modules = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert [name for name, count in Counter(modules).items() if count > 1] == []


def test_nothing_is_imported_from_a_conftest() -> None:
    """Several folders have one, and which of them the name stands for depends on what else is run."""
    modules = Path(__file__).parent.rglob("*.py")
    importing = re.compile(r"^(from|import) conftest\b", re.MULTILINE)
    assert [path.name for path in modules if importing.search(path.read_text(encoding="utf-8"))] == []
