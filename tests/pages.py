"""Pages of ours as a browser's parser sees them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from typing import Any

from tracekit.reports import page

# Pieces of hostile names that no text of ours has.
FOREIGN = re.compile(
    r"alert|onerror|PWNED|evil|__proto__|HYPERLINK|skull|7\*7|_pwned|CON\.aux|__class__|passwd|\u6a21|good|display:none|n{9}"
)
# Where Vega and Vega-Lite take a text for an expression, or make one of it.
EXPRESSIONS = {"expr", "signal", "calculate", "filter", "test", "update", "labelExpr", "on", "clear", "as", "field"}


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


def texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a JSON value with the key that it is under; data is left out."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield "a key", name
            if name not in ("datasets", "values", "domain", "sort") and not ("name" in value and name == "value"):
                yield from texts(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one, key)
    elif isinstance(value, str):
        yield key, value


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        for one in value.values():
            yield from strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from strings(one)
    elif isinstance(value, str):
        yield value


def assert_nothing_acts(parsed: Parsed, scripts: Sequence[str]) -> None:
    """Of any page of ours: its scripts are ours, by hash; no event handler, no reference to anything outside of it."""
    assert [attrs for attrs, _ in parsed.scripts] == [{"type": "application/json", "id": "data"}, *[{}] * len(scripts)]
    own = [text for attrs, text in parsed.scripts if not attrs]
    assert own == [page.static(name) for name in scripts]
    assert not [a for a in parsed.attributes if a[1].startswith("on")]
    assert not [a for a in parsed.attributes if a[1] in ("src", "srcset", "action", "formaction", "style")]
    links = {str(value) for _, name, value in parsed.attributes if name == "href"}
    assert links <= {f"#{value}" for _, name, value in parsed.attributes if name == "id"}
    assert not [tag for tag, _, _ in parsed.attributes if tag in ("img", "svg", "iframe", "object", "embed", "link")]
    policy = next(
        str(v) for tag, name, v in parsed.attributes if tag == "meta" and name == "content" and "default-src" in str(v)
    )
    directives = {words[0]: words[1:] for words in (part.split() for part in policy.split(";"))}
    assert directives == {
        "default-src": ["'none'"],
        "script-src": [page.policy_hash(text) for text in own],
        "style-src": [page.policy_hash(text) for text in parsed.styles],
        "img-src": ["data:", "blob:"],
    }


# Evaluated in a page, of specifications: how many of them Vega-Lite compiles there, and all names in the expressions it makes of them.
DRAWN = """async (specs) => {
  const names = new Set();
  const seen = (value, key) => {
    if (typeof value === "string") {
      if (["signal", "expr", "update", "test", "encode", "init"].includes(key)) parsed(vega.parseExpression(value));
    } else if (value && typeof value === "object") {
      for (const [name, one] of Object.entries(value)) if (name !== "values" && name !== "value") seen(one, Array.isArray(value) ? key : name);
    }
  };
  // Whatever is no text in an expression: identifiers, properties, calls.
  const parsed = (node) => {
    if (!node || typeof node !== "object") return;
    if (node.type === "Identifier") names.add(node.name);
    if (node.type === "Property" && node.key.type === "Literal") { parsed(node.value); return; }
    for (const [name, one] of Object.entries(node)) if (name !== "parent") Array.isArray(one) ? one.forEach(parsed) : parsed(one);
  };
  let compiled = 0;
  for (const spec of specs) {
    seen(vegaLite.compile({...spec, datasets: spec.datasets || {bars: [], parts: []}}).spec);
    compiled += 1;
  }
  return [compiled, [...names]];
}"""
