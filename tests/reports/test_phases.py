"""Forward, backward, optimizer on the page: phases sum to the step, inference has none, names are values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.pages import embedded
from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.points import Identity, Point, Sample
from tracekit.reports import page_data, phases
from tracekit.reports.figure import Figure
from tracekit.reports.html import render, write_html
from tracekit.units import duration

Store = Callable[..., Path]
PHASES = [("forward", "attention", 300), ("forward", "ffn", 200), ("backward", "attention", 400), ("optimizer", "optimizer", 98)]  # fmt: skip


def training(folder: Path, name: str, length: int, times: float = 1.0) -> None:
    """A point of one step of 1 ms (times `times`), 2 us of it in no phase."""
    events = [("ProfilerStep#1", 0.0, 1000.0)]
    at = 1.0
    for phase, component, us in PHASES:
        events += [(f"tracekit::phase#{phase}", at, us), (f"tracekit::{component}#x", at, us)]
        at += us
    rows = [
        {"ph": "X", "cat": "user_annotation", "name": what, "pid": 1, "tid": 1, "ts": start * times, "dur": us * times}
        for what, start, us in events
    ]
    identity = Identity(model=name, length=length, threads=2, attention="sdpa", mode="training")
    point = Point(identity=identity, samples=[Sample(wall_ns=10**6, cpu_ns=10**6)] * 5, tokens=length)
    path = identity.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.header(point) + b'"traceEvents": ' + json.dumps(rows).encode() + b"}")


def figures(study: Study) -> list[Figure]:
    found = phases.section(study)
    assert found is not None
    assert all(len(row) == len(one.head) for one in found.figures for row in one.body)
    return list(found.figures)


def test_inference_has_no_section(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 5.0)
    assert phases.section(load_study([tmp_path])) is None


def test_bars_and_operators_of_a_phase_sum_to_all_of_them(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "vit", 64, 5.0)
    training(tmp_path, "bert", 64)
    data = embedded(render(load_study([tmp_path])))
    bars = pl.DataFrame(data["components"]["table"])
    assert set(bars.filter(series="vit")["phase"]) == {""}
    bert = bars.filter(pl.col("series").str.starts_with("bert"))
    sums = dict(bert.group_by("phase").agg(pl.col("time").sum()).iter_rows())
    assert sums == pytest.approx({"": 1.0, "forward": 0.5, "backward": 0.4, "optimizer": 0.098, "other": 0.002})
    operators = pl.DataFrame(data["operators"]).filter(pl.col("series").str.starts_with("bert"))
    whole = operators.filter(phase="")["self_ns"].sum()
    assert whole == operators.filter(pl.col("phase") != "")["self_ns"].sum() == 10**6


@pytest.mark.browser
def test_a_phase_is_chosen_for_bars_and_operators_alike(browser: Any, tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "vit", 64, 5.0)
    training(tmp_path, "bert", 64)
    page = browser.new_page(viewport={"width": 1200, "height": 900})
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    page.goto(f"{write_html(load_study([tmp_path]), tmp_path / 'r.html').as_uri()}#series=vit")
    page.locator("[data-series] svg.marks").last.wait_for()
    assert not page.is_visible("#phase")  # of inference there is but one
    page.select_option("#series", "bert (training)")
    page.select_option("#phase", "backward")
    assert page.inner_text("#chosen").endswith("at 64 tokens, backward")
    assert "40.0%" in page.inner_text("#operator-table tfoot")
    bars = "document.querySelectorAll(`[data-series^=bert] .mark-rect path[aria-label*='component: ${name}']`).length"
    drawn = f"() => ['attention', 'ffn'].map(name => {bars}).join() === '1,0'"  # the ffn has no backward here
    page.wait_for_function(drawn)
    assert page.inner_text("#of-phase") == "in backward, of the curves that have it"
    page.reload()
    assert page.input_value("#phase") == "backward"
    assert said == []
    page.close()


def test_phases_sum_to_the_step_and_inference_is_left_out(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "vit", 64, 5.0)
    for length, times in ((64, 1.0), (128, 3.0)):
        training(tmp_path, "bert", length, times)
        training(tmp_path, "gpt", length, 2 * times)
    study = load_study([tmp_path])
    table = phases.phase_costs(page_data.clean(study.components()))
    assert set(table["series"]) == {"bert (training)", "gpt (training)"}
    steps = study.steps().filter(pl.col("mode") == "training")
    ours = table.group_by("series", "length").agg(pl.col("value_ns").sum()).sort("series", "length")
    assert ours["value_ns"].to_list() == steps.sort("series", "length")["dur_ns"].to_list()
    bert, gpt = figures(study)
    assert bert.title == "bert (training)"
    assert bert.head == ["phase", "component", "64", "128"]
    assert bert.body[:3] == [
        ["forward", "all", "500 us (50.0%)", "1.50 ms (50.0%)"],
        ["", "attention", "300 us (30.0%)", "900 us (30.0%)"],
        ["", "ffn", "200 us (20.0%)", "600 us (20.0%)"],
    ]
    assert bert.body[-1] == ["total", "", "1.00 ms", "3.00 ms"]
    assert bert.spec is not None and gpt.spec is not None
    drawn = pl.DataFrame([row for rows in bert.spec["datasets"].values() for row in rows])
    sums = dict(drawn.filter(pl.col("length_text") == "64").group_by("phase").agg(pl.col("value").sum()).iter_rows())
    assert sums == pytest.approx({"forward": 500, "backward": 400, "optimizer": 98})  # 0.2% is in the table alone
    tops = [spec["layer"][0]["encoding"]["y"]["scale"]["domain"] for spec in (bert.spec, gpt.spec)]
    assert tops == [[0, 3000], [0, 3000]]  # one scale


def test_hostile_names_are_values(tmp_path: Path) -> None:
    for name in ("</script><script>x", "\u202eevil"):
        training(tmp_path, name, 64)
    for one in figures(load_study([tmp_path])):
        assert one.spec is not None
        assert "script" not in json.dumps([one.spec["layer"], one.spec["params"]])
        assert "\u202e" not in one.title + json.dumps(one.spec, ensure_ascii=False)


def test_a_real_device_trace_counts_device_time(shared_traces: Path) -> None:
    study = load_study([shared_traces / "mi300_resnet_checkpoint_training.json.gz"])
    (one,) = figures(study)
    assert [row[0] for row in one.body if row[1] == "all"] == ["forward", "recompute", "backward", "optimizer", "other"]
    inside = study.components().filter(pl.col("phase") != "outside")["device_ns"].sum() / 3
    assert one.body[-1][2] == duration(float(inside))
