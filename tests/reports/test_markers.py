"""Tipping points on charts: what is marked, what it is called, and that nothing overlaps however much there is."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from tracekit.reports import charts
from tracekit.reports.markers import EDGE, NARROW, Marker, Placed, height, markers, placed

Row = Callable[..., dict[str, Any]]
Table = Callable[..., pl.DataFrame]

intervals = st.lists(st.floats(1, 4096), min_size=3, max_size=3).map(sorted)
labels = st.text(min_size=1, max_size=60)


def boxes(found: list[Placed]) -> list[tuple[int, float, float]]:
    return [(one.lane, one.left, one.right) for one in found]


@given(st.lists(st.tuples(intervals, labels), max_size=25), st.floats(150, 900))
def test_lanes_never_overlap(drawn: list[tuple[list[float], str]], width: float) -> None:
    found = placed(
        [Marker(f"m{i}", at, lo, hi, label, "") for i, ((lo, at, hi), label) in enumerate(drawn)], 1, 4096, width
    )
    assert len(found) == len(drawn)
    for (lane, left, right), (other_lane, other_left, other_right) in itertools.combinations(boxes(found), 2):
        assert lane != other_lane or right < other_left or other_right < left
    for one in found:
        assert 0 <= one.left <= one.right <= width  # nothing hangs out of the plot
        assert one.text == one.marker.label or one.text.endswith("…")
    assert {one.lane for one in found} == set(range(height(found) // 22))


@given(st.lists(st.tuples(intervals, labels), max_size=12), st.floats(NARROW, 1200))
def test_what_is_apart_on_a_telephone_is_apart_on_any_wider_plot(
    drawn: list[tuple[list[float], str]], width: float
) -> None:
    narrow = placed([Marker(f"m{i}", at, lo, hi, label, "") for i, ((lo, at, hi), label) in enumerate(drawn)], 1, 4096)
    wide = []
    for one in narrow:
        low, high = (EDGE + (width - 2 * EDGE) * math.log(n, 4096) for n in (one.marker.lo, one.marker.hi))
        name = 6.2 * cell_len(one.text)
        wide.append((low, max(high, low + name)) if one.flush == "left" else (min(low, high - name), high))
        assert 0 <= wide[-1][0] <= wide[-1][1] <= width
    for (one, box), (other, other_box) in itertools.combinations(zip(narrow, wide, strict=True), 2):
        assert one.lane != other.lane or box[1] < other_box[0] or other_box[1] < box[0]


def test_what_is_marked(tipping_row: Row, tipping_table: Table) -> None:
    found = markers(
        tipping_table(
            tipping_row("a", verdict="from", at=1245.2, lo=1004.0, hi=1328.0),
            tipping_row("b", verdict="from", at=3000.0, lo=2500.0),
            tipping_row("c", verdict="between", at=200.0, lo=150.0, hi=250.0, until=900.0, until_lo=800.0),
            tipping_row("d", verdict="between", until=512.0, until_lo=500.0, until_hi=600.0),
            tipping_row("e", verdict="not_resolved", at=700.0, lo=600.0, hi=800.0),
            tipping_row("f", verdict="always"),
            tipping_row("g", verdict="never"),
        )
    )
    assert [(one.label, one.lo, one.hi) for one in found] == [
        ("1,245 a", 1004.0, 1328.0),
        ("3,000 b", 2500.0, 4096.0),
        ("200 c", 150.0, 250.0),
        ("up to 900 c", 800.0, 4096.0),
        ("up to 512 d", 500.0, 600.0),
    ]
    assert found[0].sentence == "a is faster than bert from 1,245 [1,004, 1,328] tokens on"


def test_names_tell_pairs_apart(tipping_row: Row, tipping_table: Table) -> None:
    def named(*pairs: tuple[str, str, str]) -> list[str]:
        rows = [
            tipping_row(own, base, efficient_model="a", baseline_attention=attention, verdict="from", at=500.0)
            for own, base, attention in pairs
        ]
        return [one.label for one in markers(tipping_table(*rows))]

    assert named(("a (eager)", "bert (sdpa)", "sdpa")) == ["500 a"]
    two = named(("a (eager)", "bert (sdpa)", "sdpa"), ("a (eager)", "bert (eager)", "eager"))
    assert two == ["500 a vs sdpa", "500 a vs eager"]
    assert named(("a (x)", "bert", "sdpa"), ("a (y)", "bert", "sdpa")) == ["500 a (x)", "500 a (y)"]
    assert named(("a (x)", "bert", "sdpa"), ("a (y)", "b", "eager")) == ["500 a (x)", "500 a (y)"]


def test_a_chart_marks_its_metric_and_unit_only(tipping_row: Row, tipping_table: Table) -> None:
    name = "datum['x']</script>"
    table = pl.DataFrame(
        {"series": ["bert", name] * 2, "length": [128.0, 128.0, 4096.0, 4096.0], "length_unit": ["tokens"] * 4}
    ).with_columns(median_ns=pl.Series([1e6, 4e6, 9e6, 5e6]), lo_ns=1e6, hi_ns=9e6)
    crossing = {"verdict": "from", "at": 1000.0, "lo": 900.0, "hi": 1100.0}
    crossings = tipping_table(
        tipping_row(name, **crossing),
        tipping_row(name, metric="memory", **crossing),
        tipping_row(name, length_unit="pixels", **crossing),
    )
    plain, marked = (charts.latency(table, crossings=rows).to_dict() for rows in (None, crossings))
    assert len(marked["datasets"]) == len(plain["datasets"]) + 1
    (row,) = next(rows for rows in marked["datasets"].values() if "sentence" in rows[0])
    assert (row["series"], row["text"]) == (name, f"1,000 {name}")
    fields = [
        channel["field"] for layer in marked["layer"] for channel in layer["encoding"].values() if "field" in channel
    ]
    assert name not in fields
    assert charts.latency(table, crossings=crossings.head(0)).to_dict() == plain


@pytest.mark.parametrize("lengths", [[], [128.0]])
def test_where_there_is_no_curve_nothing_is_marked(
    lengths: list[float], tipping_row: Row, tipping_table: Table
) -> None:
    table = pl.DataFrame({"series": ["a"] * len(lengths), "length": lengths}, schema={"series": str, "length": float})
    table = table.with_columns(samples_per_s=1.0, length_unit=pl.lit("tokens"))
    crossings = tipping_table(tipping_row(metric="throughput", verdict="from", at=128.0, lo=128.0, hi=128.0))
    text = charts.throughput(table, crossings=crossings).to_json()
    assert "tipping point" not in text
