"""Generated text beside a committed file of it."""

from __future__ import annotations

from pathlib import Path


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
