"""Results as one HTML file for people: sentences, pictures and tables, with nothing to load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings, of which one that ends in ``>`` is right-aligned, and rows of cells."""

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; color: #30343b; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
h1 { font-size: 1.4rem } h2 { font-size: 1.1rem; margin-top: 2rem } svg { width: 100%; height: auto }
table { border-collapse: collapse; width: 100%; font-size: 12.5px }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e6e9; vertical-align: top }
th { border-bottom: 2px solid #9aa0a6 } .number { text-align: right; white-space: nowrap }
td { overflow-wrap: anywhere }
"""


def html_page(title: str, summary: Iterable[str], parts: Iterable[str]) -> str:
    """The page.

    Args:
        title: As plain text.
        summary: Sentences for the top of the page, as plain text.
        parts: Elements of HTML for what stands below them, such as those of ``html_table`` and pictures.
    """
    facts = "\n".join(map(html_paragraph, summary))
    name = escape(title)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>{name}</h1>\n{facts}\n{''.join(parts)}</body>\n</html>\n"
    )


def html_heading(text: str) -> str:
    """A heading of a part of the page."""
    return f"<h2>{escape(text)}</h2>\n"


def html_paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def html_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    aligned = [column.endswith(">") for column in columns]
    head = _row("th", [column.rstrip(">") for column in columns], aligned)
    body = "\n".join(_row("td", row, aligned) for row in rows)
    return f"<table>\n<thead>\n{head}\n</thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"


def _row(tag: str, cells: Sequence[str], aligned: Sequence[bool]) -> str:
    parts = [
        f"<{tag}{' class=number' if right else ''}>{escape(cell)}</{tag}>"
        for cell, right in zip(cells, aligned, strict=True)
    ]
    return f"<tr>{''.join(parts)}</tr>"
