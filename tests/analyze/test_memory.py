"""Memory over time and at its peak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.events import MEMORY_SCHEMA
from tracekit.analyze.memory import live_at_peak, paired, peaks, timeline
from tracekit.analyze.nest import sweep
from tracekit.analyze.trace import Trace
from tracekit.points import PeakMemory

Spans = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]


def block(time: float, address: int, size: int, device: int = 0, **args: Any) -> dict[str, Any]:
    where = {"Addr": address, "Bytes": size, "Device Type": device, "Device Id": device - 1, **args}
    return {
        "ph": "i",
        "cat": "cpu_instant_event",
        "name": "[memory]",
        "pid": 7,
        "tid": 1,
        "ts": time,
        "s": "t",
        "args": where,
    }


def test_who_was_live_at_the_peak(span: Spans, write: Writer) -> None:
    events = [
        span("tracekit::ffn#mlp", 0, 100, "user_annotation"),
        span("aten::linear", 10, 50, **{"Input Dims": [[2, 3]]}),
        span("aten::empty", 12, 5, **{"Input Dims": []}),
        span("aten::add", 70, 10, **{"Input Dims": [[2, 3], [2, 3]]}),
        block(5, 99, -50),  # was there before
        block(13, 1, 100),  # in aten::empty
        block(55, 2, 30),  # in aten::linear itself
        block(60.5, 2, -30),
        block(75, 2, 80),  # in aten::add: the peak, 50 + 100 + 80 - 50 and 20 that goes later
        block(90, 1, -100),
        block(95, 98, -20),  # was there before, and at the peak
    ]
    trace = Trace(write(events))
    assert trace.memory()["live_bytes"].to_list() == [20, 120, 150, 120, 200, 100, 80]
    assert trace.memory_peaks().row(0, named=True) == {
        "device_type": 0, "device_id": -1, "time_ns": 75_000, "live_bytes": 200,
    }  # fmt: skip
    live = trace.live_at_peak()
    assert live.select("name", "component", "shapes", "blocks", "bytes").rows() == [
        ("aten::empty", "ffn", "[]", 1, 100),
        ("aten::add", "ffn", "[[2,3],[2,3]]", 1, 80),
        ("before the recording", "", "", 1, 20),
    ]


def test_a_devices_total_counts_what_was_there_before(span: Spans, write: Writer) -> None:
    events = [
        span("aten::mm", 0, 50),
        block(1, 7, 10, device=1, **{"Total Allocated": 1010}),
        block(2, 7, -10, device=1),
    ]
    trace = Trace(write(events))
    assert trace.memory()["live_bytes"].to_list() == [1010, 1000]
    assert trace.live_at_peak().select("name", "bytes").rows() == [("before the recording", 1000), ("aten::mm", 10)]


steps = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from([8, 16, 24]), st.booleans(), st.integers(0, 1)), max_size=40
)


@given(steps)
def test_what_is_live_sums_to_the_peak(steps: list[tuple[int, int, bool, int]]) -> None:
    """Against a plain simulation, whatever addresses do: reuse, frees of the unknown, allocations that stay."""
    rows = [
        {
            "time_ns": t,
            "pid": 1,
            "tid": 1,
            "address": a,
            "bytes": size if up else -size,
            "device_type": d,
            "device_id": d - 1,
        }
        for t, (a, size, up, d) in enumerate(steps)
    ]
    blocks = paired(pl.DataFrame(rows, schema=MEMORY_SCHEMA))
    empty = {"row": pl.Int64, "thread": pl.Int32, "start_ns": pl.Int64, "end_ns": pl.Int64}
    text = dict.fromkeys(("phase", "component", "part", "layer", "name", "shapes"), pl.String)
    operators = pl.DataFrame(schema={**empty, **text})
    threads = pl.DataFrame({"thread": [0], "pid": [1], "tid": [1]}, schema_overrides={"thread": pl.Int32})
    live = live_at_peak(blocks, threads, operators, sweep(operators))
    by_device = dict(live.group_by("device_type").agg(pl.col("bytes").sum()).iter_rows())
    for device, _, _, peak in peaks(blocks).iter_rows():
        assert by_device.get(device, 0) == peak
    line = timeline(blocks)
    assert line.height == len(steps)
    if len(steps):
        assert (line["live_bytes"] >= 0).all()


def test_the_peak_of_a_live_run(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    weight = torch.randn(256, 256)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True, profile_memory=True
    ) as prof:
        kept = [weight @ weight for _ in range(3)]
        del kept
    path = tmp_path / "t.json"
    prof.export_chrome_trace(str(path))
    trace = Trace(path)
    assert trace.memory_peaks()["live_bytes"].to_list() == [3 * 256 * 256 * 4]
    assert trace.live_at_peak().select("name", "blocks", "bytes").rows() == [("aten::mm", 3, 3 * 256 * 256 * 4)]


def test_parameters_of_a_point_are_added_back(store_point: Callable[..., Path], tmp_path: Path) -> None:
    memory = PeakMemory(bytes=1000, method="m", parameter_bytes=700, input_bytes=30)
    path = store_point(tmp_path, "bert", 128, 1.0, memory=memory)
    text = path.read_bytes()
    event = json.dumps({**block(500, 1, 64), "pid": 1}).encode()
    path.write_bytes(text.replace(b'"traceEvents": [', b'"traceEvents": [' + event + b", "))
    live = Trace(path).live_at_peak()
    assert live.select("name", "component", "bytes").rows() == [
        ("parameters", "", 700),
        ("aten::mm", "attention", 64),
        ("inputs", "", 30),
    ]
