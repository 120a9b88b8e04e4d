"""The file tables in ``docs/architecture.md``: between two markers, every file of a folder with its one idea.

A table starts at ``<!-- files: FOLDER -->`` and ends at ``<!-- end -->``. A file's idea is the first line of its module
docstring, or of the first comment in C.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_TABLE = re.compile(r"(<!-- files: (?P<folder>\S+) -->\n).*?(<!-- end -->)", re.DOTALL)
_SOURCE_SUFFIXES = (".py", ".c", ".h")


def with_fresh_tables(text: str) -> str:
    """``text`` with every table made anew from the files."""
    return _TABLE.sub(lambda match: match[1] + _table(ROOT / match["folder"]) + match[3], text)


def documented_folders(text: str) -> list[Path]:
    """The folders that have a table, in order."""
    return [ROOT / match["folder"] for match in _TABLE.finditer(text)]


def source_folders() -> list[Path]:
    """Every folder of the product with a source file that gets a row."""
    tops = [ROOT / top for top in ("lepton_compiler", "passes", "targets")]
    folders = {path.parent for top in tops for path in top.rglob("*") if path.suffix in _SOURCE_SUFFIXES}
    return sorted(folder for folder in folders if _source_files(folder))


def files_with_rows() -> list[Path]:
    """Every source file that gets a row."""
    return [path for folder in source_folders() for path in _source_files(folder)]


def idea(path: Path) -> str:
    """What the file is for, in its own words."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        return (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0].replace("\n", " ")
    comment = re.match(r"/\*(.*?)\*/", text, re.DOTALL)
    lines = [line.strip(" *") for line in comment[1].strip().splitlines()] if comment else []
    return re.split(r"(?<=\.)\s|  ", " ".join(lines).strip(), maxsplit=1)[0]


def _source_files(folder: Path) -> list[Path]:
    """The files that get a row: a C file that a header of its own announces stands in the header's."""
    files = [path for path in folder.iterdir() if path.suffix in _SOURCE_SUFFIXES and path.is_file()]
    headers = {path.stem for path in files if path.suffix == ".h"}
    rows = [path for path in files if not (path.suffix == ".c" and path.stem in headers)]
    return sorted(path for path in rows if path.name != "__init__.py" or idea(path))


def _table(folder: Path) -> str:
    rows = [f"| {_names(path)} | {_cell(idea(path))} |\n" for path in _source_files(folder)]
    return "".join(["| file | its one idea |\n", "| - | - |\n", *rows])


def _names(path: Path) -> str:
    body = path.with_suffix(".c")
    return f"`{path.name}`, `{body.name}`" if path.suffix == ".h" and body.is_file() else f"`{path.name}`"


def _cell(text: str) -> str:
    return text.replace("``", "`").replace("|", "\\|")
