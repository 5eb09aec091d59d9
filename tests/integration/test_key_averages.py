"""The operators table against torch's own: the same live run, exported, read back, compared name by name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.trace import Trace

torch = pytest.importorskip("torch")


def live_run(path: Path, training: bool) -> Any:
    """Profile three steps of a small transformer layer and export them; returns the profile."""
    torch.manual_seed(0)
    layer = torch.nn.TransformerEncoderLayer(32, 4, 64, batch_first=True, dropout=0.0).train(training)
    inputs = torch.randn(2, 16, 32)
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], record_shapes=True, profile_memory=True
    ) as prof:
        for _ in range(3):
            with torch.profiler.record_function("tracekit::model#"):
                result = layer(inputs)
            if training:
                result.sum().backward()
    prof.export_chrome_trace(str(path))
    return prof


@pytest.mark.parametrize("training", [False, True])
def test_operators_equal_key_averages(tmp_path: Path, training: bool) -> None:
    path = tmp_path / "live.json"
    profile = live_run(path, training)
    trace = Trace(path)
    ours = {row["name"]: row for row in trace.operators().filter(pl.col("kind") != "runtime").to_dicts()}
    # torch folds a call whose only child has its own name into one; those names recur beneath themselves
    recurring = set(trace.host.filter(~pl.col("outermost"))["name"])
    theirs = {e.key: e for e in profile.key_averages()}
    compared = 0
    for name, event in theirs.items():
        if name.startswith("[memory]"):
            continue
        row = ours[name]
        assert row["total_ns"] == pytest.approx(event.cpu_time_total * 1000, abs=0.5 * row["calls_raw"] + 1), name
        if name in recurring:
            continue
        compared += 1
        assert row["calls"] == row["calls_raw"] == event.count, name
        assert row["total_ns"] == row["total_raw_ns"]
        assert row["self_ns"] == pytest.approx(event.self_cpu_time_total * 1000, abs=row["calls"] + 1), name
    assert compared > 15
    assert set(theirs) - {"[memory]"} == set(ours)
