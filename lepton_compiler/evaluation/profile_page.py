"""A profile as one HTML file for people: the roofline picture and a row for each kernel, with nothing to load."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from lepton_compiler.evaluation.kernel_profile import ModelProfile

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Headings, of which one that ends in ``>`` is right-aligned, and rows of cells."""

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; color: #30343b; margin: 2rem auto; max-width: 75rem; padding: 0 1rem }
h1 { font-size: 1.4rem } svg { width: 100%; height: auto }
table { border-collapse: collapse; width: 100%; font-size: 12.5px }
th, td { text-align: left; padding: .3rem .6rem; border-bottom: 1px solid #e4e6e9; vertical-align: top }
th { border-bottom: 2px solid #9aa0a6 } .number { text-align: right; white-space: nowrap }
td { overflow-wrap: anywhere }
"""


def profile_page(
    profile: ModelProfile,
    summary: Sequence[str],
    picture: str,
    tables: Iterable[Table],
) -> str:
    """The page.

    Args:
        profile: What was measured.
        summary: Sentences for the top of the page.
        picture: An ``svg`` element.
        tables: What stands below it.
    """
    name = escape(profile.manifest.model.name)
    facts = "\n".join(f"<p>{escape(text)}</p>" for text in summary)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>Profile of {name}</title>\n'
        f"<style>{_STYLE}</style>\n</head>\n<body>\n<h1>Profile of {name}</h1>\n{facts}\n{picture}\n"
        f"{''.join(_table(*table) for table in tables)}</body>\n</html>\n"
    )


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
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
