"""The golden files' option; ``pytest tests/build --update-golden`` writes them anew, to be reviewed as a diff."""

from __future__ import annotations

from pathlib import Path

import pytest
from golden_file import GoldenFile


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing them")


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> GoldenFile:
    """The files in ``golden/``."""
    # Unknown to pytest where the run started in another folder.
    update = request.config.getoption("--update-golden", default=False)
    return GoldenFile(Path(__file__).with_name("golden"), update)
