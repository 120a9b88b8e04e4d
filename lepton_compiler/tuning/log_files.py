"""Where tuning logs lie: ``<root>/<target>/<model>/*.jsonl``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lepton_compiler.core.errors import TuningLogError

DEFAULT_ROOT = Path("tuning_logs")
SUFFIX = ".jsonl"


def log_folder(root: Path, target: str, model: str) -> Path:
    """The folder of a model's logs; what can't stand in the name of a folder becomes ``_``.

    Raises:
        TuningLogError: Nothing of the model's name is left.
    """
    name = re.sub(r"[^A-Za-z0-9._-]", "_", model).lstrip(".")
    if not name.strip("_"):
        raise TuningLogError(f'the model name "{model}" can\'t name a folder of tuning logs; give it letters or digits')
    return root / target / name


def model_of(log: Path, target: str) -> str:
    """The model that a log is about: the folder below that of its target, or else the file's own name."""
    folders = log.absolute().parent.parts
    return folders[-1] if len(folders) > 1 and folders[-2] == target else log.stem


def find_logs(paths: Iterable[Path]) -> list[Path]:
    """The logs that are named, and those anywhere below the folders that are named, each once and in order.

    Raises:
        TuningLogError: A path does not exist, or there is no log below it.
    """
    found: dict[Path, Path] = {}
    for path in paths:
        for log in _logs_at(path):
            found.setdefault(log.resolve(), log)
    return list(found.values())


def _logs_at(path: Path) -> Iterator[Path]:
    try:
        if path.is_file():
            yield path
            return
        if not path.is_dir():
            what = "is no file or folder" if path.exists() else "does not exist"
            raise TuningLogError(f"{path} {what}; name a tuning log or a folder of them")
        logs = sorted(log for log in path.rglob(f"*{SUFFIX}") if log.is_file())
    except OSError as error:
        raise TuningLogError(f"{path} can't be looked through: {error.strerror or error}") from error
    if not logs:
        raise TuningLogError(f"there is no tuning log (*{SUFFIX}) in {path} or below it")
    yield from logs
