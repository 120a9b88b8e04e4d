"""What a page holds, for tests: its tags, cells, links and paragraphs."""

from __future__ import annotations

from html.parser import HTMLParser


class HtmlReader(HTMLParser):
    """Reads one page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[str] = []
        self.links: list[str] = []
        self.paragraphs: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.cells += [""] if tag == "td" else []
        self.paragraphs += [""] if tag == "p" else []
        self.links += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        if not data.strip():
            return
        if self.tags and self.tags[-1] == "td":
            self.cells[-1] += data
        if self.tags and self.tags[-1] == "p":
            self.paragraphs[-1] += data

    def loads_nothing(self) -> bool:
        """Whether the page is complete by itself and runs no code."""
        return {"script", "link", "img", "iframe"}.isdisjoint(self.tags) and all(link[0] == "#" for link in self.links)
