"""Training by hand: backward work, recomputation and the optimizer of one small step, each charged once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.trace import Trace

NODE = "autograd::engine::evaluate_function: "
MARK = "user_annotation"


@pytest.fixture
def trace(span: Callable[..., dict[str, Any]], write: Callable[..., Path]) -> Trace:
    """An ffn whose linear and addmm share a graph node, recomputed in the backward; then an optimizer."""

    def node(number: int) -> dict[str, Any]:
        return {"tid": 2, "Sequence number": number, "Fwd thread id": 1}

    events = [
        span("ProfilerStep#1", 0, 1000, MARK),
        span("tracekit::model#", 0, 300, MARK),
        span("tracekit::ffn#mlp", 10, 200, MARK),
        span("aten::linear", 20, 100, **{"Sequence number": 5}),
        span("aten::addmm", 40, 60, **{"Sequence number": 5}),
        span("aten::gelu", 130, 30, **{"Sequence number": 6}),
        # backward, in a thread of its own: a module that is entered there again, then the nodes
        span(f"{NODE}CheckpointBackward", 400, 90, **node(6)),
        span("tracekit::ffn#mlp", 410, 50, MARK, tid=2),
        span("aten::addmm", 420, 30, tid=2),
        span(f"{NODE}AddmmBackward0", 500, 80, **node(5)),
        span("AddmmBackward0", 510, 60, **node(5)),
        span("aten::mm", 520, 40, tid=2),
        span(f"{NODE}torch::autograd::AccumulateGrad", 590, 10, tid=2),
        span("Optimizer.step#SGD.step", 700, 100, MARK),
        span("aten::_foreach_add_", 710, 50),
    ]
    return Trace(write(events))


def test_backward_is_of_the_forward_operator_that_began_last(trace: Trace) -> None:
    caused = {(row["name"], row["kind"]): row["backward_ns"] for row in trace.operators().to_dicts()}
    assert caused[("aten::addmm", "operator")] == 90_000  # its node, and the accumulation that follows it
    assert caused[("aten::gelu", "operator")] == 40_000  # what the checkpoint does beside recomputing
    assert sum(caused.values()) == 130_000
    assert caused[("aten::linear", "operator")] == 0


def test_recomputation_is_charged_once(trace: Trace) -> None:
    phases = dict(trace.components().group_by("phase").agg(pl.col("host_ns").sum()).iter_rows())
    assert phases["recompute"] == 50_000
    assert phases["backward"] == 130_000
    again = trace.host.filter((pl.col("name") == "aten::addmm") & (pl.col("phase") == "recompute"))
    assert again["forward_row"].to_list() == [None]
    assert sum(phases.values()) == trace.busy_ns


def test_an_optimizer_is_no_part_of_the_model(trace: Trace) -> None:
    rows = trace.components().filter(pl.col("phase") == "optimizer").select("component", "host_ns").rows()
    assert rows == [("optimizer", 100_000)]
    of_ffn = trace.components().filter(pl.col("component") == "ffn")
    assert dict(of_ffn.select("phase", "host_ns").iter_rows()) == {
        "forward": 200_000,
        "recompute": 50_000,
        "backward": 130_000,
    }
