"""What every HTML page of ours shares: templates that escape, data that cannot break out, hashes for the policy."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

import tracekit
from tracekit.components import PALETTE
from tracekit.safety import sanitize

SCRIPTS = ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "page.js")  # of every page with charts
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


@functools.cache
def environment() -> jinja2.Environment:
    """Our templates, with escaping always on (Jinja2 leaves `*.html.j2` unescaped), and every text sanitized."""
    loader = jinja2.PackageLoader("tracekit.reports", "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, finalize=_shown, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


def _shown(value: Any) -> Any:
    """What a template writes: any text but our own markup without what cannot be seen."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else sanitize(value, None)


def json_block(data: Any) -> str:
    """JSON for a `<script type="application/json">` element: no name in it can end the element or open another."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)


def static(name: str) -> str:
    """The text of a vendored or own static file."""
    return resources.files("tracekit.reports.static").joinpath(name).read_text(encoding="utf-8")


def policy_hash(text: str) -> str:
    """The source expression that lets exactly this inline script or style through a content security policy."""
    digest = hashlib.sha256(text.encode("utf-8")).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def frame(scripts: Sequence[str], styles: Sequence[str], data: Any) -> dict[str, Any]:
    """What `page.html.j2` needs beside the page's own: scripts and styles by file name, and the data they read."""
    texts = [static(name) for name in scripts]
    style = "".join(map(static, styles)) + _chip_style()
    return {
        "version": tracekit.__version__,
        "policy": _policy(texts, style),
        "style": Markup(style),
        "scripts": [Markup(text) for text in texts],
        "data": Markup(json_block(data)),
    }


def _policy(scripts: Sequence[str], style: str) -> str:
    """What the page may do: run exactly these scripts, use exactly this style, show images it made itself."""
    sources = " ".join(map(policy_hash, scripts))
    return f"default-src 'none'; script-src {sources}; style-src {policy_hash(style)}; img-src data: blob:"


def _chip_style() -> str:
    """The colour of each component's chip, as rules: a style attribute would need a laxer policy."""
    return "".join(f'.chip[data-label="{label}"] {{ background: {colour}; }}\n' for label, colour in PALETTE.items())
