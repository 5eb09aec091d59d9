"""A table as a file: parquet and json keep every name as it is, csv and markdown are safe to open.

Names in a table are foreign. People open csv in a spreadsheet and markdown in a browser: there, control and invisible
characters are shown as escapes (`sanitize`), a text that a spreadsheet would take for a formula begins with an
apostrophe, and what markdown or HTML would take for markup is escaped. Numbers are exact in every format.
"""

from __future__ import annotations

import html
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl
import polars.selectors as cs

from tracekit.errors import UsageError
from tracekit.safety import sanitize

# What spreadsheets take for a formula, after spaces too; full-width forms count in some of them.
_FORMULA = re.compile("\\s*[-=+@\uff1d\uff0b\uff0d\uff20]")
# In a cell of a table nothing else is markup. An underscore within a word is none, and operators are full of them.
_MARKUP = re.compile(r"[\\`*\[\]|~$]|(?<![A-Za-z0-9])_+|_+(?![A-Za-z0-9])")
_LINK = re.compile(r"(?i)\b(https?|ftp|mailto|xmpp):|\b(www)\.")  # what some renderers make links of, unasked


class Format(NamedTuple):
    """How a table becomes the bytes of a file; `text`: one that can be read on a terminal."""

    suffix: str
    encode: Callable[[pl.DataFrame], bytes]
    text: bool


def to_parquet(table: pl.DataFrame) -> bytes:
    """Parquet, with the exact types and names of the table."""
    buffer = io.BytesIO()
    table.write_parquet(buffer)
    return buffer.getvalue()


def to_csv(table: pl.DataFrame) -> bytes:
    """CSV quoted as RFC 4180 has it; null is an empty cell, an empty text a quoted one. Raises UsageError for lists."""
    nested = [name for name, dtype in table.schema.items() if dtype.is_nested()]
    if nested:
        raise UsageError(f"csv has no cell for the lists in {sanitize(nested[0])}: take json or parquet")
    safe = _texts(table, lambda text: guarded(sanitize(text, None)))
    return safe.rename(lambda name: guarded(sanitize(name, None))).write_csv().encode()


def guarded(text: str) -> str:
    """`text` with an apostrophe before what a spreadsheet would take for a formula."""
    return f"'{text}" if _FORMULA.match(text) else text


def to_json(table: pl.DataFrame) -> bytes:
    """An array of rows, one a line; what is no finite number is null. ASCII, so that no name acts on a terminal."""
    lines = ",\n".join(json.dumps(row, allow_nan=False) for row in rows(table))
    return f"[\n{lines}\n]\n".encode() if lines else b"[]\n"


def rows(table: pl.DataFrame) -> list[dict[str, Any]]:
    """The rows of a table as JSON can have them: NaN and infinity are null; dates are text, as are bytes (hex)."""
    finite = table.with_columns(
        pl.when(cs.float().is_finite()).then(cs.float()),
        (cs.temporal() | cs.decimal()).cast(pl.String),
        cs.binary().bin.encode("hex"),
    )
    nested = [name for name, dtype in table.schema.items() if dtype.is_nested()]
    found = finite.to_dicts()
    for row in found if nested else ():
        row.update({name: _finite(row[name]) for name in nested})
    return found


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, list):
        return [_finite(one) for one in value]
    if isinstance(value, dict):
        return {key: _finite(one) for key, one in value.items()}
    return value if value is None or isinstance(value, str | int) else str(value)


def to_markdown(table: pl.DataFrame) -> bytes:
    """A table as GitHub's markdown has it: numbers plain and to the right, text escaped, null empty."""
    heads = [markdown_text(name) for name in table.columns]
    rules = ["---:" if dtype.is_numeric() else "---" for dtype in table.dtypes]
    safe = _texts(table, markdown_text)
    cells = [[_cell(value) for value in row] for row in safe.iter_rows()]
    return "".join(f"| {' | '.join(line)} |\n" for line in [heads, rules, *cells]).encode()


def markdown_text(text: str) -> str:
    """`text` as one cell of markdown that shows it and does nothing."""
    shown = html.escape(sanitize(text, None), quote=False)
    escaped = _MARKUP.sub(lambda match: "".join(f"\\{char}" for char in match[0]), shown)
    return _LINK.sub(lambda match: f"{match[1]}&#58;" if match[1] else f"{match[2]}&#46;", escaped)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() and abs(value) < 1 << 53 else repr(value)
    return value if isinstance(value, str) else markdown_text(str(value))


def _texts(table: pl.DataFrame, change: Callable[[str], str]) -> pl.DataFrame:
    """The table with its texts changed: each distinct one once."""

    def changed(column: pl.Series) -> pl.Series:
        texts = {text: new for text in column.drop_nulls().unique() if (new := change(text)) != text}
        return column.replace(texts) if texts else column

    return table.with_columns(changed(table[name]) for name, dtype in table.schema.items() if dtype == pl.String)


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "parquet": Format(".parquet", to_parquet, text=False),
        "csv": Format(".csv", to_csv, text=True),
        "json": Format(".json", to_json, text=True),
        "markdown": Format(".md", to_markdown, text=True),
    }
)


def by_suffix(name: str) -> str | None:
    """The format that a file name asks for by its ending; None where it asks for none."""
    return next((key for key, one in FORMATS.items() if name.lower().endswith(one.suffix)), None)
