"""The golden files' option; ``pytest tests/build --update-golden`` writes them anew, to be reviewed as a diff."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-golden", action="store_true", help="write golden files anew instead of comparing them")


class GoldenFile:
    """Compares text with a committed file.

    Args:
        folder: Where golden files lie.
        update: Whether to write instead.
    """

    def __init__(self, folder: Path, update: bool) -> None:
        self._folder = folder
        self._update = update

    def check(self, name: str, text: str) -> None:
        """Fails where ``text`` differs from the file ``name``."""
        path = self._folder / name
        if self._update:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text, encoding="utf-8")
        assert text == path.read_text(encoding="utf-8"), f"{name} differs; pytest tests/build --update-golden writes it"


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> GoldenFile:
    """The files in ``golden/``."""
    # Unknown to pytest where the run started in another folder.
    update = request.config.getoption("--update-golden", default=False)
    return GoldenFile(Path(__file__).with_name("golden"), update)
