"""Files that verbs write: checked before the work that leads to them, and complete when they appear."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from lepton_compiler.core.errors import OutputError


def check_writable(path: Path, *, force: bool) -> None:
    """Refuses a result path before the work that leads to it is done.

    Raises:
        OutputError: The folder is missing or not writable, or the file exists and ``force`` is not given.
    """
    folder = path.parent
    if not folder.is_dir():
        raise OutputError(f"can't write {path}: there is no folder {folder}; create it first")
    if path.is_dir():
        raise OutputError(f"can't write {path}: it is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise OutputError(f"can't write {path}: it is no regular file; name another one")
    if path.exists() and not force:
        raise OutputError(f"{path} exists; give --force to overwrite it")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise OutputError(f"can't write {path}: folder {folder} is not writable")


@contextmanager
def complete_file(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which appears at ``path`` when the block ends, and not at all if it fails.

    Raises:
        OutputError: The file can't be written, for one because the disk is full.
    """
    temporary: Path | None = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = Path(file.name)
            yield file
        _take_ordinary_permissions(temporary)
        temporary.replace(path)
        temporary = None
    except OSError as error:
        raise OutputError(f"can't write {path}: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Writes a text file, which appears at ``path`` complete or not at all.

    Raises:
        OutputError: The file can't be written.
    """
    with complete_file(path) as file:
        file.write(text.encode("utf-8"))


def _take_ordinary_permissions(path: Path) -> None:
    """A temporary file is private to its owner; a result has the permissions that the user's umask gives."""
    mask = os.umask(0)
    os.umask(mask)
    path.chmod(0o666 & ~mask)
