"""Tables as files: what machines read is exact, what people open does nothing, whatever the names are."""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token
from polars.testing import assert_frame_equal

from tests import hostile
from tracekit.errors import UsageError
from tracekit.reports.formats import guarded, rows, to_csv, to_json, to_markdown, to_parquet
from tracekit.safety import sanitize

# What spreadsheets and markdown have to say of their own.
MARKUP = [
    *("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1", "-", "'=1"),
    *("**a**", "_a_", "__a__", "a_b_c", "_", "~~a~~", "`a`", "``", "[a](http://b)", "![a](b)", "<http://a>", "&lt;"),
    *("a\\|b", "\\", "\\\\|", "http://a.b", "www.a.b", "aten::add_", "a__b", "$x$", "# h", "- a", "1. a"),
]
NAMES = [*hostile.NAMES, *MARKUP]

TABLE = pl.DataFrame(
    {"name": NAMES, "ns": range(len(NAMES)), "share": [-0.1 * i for i in range(len(NAMES))], "known": True}
)
few = settings(max_examples=25)
texts = st.text() | st.sampled_from(NAMES)
tables = st.lists(st.tuples(texts | st.none(), st.integers(-(2**63), 2**63 - 1), st.floats() | st.none())).map(
    lambda lines: pl.DataFrame(lines, schema={"name": pl.String, "ns": pl.Int64, "share": pl.Float64}, orient="row")
)


def csv_rows(data: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(data.decode(), newline="")))


def shown(text: str) -> str:
    return guarded(sanitize(text, None))


def as_shown(table: pl.DataFrame) -> pl.DataFrame:
    return table.with_columns(pl.Series("name", [None if n is None else shown(n) for n in table["name"]], pl.String))


@few
@given(tables)
@example(TABLE.drop("known"))
def test_parquet_is_the_table(table: pl.DataFrame) -> None:
    assert_frame_equal(pl.read_parquet(to_parquet(table)), table, check_exact=True)


@few
@given(tables)
@example(TABLE.drop("known"))
def test_json_is_the_table_but_for_what_is_no_number(table: pl.DataFrame) -> None:
    data = to_json(table)
    assert data.isascii()
    found = json.loads(data)
    assert len(data.splitlines()) == (len(found) + 2 if found else 1)
    for line, row in zip(found, table.to_dicts(), strict=True):
        share = row["share"] if row["share"] is not None and math.isfinite(row["share"]) else None
        assert line == {**row, "share": share}


@few
@given(tables)
@example(TABLE.drop("known"))
def test_csv_comes_back_with_its_names_made_safe(table: pl.DataFrame) -> None:
    data = to_csv(table)
    head, *lines = csv_rows(data)
    assert head == table.columns
    assert len(lines) == table.height
    for cells, row in zip(lines, table.to_dicts(), strict=True):
        assert cells[0] == ("" if row["name"] is None else shown(row["name"]))
        assert int(cells[1]) == row["ns"]
        assert (cells[2] == "") == (row["share"] is None)
    assert_frame_equal(pl.read_csv(data, schema=table.schema), as_shown(table), check_exact=True)


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_of_csv_is_a_formula_or_a_control_code(name: str) -> None:
    # also behind a separator, and as the name of a column, which SQL lets the user choose
    table = pl.DataFrame({"safe": ["x"], name or "name": [name]})
    for cells in csv_rows(to_csv(table)):
        assert len(cells) == 2
        for cell in cells:
            assert not cell.lstrip().startswith(("=", "+", "-", "@", "\uff1d"))
            assert cell.isprintable()


def test_numbers_are_not_guarded() -> None:
    assert csv_rows(to_csv(pl.DataFrame({"a": [-1], "b": [-1.5]})))[1] == ["-1", "-1.5"]


def inline(token: Token) -> tuple[str, set[str]]:
    """The text that a cell shows, and what else is in it."""
    children = token.children or []
    return "".join(child.content for child in children), {child.type for child in children} - {"text", "text_special"}


@few
@given(tables)
@example(TABLE.drop("known"))
def test_markdown_shows_every_name_and_obeys_none(table: pl.DataFrame) -> None:
    text = to_markdown(table).decode()
    assert len(text.splitlines()) == table.height + 2
    tokens = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(text)
    assert {token.type.removesuffix("_open").removesuffix("_close") for token in tokens} <= {
        *("table", "thead", "tbody", "tr", "th", "td", "inline")
    }
    cells = [inline(token) for token in tokens if token.type == "inline"]
    assert [extra for _, extra in cells if extra] == []
    shares = ["" if v is None else v for v in table["share"]]
    found = [cells[i : i + 3] for i in range(3, len(cells), 3)]
    for line, name, ns, share in zip(found, table["name"], table["ns"], shares, strict=True):
        assert line[0][0].strip() == sanitize(name or "", None).strip()
        assert int(line[1][0]) == ns
        assert line[2][0] == "" if share == "" else float(line[2][0]) == pytest.approx(share, rel=0, abs=0, nan_ok=True)


@pytest.mark.parametrize("name", NAMES)
def test_markdown_has_no_tag_link_or_pipe_of_a_name(name: str) -> None:
    cell = to_markdown(pl.DataFrame({"name": [name]})).decode().splitlines()[2].removeprefix("| ").removesuffix(" |")
    assert "<" not in cell
    assert "http:" not in cell
    assert "www." not in cell
    assert cell.replace("\\\\", "").replace("\\|", "").count("|") == 0
    assert cell.isprintable()


def test_operators_stay_readable_in_markdown() -> None:
    assert b"| aten::scaled_dot_product_attention |" in to_markdown(
        pl.DataFrame({"n": ["aten::scaled_dot_product_attention"]})
    )


def test_what_sql_can_give_becomes_json() -> None:
    day = datetime.date(2026, 1, 2)
    table = pl.DataFrame(
        {"day": [day], "list": [[1.0, math.nan]], "row": [{"a": math.inf, "b": day}], "data": [b"\xff"]}
    )
    assert rows(table) == [
        {"day": "2026-01-02", "list": [1.0, None], "row": {"a": None, "b": "2026-01-02"}, "data": "ff"}
    ]


def test_csv_says_that_it_has_no_lists() -> None:
    with pytest.raises(UsageError, match="lists in l: take json or parquet"):
        to_csv(pl.DataFrame({"l": [[1]]}))


def test_empty_tables() -> None:
    empty: Any = pl.DataFrame(schema={"a": pl.Int64, "b": pl.String})
    assert to_json(empty) == b"[]\n"
    assert to_csv(empty) == b"a,b\n"
    assert to_markdown(empty) == b"| a | b |\n| ---: | --- |\n"
