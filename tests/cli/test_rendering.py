"""What verbs print, from values of ours."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lepton_compiler.cli.rendering import plain


@dataclass(frozen=True)
class _Result:
    folder: Path
    rates: tuple[float, ...]
    kernels: dict[Any, Any]


def test_results_become_what_json_has() -> None:
    result = _Result(Path("logs"), (1.5, float("inf")), {3: [Path("a")]})
    assert plain(result) == {"folder": "logs", "rates": [1.5, None], "kernels": {"3": ["a"]}}
