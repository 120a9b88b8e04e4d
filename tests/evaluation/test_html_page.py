"""Pages that verbs write."""

from __future__ import annotations

from html_reader import HtmlReader
from profile_samples import HOSTILE_NODES

from lepton_compiler.evaluation.html_page import html_heading, html_page, html_paragraph, html_table


def test_the_page_loads_nothing_and_escapes_names() -> None:
    tables = [
        html_table(("#>", "nodes"), [("2", HOSTILE_NODES), ("1", "/conv")]),
        html_table(("#", "why"), [("1, 2", "a < b")]),
    ]
    page = html_page("Profile of model<1>.onnx", ["one & all"], ["<svg></svg>", *tables])
    reader = HtmlReader(page)
    assert reader.cells == ["2", HOSTILE_NODES, "1", "/conv", "1, 2", "a < b"]
    assert reader.paragraphs == ["one & all"]
    assert reader.loads_nothing()
    assert "b" not in reader.tags
    assert "svg" in reader.tags
    assert "<title>Profile of model&lt;1&gt;.onnx</title>" in page


def test_numbers_are_right_aligned() -> None:
    table = html_table(("#>", "name"), [("1", "a")])
    assert "<th class=number>#</th><th>name</th>" in table
    assert "<td class=number>1</td><td>a</td>" in table


def test_texts_of_parts_are_escaped() -> None:
    assert html_heading("a < b") == "<h2>a &lt; b</h2>\n"
    assert html_paragraph("a < b") == "<p>a &lt; b</p>"
