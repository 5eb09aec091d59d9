"""Roofline of traces whose work, time and machine are known, because they were made so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.analyze.roofline import CALIBRATION, DISPATCH_NS, OPERATOR, ROOFLINE
from tracekit.analyze.study import Study
from tracekit.points import CALIBRATION_BYTES, CALIBRATION_SIDE, Calibration, Identity, Point, Sample

Event = dict[str, Any]
Spans = Callable[..., Event]
PEAK_FLOPS, PEAK_BYTES = 100e9, 10e9
SIDE = 256  # of the product: 335 us at peak FLOP/s, 79 us at peak bandwidth
MATRIX, LARGE = [SIDE, SIDE], [1000, 1000]
CALIBRATIONS = [
    Calibration(
        round=number,
        unix_s=0.0,
        matmul_ns=round(slower * 2e9 * CALIBRATION_SIDE**3 / PEAK_FLOPS),
        copy_ns=round(slower * 2e9 * CALIBRATION_BYTES / PEAK_BYTES),
    )
    for number, slower in enumerate((3.0, 1.0, 1.7))
]


def op(name: str, start: float, dur: float, *shapes: list[int], linked: int = 0) -> Event:
    """Within what begins and ends with it (`Ev Idx`)."""
    args = {"Ev Idx": 1, "Input Dims": shapes, "Input type": ["float"] * len(shapes), "External id": linked}
    return {**mark(f"aten::{name}", start, dur), "cat": "cpu_op", "args": args}


def mark(name: str, start: float, dur: float) -> Event:
    args = {"Ev Idx": 0}
    return {
        "ph": "X",
        "cat": "user_annotation",
        "name": name,
        "pid": 1,
        "tid": 1,
        "ts": start,
        "dur": dur,
        "args": args,
    }


def step(product_us: float = 800) -> list[Event]:
    """A product (ffn), a large addition (norm), and many small ones (embedding): 1,600 us beside the product."""
    events = [mark("tracekit::ffn#f", 0, product_us), op("mm", 0, product_us, MATRIX, MATRIX)]
    events += [mark("tracekit::norm#n", product_us, 1500), op("add", product_us, 1500, LARGE, LARGE)]
    small = product_us + 1500
    events += [mark("tracekit::embedding#e", small, 100)]
    events += [op("add", small + 10 * i, 6, [1], [1]) for i in range(10)]
    return [mark("ProfilerStep#1", 0, product_us + 1600), *events]


def store(folder: Path, events: list[Event], wall_us: float = 1800, length: int = 128, **fields: Any) -> None:
    own = {
        "model": "bert",
        **{name: fields.pop(name) for name in ("device", "dtype", "model", "machine") if name in fields},
    }
    identity = Identity(length=length, threads=2, **own)
    samples = [Sample(wall_ns=round(wall_us * 1000), cpu_ns=None) for _ in range(3)]
    point = Point(**{"identity": identity, "samples": samples, "calibration": CALIBRATIONS, **fields})
    path = identity.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.header(point) + b'"traceEvents": ' + json.dumps(events).encode() + b"}")


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    """Rows by label; what every table of rooflines must fulfil is checked on the way."""
    table = load_study([folder]).roofline()
    assert table.schema == pl.Schema(ROOFLINE)
    parts = table.select(pl.col(f"{name}_share") for name in ("unknown", "compute", "memory", "overhead"))
    sums = parts.drop_nulls().sum_horizontal().to_list()
    assert sums == pytest.approx([1.0] * len(sums))
    assert (table["bound"].is_null() == table["reason"].is_not_null()).all()
    return {row["label"]: row for row in table.to_dicts()}


def test_work_time_and_each_bound(tmp_path: Path) -> None:
    """The step took 2,400 us with the profiler and takes 1,800 without: every time is three quarters of the profiled."""
    store(tmp_path, step())
    found = rows(tmp_path)
    ffn, norm, small = found["ffn"], found["norm"], found["embedding"]
    assert (ffn["flops"], ffn["bytes"]) == (2 * SIDE**3, 3 * 4 * SIDE**2)
    assert ffn["intensity"] == pytest.approx(2 * SIDE**3 / (12 * SIDE**2))
    assert (ffn["time_ns"], ffn["timed"]) == (pytest.approx(600e3), "unprofiled")
    assert ffn["flops_per_s"] == pytest.approx(2 * SIDE**3 / 600e-6)
    assert ffn["bytes_per_s"] == pytest.approx(12 * SIDE**2 / 600e-6)
    assert ffn["least_ns"] == pytest.approx(2 * SIDE**3 / PEAK_FLOPS * 1e9, rel=1e-6)
    assert ffn["roof_share"] == pytest.approx(ffn["flops_per_s"] / PEAK_FLOPS, rel=1e-6)
    assert (ffn["bound"], ffn["known_share"], ffn["unknown_share"]) == ("compute", 1.0, 0.0)
    assert ffn["overhead_share"] == pytest.approx(DISPATCH_NS / 800e3)

    assert (norm["flops"], norm["bytes"], norm["intensity"]) == (None, 12e6, None)
    assert norm["least_ns"] == pytest.approx(12e6 / PEAK_BYTES * 1e9, rel=1e-6)
    assert norm["roof_share"] == pytest.approx(1200 / (1500 * 0.75), rel=1e-6)
    assert norm["bound"] == "memory"

    assert small["bound"] == "overhead"
    assert small["known_share"] == pytest.approx(0.6)  # ten calls of 6 us in 100 us
    assert small["memory_share"] == pytest.approx(10 * (6000 - DISPATCH_NS) / 100e3)
    assert small["roof_share"] < 0.01


def test_peaks_are_of_the_fastest_fixed_work_and_of_a_faster_operator(tmp_path: Path) -> None:
    store(tmp_path / "slow", step(800))
    slow = rows(tmp_path / "slow")["ffn"]
    assert (slow["peak_flops_per_s"], slow["peak_bytes_per_s"]) == pytest.approx((PEAK_FLOPS, PEAK_BYTES), rel=1e-6)
    assert (slow["peak_flops_from"], slow["peak_bytes_from"]) == (CALIBRATION, CALIBRATION)
    store(tmp_path / "fast", step(200), wall_us=1800)
    fast = rows(tmp_path / "fast")["ffn"]
    assert (fast["peak_flops_per_s"], fast["peak_flops_from"]) == (pytest.approx(2 * SIDE**3 / 200e-6), OPERATOR)
    assert fast["roof_share"] == pytest.approx(1.0)


def test_points_of_one_machine_share_their_peaks_and_others_do_not(tmp_path: Path) -> None:
    store(tmp_path, step(), length=128, calibration=[])
    store(tmp_path, step(), length=256)
    store(tmp_path, step(), length=256, machine="another", model="vit", calibration=[])
    table = load_study([tmp_path]).roofline().filter(pl.col("label") == "ffn").sort("length", "model")
    assert table["bound"].to_list() == ["compute", "compute", None]
    assert table["peak_bytes_per_s"].is_null().to_list() == [False, False, True]


def test_a_large_operator_is_no_overhead_however_slow(tmp_path: Path) -> None:
    """What keeps the machine busy makes operators slow, not small."""
    store(tmp_path, step(80_000), wall_us=81_600)
    found = rows(tmp_path)["ffn"]
    assert found["bound"] == "compute"
    assert found["roof_share"] == pytest.approx(2 * SIDE**3 / PEAK_FLOPS / 80e-3, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "bytes_known"),
    [({"calibration": []}, False), ({"device": "cuda"}, False), ({"dtype": "bfloat16"}, True)],
    ids=lambda value: str(value),
)
def test_unknown_peaks_are_not_guessed(tmp_path: Path, fields: dict[str, Any], bytes_known: bool) -> None:
    store(tmp_path, step(), **fields)
    for row in rows(tmp_path).values():
        assert (row["peak_flops_per_s"], row["peak_flops_from"]) == (None, None)
        assert (row["peak_bytes_per_s"] is not None) == bytes_known
        unknown = ("bound", "roof_share", "least_ns", "compute_share", "memory_share", "overhead_share")
        assert all(row[name] is None for name in unknown)
        assert "not known" in row["reason"]
    assert rows(tmp_path)["ffn"]["flops_per_s"] == pytest.approx(2 * SIDE**3 / 600e-6)


@pytest.mark.parametrize(("opaque_us", "bound"), [(300, "compute"), (900, None)])
def test_what_has_no_formula_leaves_the_bound_open_where_it_could_be_another(
    tmp_path: Path, opaque_us: float, bound: str | None
) -> None:
    events = [*step()[1:3], op("cat", 800, opaque_us), mark("ProfilerStep#1", 0, 800 + opaque_us)]
    events[0]["dur"] += opaque_us  # the range
    store(tmp_path, events, wall_us=800 + opaque_us)
    ffn = rows(tmp_path)["ffn"]
    share = opaque_us / (800 + opaque_us)
    assert (ffn["unknown_share"], ffn["known_share"]) == pytest.approx((share, 1 - share))
    assert ffn["bound"] == bound
    assert bound or ffn["reason"] == f"no formula for {share:.0%} of its time"


def test_what_a_call_is_made_of_is_its_time_and_views_are_overhead(tmp_path: Path) -> None:
    """A product of 800 us that copies its bias for 300 of them; a view and the dispatch around both."""
    events = [
        mark("ProfilerStep#1", 0, 1000),
        mark("tracekit::ffn#f", 0, 1000),
        op("linear_of_somebody", 0, 900),
        op("t", 0, 50, MATRIX),
        op("addmm", 100, 800, [SIDE], MATRIX, MATRIX),
        op("copy_", 100, 300, MATRIX, MATRIX),
    ]
    store(tmp_path, events, wall_us=1000)
    ffn = rows(tmp_path)["ffn"]
    assert ffn["bytes"] == 4 * (SIDE + 3 * SIDE**2)
    assert (ffn["known_share"], ffn["unknown_share"]) == (pytest.approx(0.8), 0.0)
    assert ffn["compute_share"] == pytest.approx(0.8 - DISPATCH_NS / 1e6)
    assert (ffn["memory_share"], ffn["overhead_share"]) == (0.0, pytest.approx(0.2 + DISPATCH_NS / 1e6))


def test_on_a_device_time_is_the_devices(tmp_path: Path) -> None:
    """Kernels run after their operators; whatever has no formula there is work."""
    events = [mark("ProfilerStep#1", 0, 100), mark("tracekit::ffn#f", 0, 100)]
    for number, (name, shapes, took) in enumerate((("mm", [MATRIX, MATRIX], 40), ("cat", [], 10)), 1):
        link = {"correlation": number, "External id": number}
        launch = {**mark("cudaLaunchKernel", 10 * number + 1, 2), "cat": "cuda_runtime", "args": link}
        kernel = {**mark("k", 200 * number, took), "cat": "kernel", "args": {"device": 0, "stream": 7, **link}}
        events += [op(name, 10 * number, 5, *shapes, linked=number), launch, {**kernel, "pid": 0, "tid": 7}]
    store(tmp_path, events, wall_us=500, device="cuda")
    ffn = rows(tmp_path)["ffn"]
    assert (ffn["time_ns"], ffn["timed"]) == (50e3, "device")
    assert ffn["flops_per_s"] == pytest.approx(2 * SIDE**3 / 50e-6)
    assert (ffn["known_share"], ffn["unknown_share"]) == pytest.approx((0.8, 0.2))
    assert ffn["bound"] is None


def test_a_strangers_trace_has_work_and_profiled_time(tmp_path: Path) -> None:
    plain = [event for event in step() if event["name"] != "ProfilerStep#1"]
    (tmp_path / "t.json").write_text(json.dumps({"traceEvents": plain}))
    ffn = rows(tmp_path)["ffn"]
    assert (ffn["series"], ffn["length"], ffn["timed"]) == ("t.json", None, "profiled")
    assert (ffn["time_ns"], ffn["flops"], ffn["bound"]) == (800e3, 2 * SIDE**3, None)


def test_work_is_of_one_step(tmp_path: Path) -> None:
    events = []
    for number in range(3):
        for event in step():
            name = event["name"].replace("Step#1", f"Step#{number}")
            events.append({**event, "name": name, "ts": event["ts"] + 5000 * number})
    store(tmp_path, events)
    assert rows(tmp_path)["ffn"]["flops"] == 2 * SIDE**3
    assert rows(tmp_path)["ffn"]["least_ns"] == pytest.approx(2 * SIDE**3 / PEAK_FLOPS * 1e9, rel=1e-6)


def test_nothing_to_say_is_an_empty_table() -> None:
    assert Study("nothing", []).roofline().schema == pl.Schema(ROOFLINE)


def test_the_collector_times_the_work_that_the_peaks_assume() -> None:
    pytest.importorskip("torch")
    from tracekit.collect.measure import Calibrator

    made = Calibrator("cpu")
    assert made._a.shape == (CALIBRATION_SIDE, CALIBRATION_SIDE)
    assert made._from.nbytes == made._to.nbytes == CALIBRATION_BYTES
    assert made._a.dtype.itemsize == 4
