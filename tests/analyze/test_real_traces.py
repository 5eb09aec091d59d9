"""Real device traces from other tools' suites: integers known from an independent reader (shared/traces/README.md)."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest

from tracekit.analyze.trace import Trace

# file: host operators, their busy ns, device events, device sum, device union, orphans, orphans' ns
TRUTH = {
    "h100_bert_small_inference": (479, 2108422, 61, 309437, 309437, 0, 0),
    "h100_vit_inference": (1258, 4811470, 156, 1225310, 1225310, 0, 0),
    "h100_qwen_0.5b_inference": (4186, 22040534, 1707, 45647300, 45647300, 509, 13741827),
    "h100_owlv2_inference": (24378, 501129319, 5165, 566759477, 566759477, 0, 0),
    "mi300_bert_small_inference": (519, 1979209, 61, 390748, 390748, 0, 0),
    "v100_resnet_ddp_training": (23910, 357782594, 6095, 472454441, 472454441, 0, 0),
    "mi300_resnet_checkpoint_training": (8004, 39087441, 3653, 100230072, 84002056, 968, 31834405),
    "mi300_torch_compile": (41, 878845, 12, 12549021, 12549021, 0, 0),
    "mi210_gpu_only": (0, 0, 562, 5343422, 5343422, 0, 0),
    "a100_ddp_2023/rank-0": (2329, 623183000, 1204, 607844000, 547656000, 0, 0),
    "a100_ddp_2023/rank-1": (2302, 639271000, 1154, 667530000, 580050000, 0, 0),
}


@pytest.mark.parametrize("name", TRUTH)
def test_truth(shared_traces: Path, name: str) -> None:
    trace = Trace(shared_traces / f"{name}.json.gz")
    orphans = trace.device.filter(pl.col("launch") == "before_window")
    assert (
        trace.host.filter(pl.col("kind") == "operator").height,
        trace.operator_busy_ns,
        trace.device.height,
        trace.device_ns,
        trace.device_busy_ns,
        orphans.height,
        orphans["dur_ns"].sum(),
    ) == TRUTH[name]
    assert trace.operators()["self_ns"].sum() == trace.busy_ns == trace.components()["host_ns"].sum()
    assert trace.components()["device_ns"].sum() == trace.device_ns
    assert trace.device_launches()["total_ns"].sum() == trace.device_ns
    assert trace.events.findings == []


def test_components_of_bert_small_on_the_device(shared_traces: Path) -> None:
    components = Trace(shared_traces / "h100_bert_small_inference.json.gz").components()
    device = {
        name: round(ns / 1000, 1)
        for name, ns in components.group_by("component").agg(pl.col("device_ns").sum()).iter_rows()
        if ns
    }
    assert device == {"attention": 148.9, "ffn": 84.3, "head": 52.1, "embedding": 16.5, "other": 7.6}


@pytest.mark.parametrize(
    ("name", "links"), [("v100_resnet_ddp_training", 905), ("mi300_resnet_checkpoint_training", 213)]
)
def test_backward_nodes_find_the_operators_that_the_flows_name(shared_traces: Path, name: str, links: int) -> None:
    path = shared_traces / f"{name}.json.gz"
    flows: dict[int, dict[str, tuple[int, int]]] = {}
    for event in json.loads(gzip.decompress(path.read_bytes()), parse_float=Decimal)["traceEvents"]:
        if event.get("cat") == "fwdbwd":
            flows.setdefault(event["id"], {})[event["ph"]] = (event["tid"], int(Decimal(event["ts"]) * 1000))
    assert len(flows) == links
    trace = Trace(path)
    tids = dict(trace.events.frames.threads.select("thread", "tid").iter_rows())
    places = [(tids[thread], start) for thread, start in trace.host.select("thread", "start_ns").iter_rows()]
    operators = trace.events.frames.operators.filter(pl.col("forward_thread") > 0)
    caused = trace.host["forward_row"]
    ours = {(places[row], places[caused[row]]) for row in operators["row"] if caused[row] is not None}
    assert {(flow["f"], flow["s"]) for flow in flows.values()} <= ours


def test_backward_device_time_of_v100_is_charged_to_forward_operators(shared_traces: Path) -> None:
    trace = Trace(shared_traces / "v100_resnet_ddp_training.json.gz")
    backward = trace.host.filter(pl.col("phase") == "backward")
    assert backward["device_ns"].sum() > 300_000_000
    assert backward["forward_row"].null_count() == 0
    operators = trace.operators()
    assert operators["backward_device_ns"].sum() == backward["device_ns"].sum()
    assert operators.sort("backward_device_ns").row(-1, named=True)["name"] == "aten::convolution"
    components = trace.components().filter(pl.col("phase") == "backward")
    said = dict(components.select("component", "part").iter_rows())
    assert said == {"unattributed": "no_modules", "loss": ""}
    assert "no_ranges" in [f.code for f in trace.findings]


def test_backward_and_recompute_of_mi300_are_charged_to_modules(shared_traces: Path) -> None:
    trace = Trace(shared_traces / "mi300_resnet_checkpoint_training.json.gz")
    table = trace.components().filter(pl.col("device_ns") > 0)
    for phase in ("backward", "recompute"):
        part = table.filter(pl.col("phase") == phase)
        assert set(part["component"]) <= {"conv", "norm", "loss", "other"}
        assert part["device_ns"].sum() > 4_000_000
    layers = trace.layers().filter(pl.col("phase") == "backward")
    assert layers.filter(pl.col("layer").str.starts_with("BasicBlock_"))["device_ns"].sum() > 0
    per_step = trace.components().filter((pl.col("phase") == "backward") & (pl.col("component") == "conv"))
    assert per_step["steps"].to_list() == [3]
    assert per_step["lo_ns"].item() <= per_step["step_ns"].item() <= per_step["hi_ns"].item()
