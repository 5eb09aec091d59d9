"""The lanes that `tracekit open` adds: they sum to our tables, never overlap, and leave the raw events as they are."""

from __future__ import annotations

import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hostile import NAMES
from tracekit.analyze import slices
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.components import COMPONENTS
from tracekit.reports import splice
from tracekit.reports.lanes import thinned
from tracekit.reports.overlay import save_overlay, write_overlay
from tracekit.reports.splice import Place, microseconds

Event = dict[str, Any]
JSON = msgspec.json.Decoder(float_hook=str)  # times keep their digits
REAL = (
    *("h100_bert_small_inference", "mi300_resnet_checkpoint_training", "mi300_torch_compile", "mi210_gpu_only"),
    *("v100_resnet_ddp_training", "a100_ddp_2023/rank-0"),
)


def written(study: Study) -> list[Event]:
    file = io.BytesIO()
    write_overlay(study, file)
    found: list[Event] = JSON.decode(file.getvalue())["traceEvents"]
    return found


def ns(microseconds: Any) -> int:
    """Exactly: no digit passes through a float."""
    whole, _, decimals = str(microseconds).partition(".")
    assert len(decimals) <= 3
    return int(whole) * 1000 + int(decimals.ljust(3, "0"))


class Lanes:
    """Our lanes in a written file: of one process, by its number among ours."""

    def __init__(self, events: list[Event], process: int = 0) -> None:
        ours = [e for e in events if e.get("cat") == "tracekit"]
        pids = list(dict.fromkeys(e["pid"] for e in ours))
        self.named = {
            e["tid"]: e["args"]["name"] for e in ours if e["name"] == "thread_name" and e["pid"] == pids[process]
        }
        self.process = next(
            e["args"]["name"] for e in ours if e["name"] == "process_name" and e["pid"] == pids[process]
        )
        self.slices: defaultdict[int, list[tuple[int, int, Event]]] = defaultdict(list)
        for e in ours:
            if e["ph"] == "X" and e["pid"] == pids[process]:
                self.slices[e["tid"]].append((ns(e["ts"]), ns(e["ts"]) + ns(e["dur"]), e))
        self.counters = [e for e in ours if e["ph"] == "C" and e["pid"] == pids[process]]

    def base(self, tid: int) -> str:
        return str(self.named[tid]).split(" (")[0]

    def sums(self, *names: str, by: Callable[[Event], str] | None = None) -> Counter[str]:
        found: Counter[str] = Counter()
        for tid, rows in self.slices.items():
            if self.base(tid) in names:
                for start, end, event in rows:
                    found[by(event) if by else self.base(tid)] += end - start
        return found

    def assert_sound(self) -> None:
        """No name twice; slices of a lane come in order and do not overlap; in a lane of modules they may nest."""
        assert len(set(self.named.values())) == len(self.named)
        for tid, rows in self.slices.items():
            opened: list[int] = []
            last = -1
            for start, end, _ in rows:
                assert start >= last
                last = start
                while opened and opened[-1] <= start:
                    opened.pop()
                assert not opened or (end <= opened[-1] and self.base(tid).startswith(("modules", "overlapping")))
                opened.append(end)
        components = [name for name in (self.base(tid) for tid in sorted(self.named)) if name in COMPONENTS]
        assert components == sorted(components, key=COMPONENTS.index)


def totals(table: pl.DataFrame, key: str, column: str) -> dict[str, int]:
    return {name: ns for name, ns in table.group_by(key).agg(pl.col(column).sum()).iter_rows() if ns}


def assert_true(trace: Trace, events: list[Event]) -> None:
    """Lanes say what the tables say, to the nanosecond."""
    lanes, table = Lanes(events), trace.components()
    lanes.assert_sound()
    assert lanes.process == "tracekit"
    assert lanes.sums(*COMPONENTS) == totals(table, "component", "host_ns")
    assert lanes.sums("phases", by=lambda e: e["name"]) == totals(table, "phase", "host_ns")
    assert lanes.sums("steps") == Counter({"steps": trace.steps()["dur_ns"].sum()} if trace.steps_count else {})
    devices: Counter[str] = Counter()
    for number in range(trace.device["device"].n_unique()):
        device = Lanes(events, 1 + number)
        device.assert_sound()
        devices += device.sums(*COMPONENTS)
    assert devices == totals(table, "component", "device_ns")
    for (kind, number), part in trace.memory().group_by("device_type", "device_id"):
        name = f"memory, device {number}" if kind else "memory, host"
        peak = max(e["args"]["bytes"] for e in lanes.counters if e["name"] == name)
        assert peak == part["live_bytes"].max()


@pytest.mark.parametrize("name", REAL)
def test_real_traces(shared_traces: Path, tmp_path: Path, name: str) -> None:
    trace = Trace(shared_traces / f"{name}.json.gz")
    events = written(Study.of(trace))
    assert_true(trace, events)
    raw = JSON.decode(gzip.decompress(trace.path.read_bytes()))["traceEvents"]
    kept = [e for e in events if e.get("cat") != "tracekit"]
    moved = {ns(a["ts"]) - ns(b["ts"]) for a, b in zip(raw, kept, strict=True) if "ts" in a and ns(b["ts"])}
    assert len(moved) == 1
    assert max(ns(e.get("ts", 0)) for e in kept) < 1000 << 43  # where a viewer's doubles still hold nanoseconds
    for event in (*raw, *kept):
        event["ts"] = 0
    assert raw == kept


def test_a_point_of_ours(store_point: Callable[..., Path], tmp_path: Path) -> None:
    trace = Trace(store_point(tmp_path, "bert", 64, 1.5, ops=("aten::mm", "aten::add")))
    events = written(Study.of(trace))
    assert_true(trace, events)
    lanes = Lanes(events)
    assert set(lanes.named.values()) == {"steps", "phases", "modules", "attention", "ffn", "unattributed"}
    (tid,) = (tid for tid, name in lanes.named.items() if name == "modules")
    assert [(e["name"], e["args"].get("module")) for *_, e in lanes.slices[tid]] == [
        ("model", None),
        ("attention", "a"),
        ("ffn", "f"),
    ]


def span(
    name: str, start: float, dur: float, cat: str = "cpu_op", tid: int = 1, args: dict[str, Any] | None = None
) -> Event:
    times = {"ts": start, "dur": dur}
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, **times, "args": args or {}}


def range_of(component: str, start: float, dur: float, tid: int = 1) -> Event:
    return span(f"tracekit::{component}#m.{component}", start, dur, "user_annotation", tid)


def store(path: Path, events: list[Any], **header: Any) -> Path:
    path.write_text(json.dumps({**header, "traceEvents": events, "traceName": "t"}))
    return path


def test_threads_that_work_at_once_share_out_over_lanes(tmp_path: Path) -> None:
    """Backward in a thread of its own, while the main thread is still in attention; and ranges that overlap partially."""
    node = "autograd::engine::evaluate_function: MmBackward0"
    events = [
        range_of("attention", 0, 10),
        span("aten::mm", 1, 5, args={"Sequence number": 3, "Fwd thread id": 0}),
        span(node, 4, 5, tid=2, args={"Sequence number": 3, "Fwd thread id": 1}),
        range_of("ffn", 8, 10),
        span("odd", 17.5, 2),
        range_of("norm", 0, 3, tid=3),
    ]
    trace = Trace(store(tmp_path / "t.json", events))
    found = written(Study.of(trace))
    assert_true(trace, found)
    lanes = Lanes(found)
    assert {"attention", "attention (2)", "modules", "modules (2)", "modules, thread 3"} <= set(lanes.named.values())
    lost = [
        e["name"] for tid, rows in lanes.slices.items() if lanes.base(tid) == "overlapping events" for *_, e in rows
    ]
    assert sorted(lost) == ["odd", "tracekit::ffn#m.ffn"]


def test_raw_bytes_are_not_touched_where_nothing_must_move(tmp_path: Path) -> None:
    body = b'\n  {"ph" : "X", "cat":"cpu_op","name":"a\\u0001\xc3\xa9", "pid":1,"tid":1,"ts":4600000000000.001,"dur":2.5 } '
    path = tmp_path / "t.json"
    path.write_bytes(b'{"x": "\\"traceEvents\\": [", "traceEvents": [' + body + b'], "traceName": "]"}')
    file = io.BytesIO()
    write_overlay(Study.of(Trace(path)), file)
    assert body.strip() in file.getvalue()
    assert len([e for e in json.loads(file.getvalue())["traceEvents"] if e.get("cat") != "tracekit"]) == 1


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ('[{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":1,"dur":2},]', 1),
        ('[{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":1,"dur":2}, {"ph": "X", "na', 1),
        ('{"traceEvents": []}', 0),
        ('{"traceEvents": [ ], "a": 1}', 0),
        ('\ufeff{"traceEvents": [{"ph":"M","name":"process_name","pid":1,"args":{"name":"x"}}\n ]} rest', 1),
    ],
)
def test_unsound_files_become_sound_ones(tmp_path: Path, text: str, raw: int) -> None:
    path = tmp_path / "t.json"
    path.write_text(text, encoding="utf-8")
    events = written(Study.of(Trace(path)))
    assert sum(e.get("cat") != "tracekit" for e in events) == raw


def test_side_by_side(store_point: Callable[..., Path], tmp_path: Path) -> None:
    """Nothing of one trace meets another's: processes, words as processes, flows; the first steps begin together."""
    paths = [store_point(tmp_path, model, 64, ms) for model, ms in (("bert", 1.5), ("longformer", 4.0))]
    extra = [
        {"ph": "M", "name": "process_name", "pid": 1, "tid": 0, "ts": 5, "args": {"name": "python"}},
        {"ph": "X", "cat": "Trace", "name": "whole", "pid": "Spans", "tid": "t", "ts": 999, "dur": 1},
        {"ph": "s", "cat": "ac2g", "name": "ac2g", "id": 4, "pid": 1, "tid": 1, "ts": 1000},
    ]
    for number, path in enumerate(paths):
        document = json.loads(path.read_text())
        for event in document["traceEvents"]:
            event["ts"] += 1000 + 77 * number
        document["traceEvents"] = extra + document["traceEvents"]
        path.write_text(json.dumps(document))
    study = load_study([tmp_path])
    events = written(study)
    groups = [Lanes(events, number) for number in range(2)]
    assert [group.process for group in groups] == ["bert 64: tracekit", "longformer 64: tracekit"]
    for group, trace in zip(groups, study.traces, strict=True):
        group.assert_sound()
        assert group.sums(*COMPONENTS) == totals(trace.components(), "component", "host_ns")
    steps = [e["ts"] for e in events if e["name"] == "ProfilerStep#1"]
    assert ns(steps[0]) == ns(steps[1]) > 0
    raw = [e for e in events if e.get("cat") != "tracekit"]
    assert len({e["pid"] for e in events}) == 6  # each: ours, python, Spans
    assert [e["pid"] for e in raw if e.get("cat") == "Trace"] == [
        "bert 64: Spans",
        "longformer 64: Spans",
    ]
    assert len({e["id"] for e in raw if e["ph"] == "s"}) == 2
    names = [e["args"]["name"] for e in raw if e["name"] == "process_name"]
    assert names == ["bert 64: python", "longformer 64: python"]


def test_repeats_have_names_of_their_own(store_point: Callable[..., Path], tmp_path: Path) -> None:
    path = store_point(tmp_path, "bert", 64, 1.5)
    (path.parent / "again.json").write_bytes(path.read_bytes())
    events = written(load_study([tmp_path]))
    assert Lanes(events, 1).process == "bert 64 (repeat 2): tracekit"


HOSTILE = (
    *NAMES[:-1],
    '"},{"ph":"X"',
    "\\",
    "n" * 5000,
    '"ts": 1, "pid": 2, "id": 3',
)


def test_hostile_names_are_data(tmp_path: Path) -> None:
    events = [span("ProfilerStep#1", 0, 1000, "user_annotation")]
    for number, name in enumerate(HOSTILE):
        events.append(span(f"tracekit::attention#{name}", number * 10 + 1, 9, "user_annotation"))
        events.append(span(f"tracekit::layer#{name}", number * 10 + 2, 7, "user_annotation"))
        events.append(span(name, number * 10 + 3, 2))
    device = {"device": 0, "stream": 7}
    events += [{**span(name, n * 10.0, 3, "kernel"), "args": device} for n, name in enumerate(HOSTILE)]
    paths = [store(tmp_path / name, events) for name in ("a.json", "b\u202e<i>\"'.json")]
    for study in (Study.of(Trace(paths[0])), load_study(paths)):
        found = written(study)
        for name in HOSTILE:
            count = sum(e["name"] == name and e.get("cat") == "cpu_op" for e in found)
            assert count == len(study.traces)
        for text in (text for e in found if e.get("cat") == "tracekit" for text in (e["name"], *e["args"].values())):
            if isinstance(text, str):
                assert text.isprintable()
                assert len(text) <= 300
        kernels = {e["args"]["event"] for e in found if e.get("cat") == "tracekit" and "event" in e["args"]}
        assert len(kernels) == len(HOSTILE)


def test_a_saved_file_reads_as_the_trace_it_was_made_of(store_point: Callable[..., Path], tmp_path: Path) -> None:
    trace = Trace(store_point(tmp_path / "in", "bert", 64, 1.5))
    for name in ("a.json", "a.json.gz", "b.json.gz"):
        save_overlay(Study.of(trace), tmp_path / name)
        again = Trace(tmp_path / name)
        assert again.components().equals(trace.components())
        assert again.findings == trace.findings
        assert again.point is None  # it must not count as a repeat of the point
    assert (tmp_path / "a.json.gz").read_bytes() == (tmp_path / "b.json.gz").read_bytes()
    assert gzip.decompress((tmp_path / "a.json.gz").read_bytes()) == (tmp_path / "a.json").read_bytes()


# -- the parts


@given(st.integers(0, 1 << 53), st.integers(0, 1 << 53), st.sampled_from(["{}", "{:g}", "{} "]), st.integers(1, 400))
def test_times_move_exactly(time: int, base: int, form: str, piece: int) -> None:
    text = (
        f'{{"ts" : {microseconds(time)}, "args":{{"x": "\\"ts\\": 5", "Fwd ts": 3}}}}, {{"ph":"i","ts":{time // 1000}}}'
    )
    place = Place(earlier_ns=base)
    moved = json.loads(f"[{place.moved(text.encode()).decode()}]", parse_float=str)
    assert ns(moved[0]["ts"]) == max(0, time - base)
    assert ns(moved[1]["ts"]) == max(0, time // 1000 * 1000 - base)
    assert moved[0]["args"] == {"x": '"ts": 5', "Fwd ts": 3}


def test_events_cut_anywhere_move_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [{**span(f"e{n}}}", 1e15 + n, 1), "id": n} for n in range(20)]
    path = store(tmp_path / "t.json", events)
    arrays, place = Trace(path).events.arrays, Place(5, 10**18, "x: ")
    whole = b"".join(splice.raw_events(path, arrays, place))
    for size in (1, 7, 64, 100):
        monkeypatch.setattr(splice, "BLOCK", size)
        assert b"".join(splice.raw_events(path, arrays, place)) == whole
    assert [(e["pid"], e["id"], e["ts"]) for e in json.loads(b"[" + whole + b"]")] == [
        (12, 5 + n, n) for n in range(20)
    ]


intervals = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 12)), max_size=25)


@given(intervals, st.booleans())
def test_lanes_never_overlap(drawn: list[tuple[int, int]], nested: bool) -> None:
    spans = sorted(((start, start + dur) for start, dur in drawn), key=lambda s: (s[0], -s[1]))
    start, end = (np.array([span[side] for span in spans], dtype=np.int64) for side in (0, 1))
    lane = slices.lanes(start, end, nested=nested)
    for a in range(len(spans)):
        for b in range(a):
            if lane[a] == lane[b]:
                apart = end[b] <= start[a]
                assert apart or (nested and end[a] <= end[b])
    if not nested and spans:
        at_once = [sum(s <= moment < e or s == e == moment for s, e in spans) for moment in range(50)]
        assert lane.max() + 1 <= max(at_once)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 30), st.integers(0, 12)), min_size=1, max_size=20))
def test_owned_moments_sum_to_self_time(drawn: list[tuple[int, int, int]]) -> None:
    from tracekit.analyze.nest import sweep, sweep_order

    table = pl.DataFrame(
        {
            "thread": [t for t, _, _ in drawn],
            "start_ns": [s for _, s, _ in drawn],
            "end_ns": [s + d for _, s, d in drawn],
            "ev_idx": range(len(drawn)),
            "name": [str(n) for n in range(len(drawn))],
        }
    )
    table = table[sweep_order(table)]
    pieces = slices.owned(table)
    owned = np.zeros(table.height, dtype=np.int64)
    np.add.at(owned, pieces["row"].to_numpy(), (pieces["end_ns"] - pieces["start_ns"]).to_numpy())
    assert owned.tolist() == sweep(table).self_ns().tolist()
    whole = slices.merged(pieces.with_columns(one=pl.lit(1)), ["one"])
    assert (whole["end_ns"] - whole["start_ns"]).sum() == owned.sum()
    assert (whole.filter(pl.col("thread") == 0)["start_ns"].diff().drop_nulls() > 0).all()


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=300), st.sampled_from([4, 10, 50]))
def test_a_thinned_counter_keeps_its_peak_and_its_ends(live: list[int], most: int) -> None:
    points = pl.DataFrame({"time_ns": range(len(live)), "live_bytes": live})
    kept = thinned(points, most)
    assert kept.height <= most
    assert (kept["live_bytes"].max(), kept["live_bytes"].min()) == (max(live), min(live))
    assert kept["time_ns"].is_sorted()
    assert (kept["time_ns"][0], kept["time_ns"][-1]) == (0, len(live) - 1)
    assert kept.join(points, on=["time_ns", "live_bytes"]).height == kept.height
