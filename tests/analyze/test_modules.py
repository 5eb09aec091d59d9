"""The module tree: whose time is whose, against a plain recursion, and on real traces."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.analyze.load import load_study
from tracekit.analyze.modules import MODULES, NOWHERE
from tracekit.analyze.trace import Trace

from .conftest import span

Event = dict[str, Any]
Writer = Callable[..., Path]
MARK = "user_annotation"


@dataclass
class Made:
    """A range with `own` us of its own before what it calls; `label` is (component, path)."""

    label: tuple[str, str]
    own: int
    calls: list[Made] = field(default_factory=list)

    @property
    def total(self) -> int:
        return self.own + sum(one.total for one in self.calls)


LABELS = st.sampled_from([("layer", "l.0"), ("layer", "l.1"), ("attention", "l.0.a"), ("ffn", "f"), ("norm", "f.n#1")])
TREES = st.recursive(
    st.builds(Made, LABELS, st.integers(1, 5)),
    lambda beneath: st.builds(Made, LABELS, st.integers(1, 5), st.lists(beneath, max_size=4)),
    max_leaves=12,
)


def written(made: Made, at: int) -> list[Event]:
    """The events of a range and all it calls, from `at` us; half of its own time is an operator's."""
    component, path = made.label
    escaped = path.replace("#", "%23")
    events = [span(f"tracekit::{component}#{escaped}", at, made.total, MARK), span("aten::mm", at, made.own / 2)]
    at += made.own
    for one in made.calls:
        events += written(one, at)
        at += one.total
    return events


def summed(made: Made, chain: tuple[Any, ...], into: dict[Any, list[int]]) -> None:
    """Add own, total and calls of every chain of calls."""
    chain = (*chain, made.label)
    for i, value in enumerate((made.own, made.total if chain.count(made.label) else 0, 1)):
        into[chain][i] += value
    for one in made.calls:
        summed(one, chain, into)


def chains(table: pl.DataFrame) -> dict[Any, list[float]]:
    """Self time, total and calls by the chain of (component, path) from the top to the node."""
    found: dict[Any, list[float]] = {}
    chain: dict[int, tuple[Any, ...]] = {}
    for row in table.iter_rows(named=True):
        mark = "layer" if row["layer"] == row["path"] != "" and row["component"] == "other" else row["component"]
        above = () if row["parent"] is None else chain[row["parent"]]
        chain[row["node"]] = (*above, (mark, row["path"]))
        assert row["depth"] == len(above)
        assert chain[row["node"]] not in found
        found[chain[row["node"]]] = [row["self_ns"], row["total_ns"], row["calls"]]
    return found


@settings(max_examples=20)
@given(steps=st.lists(st.lists(TREES, max_size=4), min_size=1, max_size=4))
def test_the_tree_is_that_of_a_plain_recursion(
    steps: list[list[Made]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    events, at = [], 0
    truth: dict[Any, list[int]] = defaultdict(lambda: [0, 0, 0])
    for number, made in enumerate(steps):
        length = 7 + sum(one.total for one in made)
        events.append(span(f"ProfilerStep#{number}", at, length, MARK))
        inner = at + 7
        for one in made:
            events += written(one, inner)
            inner += one.total
            summed(one, (), truth)
        at += length
    events += [span("aten::zeros", at, 50), span("tracekit::ffn#late", at + 60, 5, MARK)]  # after the steps
    table = table_of(events, tmp_path_factory)
    outside = table.filter(pl.col("path").is_null())
    assert outside.select("name", "component", "self_ns", "calls").rows() == [(NOWHERE, "unattributed", 7000, 0)]
    got = chains(table.filter(pl.col("path").is_not_null()))
    count = len(steps)
    assert got == {
        chain: pytest.approx([own * 1000 / count, total * 1000 / count, calls / count])
        for chain, (own, total, calls) in truth.items()
    }
    assert table["self_ns"].sum() == pytest.approx(at * 1000 / count)


def table_of(events: list[Event], tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    path = tmp_path_factory.mktemp("t") / "t.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return Trace(path, cache=False).modules()


def obeys_the_law(trace: Trace) -> None:
    """Parents first, totals of self and children, and all of it the steps, by component too."""
    table = trace.modules()
    assert dict(table.schema) == MODULES
    assert table["node"].to_list() == list(range(table.height))
    assert table.filter(pl.col("parent") >= pl.col("node")).is_empty()
    beneath = table.group_by("parent").agg(pl.col("total_ns", "device_ns").sum()).rename({"parent": "node"})
    sums = table.join(beneath, on="node", how="left", maintain_order="left").fill_null(0)
    for total, own in (("total_ns", "self_ns"), ("device_ns", "self_device_ns")):
        assert sums[total].to_list() == pytest.approx((sums[own] + sums[f"{total}_right"]).to_list(), abs=1e-3)
    assert (table["forward_ns"] + table["backward_ns"] <= table["total_ns"] + 1e-3).all()
    inside = trace.components().filter((pl.col("phase") != "outside") & (pl.col("calls") > 0))
    steps = max(1, trace.steps_count)
    mine, theirs = (
        dict(frame.group_by("component").agg(pl.col(column).sum()).filter(pl.col(column) > 0).iter_rows())
        for frame, column in ((table, "self_ns"), (inside, "host_ns"))
    )
    assert {name: ns * steps for name, ns in mine.items()} == pytest.approx(theirs)


def test_functions_hang_beneath_the_module_that_called_them(write: Writer) -> None:
    events = [span("ProfilerStep#1", 0, 100, MARK), span("tracekit::model#", 5, 90, MARK)]
    for layer in (0, 1):
        at = 10 + 40 * layer
        events += [
            span(f"tracekit::layer#enc.{layer}", at, 30, MARK),
            span(f"tracekit::attention#enc.{layer}.attn", at, 20, MARK),
            span("tracekit::attention.core#fn:sdpa", at + 5, 10 - layer, MARK),
        ]
    table = Trace(write(events)).modules()
    names = table.select("parent", "depth", "path", "name", "component", "part", "layer", "self_ns").rows()
    assert names == [
        (None, 0, "", "model", "other", "", "", 30_000),
        (0, 1, "enc.0", "enc.0", "other", "", "enc.0", 10_000),
        (1, 2, "enc.0.attn", "attn", "attention", "", "enc.0", 10_000),
        (2, 3, "fn:sdpa", "fn:sdpa", "attention", "core", "enc.0", 10_000),
        (0, 1, "enc.1", "enc.1", "other", "", "enc.1", 10_000),
        (4, 2, "enc.1.attn", "attn", "attention", "", "enc.1", 11_000),
        (5, 3, "fn:sdpa", "fn:sdpa", "attention", "core", "enc.1", 9_000),
        (None, 0, None, NOWHERE, "unattributed", "", "", 10_000),
    ]


def training() -> list[Event]:
    """A forward, its loss, a backward on another thread in which the layer is recomputed, and an optimizer."""
    node = "autograd::engine::evaluate_function: AddmmBackward0"
    made: dict[str, Any] = {"Sequence number": 5, "Fwd thread id": 0}
    return [
        span("ProfilerStep#1", 0, 1000, MARK),
        span("tracekit::model#", 5, 300, MARK),
        span("tracekit::layer#l.0", 10, 200, MARK),
        span("tracekit::ffn#l.0.f", 20, 100, MARK),
        span("aten::addmm", 30, 50, **made),
        span("aten::nll_loss", 250, 20),
        span(node, 400, 100, tid=2, **{**made, "Fwd thread id": 1}),
        span("tracekit::ffn#l.0.f", 420, 30, MARK, tid=2),
        span("aten::addmm", 425, 10, tid=2),
        span("Optimizer.step#SGD.step", 600, 80, MARK),
    ]


def test_backward_and_recomputation_are_their_modules(write: Writer) -> None:
    trace = Trace(write(training()))
    columns = ("name", "component", "calls", "self_ns", "total_ns", "forward_ns", "backward_ns")
    assert trace.modules().select("parent", *columns).rows() == [
        (None, "model", "other", 1, 80_000, 400_000, 300_000, 100_000),
        (0, "l.0", "other", 1, 100_000, 300_000, 200_000, 100_000),
        (1, "f", "ffn", 2, 200_000, 200_000, 100_000, 100_000),
        (0, "loss", "loss", 0, 20_000, 20_000, 20_000, 0),
        (None, "optimizer", "optimizer", 0, 80_000, 80_000, 0, 0),
        (None, NOWHERE, "unattributed", 0, 620_000, 620_000, 0, 0),
    ]
    obeys_the_law(trace)


def test_a_recursion_over_threads_ends(write: Writer) -> None:
    """Each of two modules begins a thread in which the other runs: neither is the root of the other."""
    events = []
    for thread, (outer, inner) in enumerate((("a", "b"), ("b", "a")), 1):
        events += [span(f"tracekit::ffn#{outer}", 0, 10, MARK, tid=thread)]
        events += [span(f"tracekit::ffn#{inner}", 2, 5, MARK, tid=thread)]
    trace = Trace(write(events))
    assert trace.modules()["path"].to_list() == ["a", "b", "b", "a"]
    obeys_the_law(trace)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([span("aten::mm", 0, 10)], [(NOWHERE, "unattributed", "no_modules", 10_000)]),
        ([span("my part", 0, 10, MARK)], [("my part", "unattributed", "no_modules", 10_000)]),
        ([], []),
    ],
)
def test_traces_without_modules(write: Writer, events: list[Event], expected: list[tuple[Any, ...]]) -> None:
    table = Trace(write([*events, span("k", 0, 1, "kernel")])).modules()
    assert table.select("name", "component", "part", "self_ns").rows() == expected


@pytest.mark.parametrize(
    "name",
    [
        *("h100_bert_small_inference", "h100_owlv2_inference", "mi300_resnet_checkpoint_training"),
        *("v100_resnet_ddp_training", "mi300_torch_compile", "mi210_gpu_only"),
    ],
)
def test_real_traces_obey_the_law(shared_traces: Path, name: str) -> None:
    obeys_the_law(Trace(shared_traces / f"{name}.json.gz"))


def test_modules_of_bert_small_on_the_device(shared_traces: Path) -> None:
    table = Trace(shared_traces / "h100_bert_small_inference.json.gz").modules()
    layers = table.filter((pl.col("layer") == pl.col("path")) & (pl.col("path") != ""))
    assert layers["path"].to_list() == [f"BertLayer_{i}" for i in range(4)]
    assert table.row(0, named=True)["device_ns"] == table["self_device_ns"].sum() == 309_437
    query = table.row(by_predicate=pl.col("path") == "Linear_0", named=True)
    chain = [query["name"]]
    while query["parent"] is not None:
        query = table.row(query["parent"], named=True)
        chain.append(query["name"])
    assert chain[1:4] == ["BertSdpaSelfAttention_0", "BertAttention_0", "BertLayer_0"]


def test_recomputed_modules_of_mi300_are_where_they_first_ran(shared_traces: Path) -> None:
    table = Trace(shared_traces / "mi300_resnet_checkpoint_training.json.gz").modules()
    blocks = table.filter(pl.col("path") == "BasicBlock_0")
    assert blocks.select("calls", "depth").rows() == [(2, 4)]
    assert blocks["backward_ns"].item() > 0


def test_a_study_has_the_trees_of_all_points(tmp_path: Path, store_point: Callable[..., Path]) -> None:
    for length in (128, 256):
        store_point(tmp_path, "bert", length, length / 10)
    table = load_study([tmp_path]).modules()
    totals = table.filter(pl.col("parent").is_null()).group_by("length").agg(pl.col("total_ns").sum())
    assert dict(totals.sort("length").iter_rows()) == pytest.approx({128: 12.8e6, 256: 25.6e6})
