"""Charts as specifications: what they show, how they are told apart, and that a notebook needs only a table."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.components import COLOURS
from tracekit.reports import charts, page
from tracekit.reports.breakdown import host_time

Store = Callable[..., Path]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Study:
    folder = tmp_path_factory.mktemp("study")
    for length in (128, 1024):
        for model, ms in (("bert", length / 10), ("longformer", 20 + length / 20)):
            store_point(folder, model, length, ms)
    return load_study([folder])


def values(spec: dict[str, Any]) -> list[dict[str, Any]]:
    (rows,) = spec["datasets"].values()
    return list(rows)


def test_a_notebook_needs_only_the_table(study: Study) -> None:
    rows = values(charts.latency(study.latency()).to_dict())
    assert [row["value"] for row in rows] == pytest.approx([12.8, 102.4, 26.4, 71.2])
    assert all(row["low"] < row["value"] < row["high"] for row in rows)
    assert {row["value"] for row in values(charts.memory(study.peak_memory()).to_dict())} == {128, 1024}
    spec = charts.components(host_time(study.components())).to_dict()
    assert spec["encoding"]["column"]["field"] == "series"  # bars of two curves are not one bar
    bars = values(spec)
    assert sum(row["time"] for row in bars if row["series"] == "bert" and row["length"] == 128) == pytest.approx(12.8)


def test_lengths_are_spelled_in_full_and_axes_have_units(study: Study) -> None:
    text = charts.latency(study.latency()).to_json()
    assert "input length (tokens)" in text
    assert "latency (ms)" in text
    assert "',~r'" in text  # 1,024 and not 1.024k
    assert {row["pick"] for row in values(charts.latency(study.latency()).to_dict())} == {"128", "1,024"}


def test_a_curve_has_one_colour_in_every_chart(study: Study) -> None:
    names = ["bert", "longformer"]
    only = study.peak_memory().filter(pl.col("series") == "longformer")
    spec = charts.memory(only, names).to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    assert dict(zip(scale["domain"], scale["range"], strict=True))["longformer"] == charts.CURVE_COLOURS[1]
    assert spec["layer"][1]["encoding"]["color"]["legend"]["values"] == ["longformer"]


def test_no_two_of_many_curves_look_the_same() -> None:
    colour, shape, dash = (scale.to_dict()["range"] for scale in charts.styles([f"m{i}" for i in range(24)]))
    looks = {(c, s, tuple(d)) for c, s, d in zip(colour, shape, dash, strict=True)}
    assert len(looks) == 24
    assert not set(charts.CURVE_COLOURS) & set(COLOURS.values())


def test_what_is_in_doubt_is_hollow_and_says_why(study: Study) -> None:
    def marks(doubts: list[str], rows: pl.DataFrame) -> dict[str, Any]:
        spec = charts.latency(rows.with_columns(doubt=pl.Series(doubts))).to_dict()
        shown = [layer for layer in spec["layer"] if layer["mark"]["type"] in ("point", "bar")]
        tips = [[tip["field"] for tip in layer["encoding"]["tooltip"]] for layer in shown]
        legends = [layer["encoding"]["color"].get("legend") is not None for layer in shown]
        return {"filled": [layer["mark"].get("filled") for layer in shown], "tips": tips, "legends": legends}

    rows = study.latency()
    plain = ["series", "length", "value", "low", "high"]
    assert marks([""] * 4, rows) == {"filled": [True], "tips": [plain], "legends": [True]}
    some = marks(["", "drift", "", "<b>"], rows)
    assert some == {"filled": [True, False], "tips": [plain, [*plain, "doubt"]], "legends": [True, False]}
    assert marks(["drift"] * 4, rows) == {"filled": [False], "tips": [[*plain, "doubt"]], "legends": [True]}
    bars = marks(["drift", ""], rows.filter(pl.col("length") == 128))
    assert bars["filled"] == [None, False]
    assert bars["tips"] == [plain, [*plain, "doubt"]]


def luminance(colour: str) -> float:
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_curves_are_readable_on_both_papers() -> None:
    papers = {{"#fff": "#ffffff"}.get(p, p) for p in re.findall(r"--paper: (#\w+)", page.static("report.css"))}
    assert len(papers) == 2
    for colour in charts.CURVE_COLOURS[1:]:
        for paper in papers:
            dark, light = sorted((luminance(colour), luminance(paper)))
            assert (light + 0.05) / (dark + 0.05) >= 3, (colour, paper)


def test_one_length_is_bars_from_zero(study: Study) -> None:
    spec = charts.latency(study.latency().filter(pl.col("length") == 128)).to_dict()
    assert spec["layer"][0]["mark"]["type"] == "bar"
    assert "scale" not in spec["layer"][0]["encoding"]["x"]
    assert [row["value"] for row in values(spec)] == pytest.approx([12.8, 26.4])


def test_no_title_has_a_backslash_for_vega_lite_to_make_an_expression_of(study: Study) -> None:
    hostile = study.latency().with_columns(length_unit=pl.lit('\\": alert(1)'))
    bars = host_time(study.components().with_columns(length_unit=pl.lit("\x1b")))
    for chart, unit in ((charts.latency(hostile), '/": alert(1)'), (charts.components(bars), "/x1b")):
        spec = json.dumps({**chart.to_dict(), "datasets": None})
        titles = [json.loads(title) for title in re.findall(r'"title": ("(?:[^"\\]|\\.)*")', spec)]
        assert f"input length ({unit})" in titles
        assert not [title for title in titles if "\\" in title]


def test_values_a_logarithm_cannot_show_are_left_out(study: Study) -> None:
    zero = pl.when(pl.col("series") == "bert").then(0).otherwise("peak_bytes")
    rows = values(charts.memory(study.peak_memory().with_columns(peak_bytes=zero)).to_dict())
    assert {row["series"] for row in rows} == {"longformer"}


def test_component_bars_of_a_page_share_their_scale(study: Study) -> None:
    rows = host_time(study.components())
    spec = charts.component_template(rows, "time", "bars").to_dict()
    assert spec["layer"][1]["encoding"]["y"]["scale"]["domain"] == pytest.approx([0, 102.4])
    rate = charts.component_template(rows, "rate", "bars").to_dict()
    assert rate["layer"][1]["encoding"]["y"]["title"] == "host time per token (us)"
    assert rate["layer"][1]["encoding"]["y"]["scale"]["domain"] == pytest.approx([0, 26.4e3 / 128])


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.9, 1000), (150.0, 400.0), (0.01, 0.012), (5e-4, 3e6), (151.0, 260.0), (1e6, 1e6 + 2), (7.0, 7.0)],
    ids=str,
)
def test_log_ticks_are_few_and_within(low: float, high: float) -> None:
    ticks = charts.log_ticks([low, high])
    assert 3 <= len(ticks) <= 10 or (low == high and ticks == [low])
    assert all(low / 1.03 <= tick <= high * 1.03 for tick in ticks)
    assert charts.log_ticks([None, 0.0]) == []
