"""``pyproject.toml`` as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # pyright: ignore[reportMissingImports] (comes with pytest there)

ROOT = Path(__file__).resolve().parents[2]


def project_table() -> dict[str, Any]:
    """Everything in ``pyproject.toml``."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
