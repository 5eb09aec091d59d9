"""Attribution: whose cost an event is, on hand-made traces whose answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.trace import Trace

Event = dict[str, Any]
Spans = Callable[..., Event]
Writer = Callable[..., Path]


def annotated(span: Spans) -> list[Event]:
    """One step of 1,000 us: 10 us before the model, attention with a core, an ffn, an op of the layer, an op outside."""
    mark = "user_annotation"
    return [
        span("ProfilerStep#3", 0, 1000, mark),
        span("tracekit::phase#forward", 10, 980, mark),
        span("tracekit::model#", 20, 960, mark),
        span("tracekit::layer#layer.0", 30, 700, mark),
        span("tracekit::attention#layer.0.attention", 40, 400, mark),
        span("tracekit::attention.projections#layer.0.attention.query", 45, 110, mark),
        span("aten::linear", 50, 100),
        span("aten::addmm", 60, 80),
        span("tracekit::attention.core#fn:sdpa", 200, 150, mark),
        span("aten::bmm", 210, 100),
        span("tracekit::mask#fn:create_mask", 400, 20, mark),
        span("tracekit::ffn#layer.0.mlp", 450, 200, mark),
        span("aten::addmm", 460, 150),
        span("aten::add", 680, 40),  # a residual: of the layer, so other
        span("aten::empty", 985, 3),  # after the model, inside the phase
        span("aten::zeros", 1100, 7),  # after the step
    ]


def test_components_of_an_annotated_step(span: Spans, write: Writer) -> None:
    trace = Trace(write(annotated(span)))
    got = {
        (phase, component, part): ns
        for phase, component, part, ns in trace.components().select("phase", "component", "part", "host_ns").iter_rows()
    }
    assert got == {
        ("forward", "attention", ""): (400 - 110 - 150 - 20) * 1000,
        ("forward", "attention", "projections"): 110_000,
        ("forward", "attention", "core"): 150_000,
        ("forward", "attention", "mask"): 20_000,
        ("forward", "ffn", ""): 200_000,
        ("forward", "other", ""): (960 - 400 - 200) * 1000,
        ("forward", "unattributed", ""): 20_000,
        ("other", "unattributed", ""): 20_000,
        ("outside", "unattributed", ""): 7_000,
    }
    step = trace.steps()["dur_ns"].sum()
    inside = trace.components().filter(pl.col("phase") != "outside")
    assert inside["host_ns"].sum() == step == 1_000_000
    assert trace.components()["share"].sum() == pytest.approx(1)


def test_layers_name_the_layer(span: Spans, write: Writer) -> None:
    layers = Trace(write(annotated(span))).layers()
    rows = layers.filter(pl.col("layer") == "layer.0").group_by("component").agg(pl.col("host_ns").sum())
    assert dict(rows.iter_rows()) == {"attention": 400_000, "ffn": 200_000, "other": 100_000}


def test_an_operator_names_the_component_where_most_of_it_lies(span: Spans, write: Writer) -> None:
    operators = Trace(write(annotated(span))).operators()
    addmm = operators.row(by_predicate=pl.col("name") == "aten::addmm", named=True)
    assert (addmm["component"], addmm["calls"], addmm["self_ns"], addmm["total_ns"]) == ("ffn", 2, 230_000, 230_000)
    split = Trace(write(annotated(span))).operators(by=["component"]).filter(pl.col("name") == "aten::addmm")
    assert dict(split.select("component", "self_ns").iter_rows()) == {"ffn": 150_000, "attention": 80_000}


def test_steps_are_compared_not_only_added(span: Spans, write: Writer) -> None:
    mark = "user_annotation"
    events = []
    for number, dur in enumerate((100, 300, 200)):
        at = number * 1000
        events += [
            span(f"ProfilerStep#{number}", at, 900, mark),
            span("tracekit::model#", at + 10, 800, mark),
            span("tracekit::ffn#mlp", at + 20, dur, mark),
        ]
    events += [span("tracekit::head#head", 2500, 50, mark)]  # in one step of three
    table = Trace(write(events)).components()
    ffn = table.row(by_predicate=pl.col("component") == "ffn", named=True)
    assert (ffn["steps"], ffn["host_ns"], ffn["step_ns"], ffn["lo_ns"], ffn["hi_ns"]) == (
        3,
        600_000,
        200_000,
        100_000,
        300_000,
    )
    head = table.row(by_predicate=pl.col("component") == "head", named=True)
    assert (head["lo_ns"], head["hi_ns"], head["step_ns"]) == (0, 50_000, pytest.approx(50_000 / 3))


def test_module_frames_outside_in(span: Spans, write: Writer) -> None:
    frame = "python_function"
    events = [
        span("nn.Module: BertModel_0", 0, 1000, frame),
        span("nn.Module: BertEmbeddings_0", 10, 90, frame),
        span("nn.Module: LayerNorm_0", 20, 30, frame),  # of the embedding, which was met first
        span("nn.Module: BertLayer_0", 200, 600, frame),
        span("nn.Module: BertAttention_0", 210, 200, frame),
        span("nn.Module: BertSelfOutput_0", 300, 50, frame),  # inherits attention
        span("nn.Module: BertRotaryEmbedding_0", 360, 20, frame),  # positional is split out
        span("nn.Module: BertOutput_0", 500, 100, frame),  # directly under a layer: ffn
        span("nn.Module: LayerNorm_1", 700, 40, frame),
    ]
    trace = Trace(write(events))
    assert trace.range_source == "modules"
    got = dict(trace.components().select("component", "host_ns").iter_rows())
    assert got == {
        "embedding": 90_000,
        "attention": 180_000,
        "positional": 20_000,
        "ffn": 100_000,
        "norm": 40_000,
        "other": 570_000,
    }


def test_a_range_that_starts_with_its_child_keeps_its_own_time(span: Spans, write: Writer) -> None:
    mark = "user_annotation"
    events = [span("tracekit::model#", 0, 100, mark), span("tracekit::ffn#mlp", 0, 40, mark)]
    got = dict(Trace(write(events)).components().select("component", "host_ns").iter_rows())
    assert got == {"other": 60_000, "ffn": 40_000}


def test_partial_overlap_of_kinds_does_not_leak(span: Spans, write: Writer) -> None:
    """A Python frame that outlives a range hands nothing of that range to what starts after it."""
    events = [
        span("tracekit::attention#a", 0, 100, "user_annotation"),
        span("step", 50, 200, "python_function"),
        span("aten::late", 150, 10),
    ]
    host = Trace(write(events)).host
    assert dict(host.select("name", "component").iter_rows())["aten::late"] == "unattributed"


def test_device_work_finds_its_operator(span: Spans, write: Writer) -> None:
    def kernel(name: str, start: float, correlation: int, external: int | None = None) -> Event:
        args = {"device": 0, "stream": 7, "correlation": correlation}
        return span(name, start, 10, "kernel", **args, **({"External id": external} if external else {}))

    events = [
        span("tracekit::ffn#mlp", 0, 100, "user_annotation"),
        span("aten::linear", 10, 50, **{"External id": 1}),
        span("aten::addmm", 20, 30, **{"External id": 2}),
        span("cudaLaunchKernel", 25, 5, "cuda_runtime", correlation=11),
        span("cudaLaunchKernel", 32, 5, "cuda_runtime", correlation=12),
        span("cudaLaunchKernel", 38, 5, "cuda_runtime", correlation=14),
        span("cudaLaunchKernel", 44, 2, "cuda_runtime", correlation=14),
        span("cudaLaunchKernel", 90, 5, "cuda_runtime", correlation=15),
        span("cudaLaunchKernel", 96, 2, "cuda_runtime", correlation=0),  # no number, though both have it
        kernel("by_external_id", 200, 11, external=1),
        kernel("by_containment", 220, 12, external=999),
        kernel("before_window", 240, 77),
        kernel("ambiguous", 260, 14),
        kernel("no_launch", 280, 0),
        kernel("no_operator", 300, 15),
    ]
    trace = Trace(write(events))
    names = [trace.host["name"][row] if row is not None else None for row in trace.device["row"]]
    got = dict(zip(trace.device["name"], zip(trace.device["launch"], names, strict=True), strict=True))
    assert got == {
        "by_external_id": ("linked", "aten::linear"),
        "by_containment": ("linked", "aten::addmm"),
        "before_window": ("before_window", None),
        "ambiguous": ("ambiguous", None),
        "no_launch": ("none", None),
        "no_operator": ("linked", None),
    }
    assert dict(trace.device_launches().select("launch", "total_ns").iter_rows()) == {
        "linked": 20_000,
        "before_window": 10_000,
        "ambiguous": 10_000,
        "none": 10_000,
        "no_operator": 10_000,
    }
    assert trace.components()["device_ns"].sum() == trace.device_ns == 60_000
    said = {f.code: (f.count, f.where) for f in trace.findings}
    assert said == dict.fromkeys(
        ("launch_before_window", "launch_ambiguous", "launch_none"), (1, "10.0 us of device time")
    )


def test_recursion_is_counted_once(span: Spans, write: Writer) -> None:
    events = [
        span("aten::sum", 0, 100),
        span("aten::sum", 10, 80),
        span("aten::sum", 20, 20),
        span("aten::sum", 200, 5),
    ]
    row = Trace(write(events)).operators().row(0, named=True)
    assert (row["calls"], row["total_ns"], row["calls_raw"], row["total_raw_ns"]) == (2, 105_000, 4, 205_000)
    assert row["self_ns"] == 105_000


def test_recursion_that_ends_with_its_caller_is_counted_once(span: Spans, write: Writer) -> None:
    events = [
        span("aten::sum", 0, 100),
        span("aten::sum", 10, 90),
        span("aten::sum", 10, 90),
        span("aten::sum", 100, 5),
    ]
    row = Trace(write(events)).operators().row(0, named=True)
    assert (row["calls"], row["total_ns"], row["calls_raw"]) == (2, 105_000, 4)


def test_rest_keeps_sums_true(span: Spans, write: Writer) -> None:
    trace = Trace(write([span(f"op{i}", i * 10, i + 1) for i in range(9)]))
    full, cut = trace.operators(), trace.operators(top=3)
    assert cut.height == 4
    assert cut.row(3, named=True)["name"] == "rest"
    for column in ("calls", "self_ns", "total_ns", "share", "device_ns"):
        assert cut[column].sum() == pytest.approx(full[column].sum())


def test_work_of_a_graph_is_told_apart(span: Spans, write: Writer) -> None:
    """Many kernels of one launch: all belong to the operator that replayed the graph, in a row of their own."""
    kernels = [span("gemm", 100 + 20 * i, 10, "kernel", device=0, stream=7, correlation=5) for i in range(4)]
    events = [
        span("tracekit::ffn#mlp", 0, 50, "user_annotation"),
        span("Replay", 10, 30),
        span("cudaGraphLaunch", 15, 5, "cuda_runtime", correlation=5),
        span("cudaLaunchKernel", 60, 5, "cuda_runtime", correlation=6),
        span("cudaGraphLaunch", 70, 5, "cuda_runtime", correlation=7),
        *kernels,
        span("alone", 300, 3, "kernel", device=0, stream=7, correlation=6),
        span("graph_alone", 310, 4, "kernel", device=0, stream=7, correlation=7),
    ]
    trace = Trace(write(events))
    assert dict(trace.device_launches().select("launch", "total_ns").iter_rows()) == {
        "graph": 40_000,
        "no_operator": 7_000,
    }
    device = {(c, p): ns for c, p, ns in trace.components().select("component", "part", "device_ns").iter_rows() if ns}
    assert device == {("ffn", ""): 40_000, ("unattributed", "no_operator"): 7_000}
    assert trace.findings == []
