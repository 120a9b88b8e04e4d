"""Tables between two markers of a Markdown page: written by a run, and checked against its saved document."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lepton_compiler.core.errors import OutputError
from lepton_compiler.core.result_files import write_text

END = "<!-- end -->\n"


@dataclass(frozen=True)
class MarkedTable:
    """The place ``<!-- name -->`` ... ``<!-- end -->`` in a page."""

    name: str

    @property
    def begin(self) -> str:
        """The line before the table."""
        return f"<!-- {self.name} -->\n"

    def put(self, text: str, table: str) -> str | None:
        """``text`` with the table between its markers; None where it has none."""
        place = self._place(text)
        return text[: place.start()] + self._marked(table) + text[place.end() :] if place else None

    def check(self, path: Path) -> None:
        """Refuses a file that has no place for the table, before anything is measured.

        Raises:
            OutputError: The file exists and lacks the two markers, or can't be read.
        """
        if path.exists() and not self._place(_read(path)):
            raise self._no_place(path)

    def write(self, path: Path, table: str) -> None:
        """Puts the table between the markers of ``path``, or into a new file.

        Raises:
            OutputError: The file can't be written, or lacks the markers.
        """
        text = self.put(_read(path), table) if path.exists() else f"{self._marked(table)}\n"
        if text is None:
            raise self._no_place(path)
        write_text(path, text)

    def _marked(self, table: str) -> str:
        return f"{self.begin}\n{table}\n{END}"

    def _place(self, text: str) -> re.Match[str] | None:
        return re.search(f"{re.escape(self.begin)}.*?{re.escape(END)}", text, re.DOTALL)

    def _no_place(self, path: Path) -> OutputError:
        markers = f'two lines "{self.begin.strip()}" and "{END}"'
        return OutputError(f"{path} has no place for the table: {markers}; add them, or name a new file")


def markdown_rows(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a heading that ends in ``>`` is right-aligned."""
    lines = [
        [name.rstrip(">") for name in columns],
        ["-:" if name.endswith(">") else "-" for name in columns],
        *rows,
    ]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise OutputError(f"can't read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise OutputError(
            f"{path} is not a text file (its byte {error.start} is not UTF-8), so the table has no place in it: name a "
            "Markdown page, or a new file"
        ) from error
