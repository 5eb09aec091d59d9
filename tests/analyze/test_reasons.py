"""What makes a tipping point: components that are known, because the traces were made so."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.analyze.reasons import _ratio
from tracekit.analyze.study import Study
from tracekit.points import Identity, Point, Sample

LENGTHS = (128, 256, 512, 1024, 2048)


def store(
    folder: Path,
    model: str,
    n: int,
    parts_us: Mapping[str, float],
    attention: str,
    disturbed: float = 10,
    **fields: Any,
) -> None:
    """A point whose three profiled steps, twice as slow as unprofiled ones, consist of `parts_us` and nothing else.

    The ffn of the second step takes `disturbed` times as long.
    """
    identity = Identity(model=model, length=n, attention=attention)
    events, start = [], 0.0
    for step in range(3):
        begin = start
        for number, (part, us) in enumerate(parts_us.items()):
            took = 2 * us * (disturbed if step == 1 and part == "ffn" else 1)
            events.append(_event(f"tracekit::{part}#{number}", start, took))
            start += took
        events.append(_event(f"ProfilerStep#{step}", begin, start - begin))
    total = sum(parts_us.values())
    samples = [
        Sample(wall_ns=int(total * 1000 * f), cpu_ns=None, sweep="s", round=r) for r, f in enumerate((0.999, 1, 1.001))
    ]
    path = identity.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    header = points.header(Point(identity=identity, samples=samples, **fields))
    path.write_bytes(header + b'"traceEvents": ' + json.dumps(events).encode() + b"}")


def _event(name: str, start: float, dur: float) -> dict[str, Any]:
    return {"ph": "X", "cat": "user_annotation", "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": {}}


def parts(n: int, core: float) -> dict[str, float]:
    """Microseconds of a step: everything but the core of attention is the same in all models."""
    return {"embedding": 100, "attention.projections": float(n), "attention.core": core, "ffn": 2.0 * n}


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """Longformer crosses BERT at 500 tokens under eager (core n^2 / 500 against n) and at 1,000 under sdpa."""
    for n in LENGTHS:
        store(tmp_path, "bert", n, parts(n, n * n / 500), "eager")
        store(tmp_path, "bert", n, parts(n, n * n / 1000), "sdpa")
        store(tmp_path, "longformer", n, parts(n, n), "eager", baseline="bert")
    return load_study([tmp_path])


def test_the_composition_sums_to_the_latency_and_disturbed_steps_do_not_matter(study: Study) -> None:
    table = study.composition()
    sums = table.group_by("series", "length").agg(pl.col("share").sum(), pl.col("cost_ns").sum())
    assert sums["share"].to_list() == pytest.approx([1.0] * sums.height)
    medians = study.latency().select("series", "length", "median_ns").join(sums, on=["series", "length"])
    assert medians["cost_ns"].to_list() == pytest.approx(medians["median_ns"].to_list())
    one = table.filter((pl.col("series") == "longformer (eager)") & (pl.col("length") == 512))
    costs = dict(one.select("label", "cost_ns").iter_rows())
    assert costs == pytest.approx({label: us * 1000 for label, us in parts(512, 512).items()}, rel=1e-6)
    assert one["spread"].max() == pytest.approx(0, abs=1e-9)


def test_the_cause_is_the_component_that_differs(study: Study) -> None:
    table = study.reasons()
    eager = table.filter(baseline="bert (eager)")
    assert (eager["before"][0], eager["after"][0]) == (256, 512)
    assert eager["label"][0] == "attention.core"
    core = eager.row(0, named=True)
    gains = ((256**2 / 500 - 256) * 1000, (512**2 / 500 - 512) * 1000)
    assert (core["gain_before_ns"], core["gain_after_ns"]) == pytest.approx(gains, rel=1e-6)
    assert core["change_ns"] == pytest.approx(gains[1] - gains[0], rel=1e-6)
    others = eager.filter(pl.col("label") != "attention.core")
    assert others["change_ns"].abs().max() == pytest.approx(0, abs=1)
    for row in study.latency().filter(pl.col("length") == 512).iter_rows(named=True):
        if row["series"] == "longformer (eager)":
            assert eager["efficient_after_ns"].sum() == pytest.approx(row["median_ns"])
    assert eager["efficient_before_ns"].sum() < eager["efficient_at_ns"].sum() < eager["efficient_after_ns"].sum()


def test_another_attention_moves_the_tipping_point_and_the_component_is_named(study: Study) -> None:
    latency = study.shifts().filter(metric="latency").row(0, named=True)
    assert (latency["from_attention"], latency["to_attention"]) == ("eager", "sdpa")
    assert latency["ratio"] == pytest.approx(2, rel=0.1)
    assert latency["lo"] <= 2 <= latency["hi"]
    assert (latency["explained_by"], latency["explained_at"]) == ("attention.core", 1024)
    assert latency["explained_ns"] == pytest.approx(latency["saved_ns"])
    assert latency["saved_ns"] == pytest.approx(1024**2 / 1000 * 1000)


def test_the_interval_of_a_ratio_is_that_of_independent_lengths() -> None:
    first = {"verdict": "from", "at": 100.0, "lo": 80.0, "hi": 110.0}
    second = {"verdict": "from", "at": 300.0, "lo": 270.0, "hi": 420.0}
    ratio, low, high = _ratio(first, second)
    assert ratio == pytest.approx(3)
    assert low == pytest.approx(3 / math.exp(math.hypot(math.log(300 / 270), math.log(1.1))))
    assert high == pytest.approx(3 * math.exp(math.hypot(math.log(420 / 300), math.log(100 / 80))))
    same = {"verdict": "from", "at": 100.0, "lo": 100.0, "hi": 100.0}
    assert _ratio(same, second) == pytest.approx((3, 2.7, 4.2))
    assert _ratio(first, {**second, "lo": None})[1] is None
    assert _ratio(first, {"verdict": "never", "range_hi": 4096.0}) == (None, 4096 / 110, None)


def test_attention_overtakes_the_feed_forward(tmp_path: Path, study: Study) -> None:
    for n in LENGTHS:
        store(tmp_path / "calm", "bert", n, parts(n, n * n / 500), "eager", disturbed=1)
        store(tmp_path / "calm", "longformer", n, parts(n, n / 2), "eager", disturbed=1)
    table = {row["model"]: row for row in load_study([tmp_path / "calm"]).overtakes().iter_rows(named=True)}
    assert table["bert"]["verdict"] == "from"  # attention: n + n^2 / 500, ffn: 2 n
    assert table["bert"]["at"] == pytest.approx(500, rel=0.05)
    assert table["bert"]["ratio_hi_end"] == pytest.approx((2048 + 2048**2 / 500) / 4096, rel=1e-6)
    assert table["longformer"]["verdict"] == "never"
    assert set(study.overtakes()["verdict"]) == {"not_resolved"}  # one of three steps disturbed: no ground to say so


def test_a_study_of_one_curve_has_no_reasons(tmp_path: Path) -> None:
    store(tmp_path, "bert", 128, parts(128, 10), "sdpa")
    alone = load_study([tmp_path])
    assert alone.reasons().is_empty()
    assert alone.shifts().is_empty()
    assert alone.overtakes().height == 1
