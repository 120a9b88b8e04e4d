"""Pictures as files: the same bytes every time that the same is drawn."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, PALE, GRID = "#30343b", "#9aa0a6", "#e4e6e9"
"""Colours of what is not data."""


def png_file(figure: Figure) -> bytes:
    """The picture as a PNG file."""
    return _rendered(figure, "png", {"Software": None})


def svg_element(figure: Figure) -> str:
    """The picture as an ``svg`` element, for a page."""
    text = _rendered(figure, "svg", {"Date": None, "Creator": None}).decode()
    return text[text.index("<svg") :]


def _rendered(figure: Figure, kind: str, metadata: dict[str, Any]) -> bytes:
    import matplotlib as mpl

    file = io.BytesIO()
    # Identifiers in SVG files are random without a salt.
    with mpl.rc_context({"svg.hashsalt": "lepton"}):
        figure.savefig(file, format=kind, metadata=metadata)
    return file.getvalue()
