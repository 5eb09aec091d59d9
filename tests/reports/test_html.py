"""The page as data: what is in it. That nothing foreign acts in it: test_safety."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair
import polars as pl
import pytest

from tests.pages import Parsed, embedded
from tracekit import points
from tracekit.analyze.load import load, load_study
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.points import Identity, Point, Profile, Sample
from tracekit.reports import page
from tracekit.reports.html import render, write_html

Store = Callable[..., Path]


def span(name: str, start: float, dur: float, cat: str = "user_annotation") -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": {}}


MODELS = ("longformer", "__proto__", "constructor", "datum['x']")
MARKED = {"at", "lo", "hi", "edge", "text", "sentence"}  # columns of the markers


def test_tipping_points_are_marked(tmp_path: Path, store_point: Store) -> None:
    for length in (128, 512, 2048):
        for attention in ("sdpa", "eager"):
            store_point(tmp_path, "bert", length, length / 10, identity={"attention": attention})
        for name in MODELS:
            store_point(tmp_path, name, length, 30 + length / 50, baseline="bert")
    text = render(load_study([tmp_path]))
    parsed, data = Parsed(text), embedded(text)
    links = {str(value) for _, name, value in parsed.attributes if name == "href"}
    assert "#curve-latency0" in links
    assert links <= {f"#{value}" for _, name, value in parsed.attributes if name == "id"}
    spec = data["charts"]["latency0"]
    marks = [row for rows in spec["datasets"].values() for row in rows if "sentence" in row]
    assert len(marks) == 2 * len(MODELS)
    assert {mark["series"] for mark in marks} <= {row["series"] for rows in spec["datasets"].values() for row in rows}
    assert len({mark["y"] for mark in marks}) == len(marks)  # all are at one length: each has a lane of its own
    fields = set(re.findall(r'"field": "([^"]*)"', json.dumps({**spec, "datasets": None})))
    assert fields <= {"length", "series", "value", "low", "high", "pick", *MARKED}
    said = " ".join(parsed.text.split())
    assert said.index("is faster than bert (eager) from") < said.index("Tipping points:") < said.index("Latency")
    assert said.count("no drop-in equals in quality") == 1


def test_rows_that_are_left_out_are_summed(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10.0, [f"aten::op{n}" for n in range(80)])
    study = load_study([tmp_path])
    rows = pl.DataFrame(embedded(render(study))["operators"])
    operators = rows.filter(pl.col("kind") == "operator")
    assert operators.filter(pl.col("rest") > 0)["rest"].to_list() == [40]
    assert operators.height == 41
    assert operators["self_ns"].sum() == study.operators().filter(pl.col("kind") == "operator")["self_ns"].sum()
    assert rows["share"].sum() == pytest.approx(1.0)


def test_shapes_are_those_of_the_greatest_length_and_sum_to_it(tmp_path: Path, store_point: Store) -> None:
    for model in ("bert", "longformer"):
        for length in (128, 512):
            store_point(tmp_path, model, length, 10.0, [f"aten::op{n}" for n in range(60)])
    data = embedded(render(load_study([tmp_path])))
    shapes, whole = pl.DataFrame(data["shapes"]), pl.DataFrame(data["operators"])
    sums = shapes.group_by("series", "pick").agg(pl.col("self_ns").sum())
    assert sums.height == sums["series"].n_unique() == whole["series"].n_unique()
    both = sums.join(whole.group_by("series", "pick").agg(pl.col("self_ns").sum()), on=["series", "pick"])
    assert both["self_ns"].to_list() == both["self_ns_right"].to_list()
    assert both.height == sums.height


def said_by(study: Study) -> str:
    return " ".join(Parsed(render(study)).text.split())


def test_what_failed_is_said_first_and_stands_in_the_tables(tmp_path: Path, store_point: Store) -> None:
    for length in (128, 256):
        store_point(tmp_path, "bert", length, 10.0)
    failed = Identity(model="bert", length=16384, threads=2, attention="sdpa")
    (tmp_path / "x.failed.json").write_bytes(
        points.encode(Point(identity=failed, status="oom", reason="no memory", environment={"cpu_model": "Test CPU"}))
    )
    said = said_by(load_study([tmp_path]))
    assert "One point did not finish: bert at 16,384 tokens (oom)." in said
    assert said.index("did not finish: bert") < said.index("Latency")
    assert "16,384 oom" in said[said.index("Latency") : said.index("Where the time goes")]
    assert "bert 16,384 tokens oom no memory" in said


def test_what_was_measured_is_one_sentence(tmp_path: Path, store_point: Store) -> None:
    two = {"overrides": {"num_hidden_layers": 2}}
    for mode in ("inference", "training"):
        store_point(tmp_path, "bert", 128, 10.0, identity={"mode": mode, **two})
    store_point(tmp_path, "hubert", 2, 10.0, identity={"length_unit": "seconds", **two})
    said = said_by(load_study([tmp_path]))
    assert (
        "bert and hubert (base size, num_hidden_layers=2): inference and training at 128 tokens and 2 seconds, "
        "batch 1, in float32 on cpu (Test CPU, 2 threads)."
    ) in said
    assert "Latency (seconds of input)" in said


def test_each_point_says_how_to_open_it(tmp_path: Path, store_point: Store) -> None:
    path = store_point(tmp_path, "bert", 64, 5)
    label = path.relative_to(tmp_path)
    (path.parent / "a b.json").write_bytes(path.read_bytes())
    page = render(load_study([tmp_path]))
    assert f"<td>tracekit open {label}</td>" in page
    assert f"<td>tracekit open &#39;{label.parent}/a b.json&#39;</td>" in page


def test_vendored_scripts_fit_altair() -> None:
    licences = page.static("LICENSES.txt")
    vendored = dict(re.findall(r"^(vega[a-z-]*) (\S+)  \(", licences, re.MULTILINE))
    assert vendored["vega-lite"].rsplit(".", 1)[0] == altair.VEGALITE_VERSION.rsplit(".", 1)[0]
    assert vendored["vega"].split(".")[0] == altair.VEGA_VERSION.split(".")[0]
    assert vendored["vega-embed"].split(".")[0] == altair.VEGAEMBED_VERSION.split(".")[0]
    for name in ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "report.js"):
        assert "</script" not in page.static(name).lower()


def test_a_foreign_trace_is_worth_opening(tmp_path: Path) -> None:
    trace = tmp_path / "foreign.json"
    kernel = {**span("k", 2, 3, "kernel"), "args": {"device": 0, "correlation": 7}}
    launch = {**span("cudaLaunchKernel", 1, 1, "cuda_runtime"), "args": {"correlation": 7}}
    trace.write_text(json.dumps({"traceEvents": [span("aten::mm", 0, 10, "cpu_op"), launch, kernel]}))
    text = render(load_study([trace]))
    data = embedded(text)
    assert set(data["charts"]) == {"device-busy", "device-kernels", "device-components"}
    assert data["operators"]["name"] == ["aten::mm", "cudaLaunchKernel"]
    assert data["components"]["table"]["length_text"] == ["whole trace"]
    assert "no latency and no memory" in text
    assert "Device work" in text
    assert "no_ranges" in text


def test_a_trace_is_as_good_as_a_study(tmp_path: Path, store_point: Store) -> None:
    trace = load(store_point(tmp_path, "bert", 64, 5))
    assert isinstance(trace, Trace)
    assert "bert" in write_html(trace, tmp_path / "r.html").read_text()


def test_write_is_whole_and_small(tmp_path: Path, store_point: Store) -> None:
    for model in "abcdefg":
        for i in range(8):
            store_point(tmp_path, model, 64 << i, 2.0**i, [f"aten::op{n}" for n in range(80)])
    target = write_html(load_study([tmp_path]), tmp_path / "out" / "r.html")
    assert [p.name for p in target.parent.iterdir()] == ["r.html"]
    assert target.stat().st_size < 2 << 20


def test_lengths_from_names_claim_no_settings(tmp_path: Path) -> None:
    """Nobody said in which mode, at which batch or on which machine these ran, so the page does not either."""
    for length in (128, 256):
        event = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 5, "args": {}}
        (tmp_path / f"bert_{length}.json").write_text(json.dumps({"traceEvents": [event]}))
    page = render(load(tmp_path, length_from=r"_(\d+)"))
    assert "bert at 128 to 256 units: read from traces collected elsewhere" in page
    assert "batch 1" not in page


def test_doubts_stand_beside_their_numbers(tmp_path: Path, store_point: Store) -> None:
    busy = [Sample(wall_ns=10**8, cpu_ns=10**8, run_delay_ns=3 * 10**7)] * 5
    for length in (128, 256):
        doubtful = {"samples": busy, "profile": Profile(steps=1, warmup=0, wall_ns=2 * 10**8)} if length == 256 else {}
        store_point(tmp_path, "bert", length, 100, **doubtful)
    text = render(load_study([tmp_path]))
    clause = "threads waited for a core 30% of the time"
    assert text.count(f'100 ms <sup><abbr title="{clause}">b</abbr></sup>') == 1
    assert text.count("b: busy machine (") == 1
    assert text.count('256 <sup><abbr title="a profiled step took 2.0 times as long') == 1
    assert text.count("p: profiler (") == 1
    curves = embedded(text)["charts"]
    rows = [row for rows in curves["latency0"]["datasets"].values() for row in rows]
    assert {row["length"]: row["doubt"] for row in rows} == {128: "", 256: clause}
    assert "doubt" not in json.dumps(curves["memory0"])
