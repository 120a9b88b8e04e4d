"""Test folders are no packages: pytest imports their modules by bare names, which have to differ from one another."""

from __future__ import annotations

from collections import Counter
from pathlib import Path


def test_modules_of_all_test_folders_have_names_of_their_own() -> None:
    modules = [path.name for path in Path(__file__).parent.rglob("*.py") if path.name != "conftest.py"]
    assert [name for name, count in Counter(modules).items() if count > 1] == []
