"""Processes that tests look for, wait for, and find gone."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path


def is_alive(process: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        state = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def descendants(process: int) -> list[int]:
    """All processes that stem from one."""
    found: list[int] = []
    waiting = [process]
    while waiting:
        parent = waiting.pop()
        for children in Path(f"/proc/{parent}/task").glob("*/children"):
            try:
                new = [int(child) for child in children.read_text(encoding="utf-8").split()]
            except OSError:
                continue
            found += new
            waiting += new
    return found


def wait_until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Returns once ``condition`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"it did not happen within {seconds:g} seconds"
        time.sleep(0.02)
