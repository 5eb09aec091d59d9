"""Pages of ours as a browser's parser sees them."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any


class Parsed(HTMLParser):
    """Scripts, attributes and data of a page, as a parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str, str | None]] = []
        self._script: dict[str, str | None] | None = None
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._text = ""
        self.text += " "
        if tag == "script":
            self._script = dict(attrs)

    def handle_data(self, data: str) -> None:
        self._text += data
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            self.scripts.append((self._script, self._text))
            self._script = None
        if tag == "style":
            self.styles.append(self._text)


def embedded(text: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(next(body for attrs, body in Parsed(text).scripts if attrs))
    return data
