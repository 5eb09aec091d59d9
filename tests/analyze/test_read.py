"""Reading: exact times in every era, every container and layout, and what is odd is counted, not guessed."""

from __future__ import annotations

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tests.prefixes import small, wrong_cuts
from tracekit.analyze import read as reader
from tracekit.analyze import stream
from tracekit.analyze.decode import _KEYS, Decoder, _counts
from tracekit.analyze.events import to_ns
from tracekit.analyze.forgive import nanoseconds, shallow
from tracekit.analyze.nest import sweep
from tracekit.analyze.read import read_events
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError

Event = dict[str, Any]
Spans = Callable[..., Event]
Writer = Callable[..., Path]


def sample(span: Spans) -> list[Event]:
    return [
        {"ph": "M", "name": "process_name", "ts": 0, "pid": 7, "tid": 0, "args": {"name": "python"}},
        span("ProfilerStep#0", 4631835999116.326, 100.25, "user_annotation", **{"Ev Idx": 0}),
        span("aten::mm", 4631835999120.001, 10.5, **{"Ev Idx": 1, "Input Dims": [[2, 3], [3, 4]], "Input type": ["float"] * 2}),
        span("aten::mm", 4631835999140.999, 0.001, tid=2, **{"Ev Idx": 2, "Sequence number": 5, "Fwd thread id": 0}),
        span("cudaLaunchKernel", 4631835999141.5, 2, "cuda_runtime", correlation=9, **{"External id": 2}),
        span("k", 4631835999150.125, 7.5, "kernel", device=0, stream=7, correlation=9, **{"External id": 2}),
        {"ph": "s", "id": 9, "pid": 7, "tid": 1, "ts": 1.5, "cat": "ac2g", "name": "ac2g"},
        {
            "ph": "i", "cat": "cpu_instant_event", "s": "t", "name": "[memory]", "pid": 7, "tid": 1, "ts": 4631835999121.0,
            "args": {"Total Allocated": 64, "Bytes": 64, "Device Id": -1, "Device Type": 0, "Addr": 2**63 + 5, "Ev Idx": 9},
        },
        {"ph": "X", "cat": "Trace", "ts": 1, "dur": 2, "pid": "Spans", "tid": "PyTorch Profiler", "name": "PyTorch Profiler (0)"},
        {"name": "Record Window End", "ph": "i", "s": "g", "pid": "", "tid": "", "ts": 4631835999999.0},
    ]  # fmt: skip


@pytest.fixture
def reference(span: Spans, write: Writer) -> reader.Events:
    return read_events(write(sample(span)))


def assert_same(a: reader.Events, b: reader.Events) -> None:
    for name in ("host", "operators", "launches", "modules", "threads"):
        assert_frame_equal(getattr(a.frames, name), getattr(b.frames, name))
    for name in ("device", "memory"):
        assert_frame_equal(getattr(a.frames, name), getattr(b.frames, name), check_row_order=False)


def test_values(reference: reader.Events) -> None:
    frames = reference.frames
    arguments = frames.host.with_row_index("row").with_columns(pl.col("row").cast(pl.Int64))
    arguments = arguments.join(frames.operators, on="row", how="left").join(frames.threads, on="thread", how="left")
    host = {(row["name"], row["tid"]): row for row in arguments.to_dicts()}
    assert len(host) == 4
    step = host["ProfilerStep#0", 1]
    assert (step["start_ns"], step["dur_ns"], step["kind"]) == (4631835999116326, 100250, "annotation")
    product = host["aten::mm", 1]
    assert (product["start_ns"], product["dur_ns"]) == (4631835999120001, 10500)
    assert json.loads(product["shapes"]) == [[2, 3], [3, 4]]
    assert (host["aten::mm", 2]["dur_ns"], host["aten::mm", 2]["sequence"], host["aten::mm", 2]["forward_thread"]) == (
        1,
        5,
        0,
    )
    assert reference.frames.device.to_dicts() == [
        {
            "kind": "kernel", "name": "k", "start_ns": 4631835999150125, "dur_ns": 7500, "device": 0, "stream": 7,
            "correlation": 9, "external_id": 2, "bytes": None,
        }
    ]  # fmt: skip
    assert reference.frames.memory["address"].to_list() == [2**63 + 5]
    assert reference.header == {"traceName": "t"}
    assert reference.findings == []


@pytest.mark.parametrize(
    "options",
    [
        {"indent": 2},
        {"indent": 0},
        {"indent": "\t"},
        {"separators": (",", ":")},
        {"sort_keys": True},
        {"indent": 1, "sort_keys": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("block", [64, 1000, 4 << 20])
def test_any_layout_in_any_blocks(
    reference: reader.Events,
    span: Spans,
    write: Writer,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    block: int,
) -> None:
    monkeypatch.setattr(reader, "BLOCK", block)
    monkeypatch.setattr(reader, "_HEADER_BLOCK", min(block, 64 << 10))
    assert_same(read_events(write(sample(span) * 1, **options)), reference)


def test_an_event_a_line_is_read_in_blocks(
    reference: reader.Events, span: Spans, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []
    element = Decoder.element

    def take(decoder: Decoder, text: str) -> None:
        taken.append(text)
        element(decoder, text)

    monkeypatch.setattr(Decoder, "element", take)
    read_events(write(sample(span), indent=2))
    of_indented = len(taken)
    path = tmp_path / "lines.json"
    path.write_text('{"traceEvents": [\n' + ",\n".join(map(json.dumps, sample(span))) + '\n], "traceName": "t"}')
    assert_same(read_events(path), reference)
    assert len(taken) - of_indented == of_indented < len(sample(span)) / 2


@pytest.mark.parametrize("layout", [{"indent": 2}, {"separators": (",", ":")}, {"separators": (",\n", ":")}], ids=str)
def test_bytes_that_are_no_text_cost_nothing_else(span: Spans, write: Writer, layout: dict[str, Any]) -> None:
    path = write(sample(span), **layout)
    data = path.read_bytes()
    assert data.count(b"aten::mm") == 2
    path.write_bytes(data.replace(b"aten::mm", b"aten::\xff\xfe", 1))
    events = read_events(path)
    assert events.frames.host.height == 4
    assert {finding.code: finding.count for finding in events.findings} == {"bad_text": 1}


def test_containers(reference: reader.Events, span: Spans, write: Writer, tmp_path: Path) -> None:
    assert_same(read_events(write(sample(span), name="t.json.gz")), reference)
    text = json.dumps(sample(span)).encode()
    for name, data in (
        ("array.json", text),
        ("gz_named.json", gzip.compress(text)),
        ("members.json.gz", gzip.compress(text[:500]) + gzip.compress(text[500:])),
        ("bom.json", b"\xef\xbb\xbf" + text),
    ):
        path = tmp_path / name
        path.write_bytes(data)
        assert_same(read_events(path), reference)


def test_header_keys_before_and_after(span: Spans, write: Writer) -> None:
    header = {"tracekit": {"text": '"traceEvents": [ { not this'}, "schemaVersion": 1, "nested": {"traceEvents": [1]}}
    events = read_events(write(sample(span), header=header))
    assert events.header == {**header, "traceName": "t"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1712195495519689.047", 1712195495519689047),  # absolute, three decimals: beyond a double
        ("1712195495519689", 1712195495519689000),
        ("4633973506568.945", 4633973506568945),
        ("0", 0),
        ("-12.5", -12500),
        ("1.2e3", 1200000),
        ("0.0004", 0),
        ("0.0015", 2),
        ("1e-19", 0),
        ("1e-400000000", 0),
        ("0e400000000", 0),
        (f"1{'0' * 5000}e-5000", 1000),
        (f"7.{'4' * 5000}", 7444),
    ],
)
def test_times_are_exact(text: str, expected: int, tmp_path: Path) -> None:
    assert nanoseconds(text) == expected
    path = tmp_path / "t.json"
    event = '{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":%s,"dur":1.5,"args":{}}'
    path.write_text('{"traceEvents":[' + ",".join([event % text] * 3) + "]}")
    if "." not in text or len(text.split(".")[1]) <= 3:
        assert read_events(path).frames.host["start_ns"].to_list() == [expected] * 3


@given(st.integers(-(2**43) * 1000 + 1000, 2**43 * 1000 - 1000))
def test_doubles_hold_small_times(ns: int) -> None:
    assert (
        to_ns([float(f"{ns // 1000}.{ns % 1000:03d}") if ns >= 0 else -float(f"{-ns // 1000}.{-ns % 1000:03d}")])[0]
        == ns
    )


def test_every_thousandth_of_a_microsecond_is_exact() -> None:
    ns = np.arange(-1_000_000, 1_000_000)
    assert np.array_equal(to_ns(ns / 1000), ns)


@pytest.mark.parametrize("text", ["1e400000000", "NaN", "", "1.5us", "9" * 50, "0x10", "1e9999", "1_0", "٣"])
def test_impossible_times_are_none(text: str) -> None:
    assert nanoseconds(text) is None


@pytest.mark.parametrize(
    ("event", "code", "kept"),
    [
        ('{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":5,"ts":9,"dur":1}', "duplicate_key", 0),
        ('{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":5,"dur":NaN}', "bad_time", 0),
        ('{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":5,"dur":-1}', "bad_time", 0),
        ('{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":5}', "bad_time", 0),
        ('{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":5,"dur":1e13}', "bad_time", 0),
        ('{"ph":"X","cat":"cpu_op","name":"a","pid":"1","tid":"1","ts":"5","dur":"1"}', "string_time", 1),
        ("17", "bad_event", 0),
    ],
)
def test_odd_events_are_counted(tmp_path: Path, event: str, code: str, kept: int) -> None:
    good = '{"ph":"X","cat":"cpu_op","name":"b","pid":1,"tid":1,"ts":1,"dur":1}'
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents":[' + ",".join([good, event, good]) + "]}")
    events = read_events(path)
    assert [(f.code, f.count) for f in events.findings] == [(code, 1)]
    assert events.frames.host.filter(pl.col("name") == "a").height == kept
    assert events.frames.host.filter(pl.col("name") == "b").height == 2
    assert set(events.frames.threads["tid"]) == {1}


def test_python_exporter_writes_memory_as_spans(write: Writer) -> None:
    event = {
        "ph": "X",
        "cat": "cpu_instant_event",
        "name": "[memory]",
        "pid": 1,
        "tid": 1,
        "ts": 3,
        "dur": 0,
        "args": {"Bytes": -8},
    }
    events = read_events(write([event, event]))
    assert events.frames.memory.select("time_ns", "bytes").rows() == [(3000, -8), (3000, -8)]
    assert events.findings == []


@pytest.mark.parametrize(
    ("events", "style", "packed"),
    [(3, "kineto", False), (3, "header after", False), (2, "array", False), (4, "lines", True)],
)
def test_every_prefix_gives_the_events_before_the_cut(
    events: int, style: str, packed: bool, tmp_path: Path
) -> None:  # `python -m tests.fuzz --prefixes` cuts a larger one
    assert list(wrong_cuts(small(events, style), tmp_path / "cut.json", packed)) == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(max_size=30))
def test_names_survive(write: Writer, span: Spans, name: str) -> None:
    events = read_events(write([span(name, 1, 1), span("last", 3, 1)]))
    expected = name.encode("utf-8", "replace").decode()
    assert events.frames.host["name"][0] == expected


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a trace"),
        (b"{}", "no traceEvents"),
        (b'{"a": 1}', "no traceEvents"),
        (b'{"traceEvents": [{"ph": "X" "cat"', "before its first event"),
        (b"PK\x03\x04zip", "a zip archive"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b'{"traceEvents": ' + b"[" * 3000, "before its first event"),
    ],
)
def test_what_is_no_trace(tmp_path: Path, data: bytes, reason: str) -> None:
    path = tmp_path / "bad.json"
    path.write_bytes(data)
    with pytest.raises(TraceError) as error:
        read_events(path)
    assert reason in str(error.value)
    assert "bad.json" in str(error.value)
    assert "\n" not in str(error.value)


def test_pipes_and_folders_do_not_hang(tmp_path: Path) -> None:
    import os

    fifo = tmp_path / "fifo.json"
    os.mkfifo(fifo)
    with pytest.raises(TraceError, match="not a regular file"):
        stream.Stream(fifo)
    with pytest.raises(TraceError, match="a folder"):
        stream.Stream(tmp_path)


def test_cut_gzip_is_data_up_to_the_cut(span: Spans, write: Writer, tmp_path: Path) -> None:
    import random

    noise = random.Random(1)
    events = [span(f"op{noise.random()}", i * 10, 5) for i in range(3000)]
    data = write(events, name="whole.json.gz").read_bytes()
    path = tmp_path / "cut.json.gz"
    path.write_bytes(data[: len(data) // 2])
    result = read_events(path)
    assert 500 < result.frames.host.height < 3000
    assert {f.code for f in result.findings} == {"truncated", "gzip_damaged"}


@pytest.mark.parametrize("broken", ['{"ph":"X","name":"a"b"}', '{"ph":"X",}', '{"ph":"X"', "?"])
@pytest.mark.parametrize("separator", [",", ",\n  "])
def test_a_broken_event_costs_itself_and_nothing_else(span: Spans, tmp_path: Path, broken: str, separator: str) -> None:
    good = [json.dumps(span(f"op{i}", 10 * i, 1)) for i in range(6)]
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents":[' + separator.join([*good[:3], broken, *good[3:]]) + "]}")
    events = read_events(path)
    assert events.frames.host["name"].to_list() == [f"op{i}" for i in range(6)]
    assert [(f.code, f.count) for f in events.findings] == [("bad_event", 1)]


def test_begin_and_end_are_spans(span: Spans, write: Writer, tmp_path: Path) -> None:
    spans = [span("outer", 0, 100), span("inner", 10, 20), span("inner", 30, 5), span("other", 5, 50, tid=2)]
    whole = read_events(write(spans))
    halves: list[Event] = []
    for event in spans:
        begin = {**event, "ph": "B"}
        del begin["dur"]
        end = {"ph": "E", "pid": event["pid"], "tid": event["tid"], "ts": event["ts"] + event["dur"]}
        halves += [begin, end]
    halves.sort(key=lambda event: (event["ts"], event["ph"] == "B"))
    split = read_events(write(halves, name="halves.json"))
    assert_same(split, whole)
    assert split.findings == []
    lost = read_events(write(halves[:-1], name="lost.json"))
    assert [(f.code, f.count) for f in lost.findings] == [("unpaired", 1)]


@pytest.mark.parametrize("category", ["other", "overhead", "tracekit"])
def test_the_end_of_what_nothing_reads_closes_nothing_else(span: Spans, write: Writer, category: str) -> None:
    whole = span("outer", 0, 100)
    halves = [{**whole, "ph": "B"}, {**span("x", 10, 0, category), "ph": "B"}]
    ends = [{"ph": "E", "pid": 7, "tid": 1, "ts": ts} for ts in (20, 100)]
    events = read_events(write([*halves, *ends]))
    assert events.frames.host.select("name", "dur_ns").rows() == [("outer", 100_000)]
    assert events.findings == []


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ('"name": "b", "name": "a"', "duplicate_key"),
        ('"tid": 2, "name": "a"', "duplicate_key"),
        ('"t\\u0073": 9, "name": "a"', "duplicate_key"),  # ts, spelled so that no search finds it
        ('"name": "a", "x": NaN', "bad_value"),
        ('"name": "a\udcff"', "bad_text"),
    ],
)
@pytest.mark.parametrize("count", [1, 50])
def test_the_fast_path_keeps_nothing_in_silence(
    span: Spans, tmp_path: Path, changed: str, code: str, count: int
) -> None:
    good = json.dumps(span("good", 0, 1))
    odd = json.dumps(span("a", 0, 1)).replace('"name": "a"', changed)
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": [' + ", ".join([*[good] * count, odd, good]) + "]}", errors="surrogateescape")
    events = read_events(path)
    assert events.frames.host.filter(pl.col("name") == "good").height == count + 1
    assert [(f.code, f.count) for f in events.findings] == [(code, 1)]


@pytest.mark.parametrize("dur", ["18446744073709551.616", "9223372036854775807", "1e308", "-1e308"])
def test_a_duration_never_wraps_around(span: Spans, tmp_path: Path, dur: str) -> None:
    path = tmp_path / "t.json"
    good = json.dumps(span("good", 0, 7))
    path.write_text('{"traceEvents": [' + ", ".join([good, good.replace('"dur": 7', f'"dur": {dur}'), good]) + "]}")
    events = read_events(path)
    assert events.frames.host["dur_ns"].to_list() == [7000, 7000]
    assert [(f.code, f.count) for f in events.findings] == [("bad_time", 1)]


def test_one_thread_is_one_whichever_way_its_events_are_read(span: Spans, write: Writer) -> None:
    """Beyond 64 bits, of an instant without a phase, and with a time written as text in between."""
    events: list[Event] = [{**span("a", 10.0 * i, 5), "tid": 2**64 + 1} for i in range(3)]
    events[1]["ts"] = "10.0"
    instant = {"cat": "cpu_instant_event", "name": "[memory]", "pid": 7, "tid": 1, "args": {"Bytes": 8}}
    read = read_events(write([*events, {**instant, "ts": 1}, {**instant, "ts": "2"}]))
    assert (read.frames.threads.height, read.frames.host.height, read.frames.memory.height) == (1, 3, 2)


def test_a_gzip_bomb_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b'{"traceEvents":[' + b" " * (48 << 20), 9))
    with pytest.raises(TraceError, match="too large to be a trace"):
        read_events(path)


def test_what_can_be_mended_is_kept_and_said(span: Spans, tmp_path: Path) -> None:
    """Bare words that are no JSON, control characters, bytes that are no UTF-8, lost commas, absurd nesting."""
    good = json.dumps(span("good", 0, 1))
    cases = {
        "bad_value": good.replace('"args": {}', '"args": {"a, N/A": N/A, "b": [inf, -inf, nan]}'),
        "bad_text": good.replace("good", "g\x01od"),
    }
    for code, text in cases.items():
        path = tmp_path / f"{code}.json"
        path.write_text('{"traceEvents":[' + ",".join([good, text, good]) + "]}")
        events = read_events(path)
        assert events.frames.host["dur_ns"].to_list() == [1000] * 3
        assert [(f.code, f.count) for f in events.findings] == [(code, 1)]
    path.write_bytes(b'{"traceEvents":[' + good.replace("good", "g?d").encode().replace(b"?", b"\xff\xfe") + b"]}")
    events = read_events(path)
    assert (events.frames.host["dur_ns"].to_list(), events.findings[0].code) == ([1000], "bad_text")
    path.write_text('{"traceEvents":[' + f"{good}{good}\n{good}" + "]}")
    events = read_events(path)
    assert (events.frames.host.height, events.findings[0].code, events.findings[0].count) == (3, "missing_comma", 2)


def test_what_the_header_lacks_or_repeats_is_said(span: Spans, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    events = json.dumps([span("a", 0, 1)])
    for text, code, height in (
        ('{"x": 1 "traceEvents": ' + events + "}", "missing_comma", 1),
        ('{"traceEvents": ' + events + ', "traceEvents": ' + events + "}", "duplicate_key", 2),
        ('{"traceEvents": ' + events + ', "traceName": "a"b.json"}', "header_damaged", 1),  # torch 2.13 escapes nothing
    ):
        path.write_text(text)
        read = read_events(path)
        assert read.frames.host.height == height
        assert code in [f.code for f in read.findings]


def test_a_number_too_long_for_python_does_not_cost_the_header(span: Spans, write: Writer) -> None:
    path = write([span("a", 0, 1)], header={"id": "long", "schemaVersion": 1})
    path.write_text(path.read_text().replace('"long"', "9" * 5000))
    events = read_events(path)
    assert (events.frames.host.height, events.header["id"], events.header["schemaVersion"]) == (1, "9" * 5000, 1)


def test_a_broken_header_does_not_cost_the_events(span: Spans, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    events = json.dumps([span("a", 0, 1)])
    path.write_text('{"schemaVersion": 1, "note": "a"b", "traceEvents": ' + events + ', "after": 3}')
    read = read_events(path)
    assert (read.frames.host.height, read.header) == (1, {"schemaVersion": 1, "note": "a", "after": 3})
    assert [f.code for f in read.findings] == ["header_damaged"]
    path.write_text('{"traceEvents": "x", "traceEvents": ' + events + "}")
    assert [f.code for f in read_events(path).findings] == ["duplicate_key"]


@pytest.mark.parametrize("members", [1, 3])
def test_a_bad_checksum_costs_nothing(span: Spans, write: Writer, members: int, tmp_path: Path) -> None:
    text = write([span(f"op{i}", i * 10, 5) for i in range(2000)]).read_bytes()
    parts = [text[i * len(text) // members : (i + 1) * len(text) // members] for i in range(members)]
    data = b"".join(map(gzip.compress, parts))
    path = tmp_path / "t.json.gz"
    path.write_bytes(data[:-8] + bytes(4) + data[-4:])
    events = read_events(path)
    assert events.frames.host.height == 2000
    assert [f.code for f in events.findings] == ["gzip_damaged"]


def test_absurd_nesting_is_cut_and_the_rest_kept() -> None:
    deep = '{"a": ' * 10**6 + "1" + "}" * 10**6
    text, end = shallow('{"name": "x}", "args": ' + deep + ', "ts": 5} , {"name": "next"}')
    value = json.loads(text)
    assert (value["name"], value["ts"], end) == ("x}", 5, len(deep) + 33)
    for _ in range(63):
        value = value.get("args") or value["a"]
    assert value == {"a": None}
    with pytest.raises(ValueError, match="does not end"):
        shallow("[[[1]]")


@st.composite
def nested(draw: st.DrawFn, low: int = 0, high: int = 60, depth: int = 0) -> list[tuple[int, int]]:
    """Properly nested (start, end) with distinct bounds, parents before children."""
    found: list[tuple[int, int]] = []
    while high - low > 2 and draw(st.booleans()):
        start = draw(st.integers(low, high - 2))
        end = draw(st.integers(start + 1, high - 1))
        found.append((start, end))
        found += draw(nested(start + 1, end, depth + 1)) if depth < 4 else []
        low = end + 1
    return found


@given(st.lists(nested(), min_size=1, max_size=3), st.randoms(use_true_random=False))
def test_begin_and_end_pairs_are_the_spans_they_stand_for(threads: list[list[tuple[int, int]]], random: Any) -> None:
    def event(ph: str, tid: int, ts: int, **more: Any) -> dict[str, Any]:
        return {"ph": ph, "pid": 1, "tid": tid, "ts": ts, **more}

    spans, halves = [], []
    for tid, intervals in enumerate(threads):
        for number, (start, end) in enumerate(intervals):
            what = {"cat": "cpu_op", "name": f"op{number}", "args": {}}
            spans.append(event("X", tid, start, dur=end - start, **what))
            halves += [event("B", tid, start, **what), event("E", tid, end)]
    random.shuffle(halves)
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for name, events in (("x", spans), ("be", halves)):
            path = Path(folder) / f"{name}.json"
            path.write_text(json.dumps({"traceEvents": events}))
            results.append(read_events(path))
    assert_same(results[1], results[0])
    assert results[1].findings == results[0].findings
    whole = [sweep(result.frames.host).self_ns().tolist() for result in results]
    assert whole[0] == whole[1]


_SPELLINGS = ("text times", "keys in any order", "an array", "gzip", "members", "without flows")


@settings(max_examples=25)
@given(st.lists(nested(), min_size=1, max_size=3), st.sets(st.sampled_from(_SPELLINGS), min_size=1), st.randoms())
def test_the_same_trace_in_another_spelling(threads: list[list[tuple[int, int]]], ways: set[str], random: Any) -> None:
    spans: list[Event] = []
    for tid, intervals in enumerate(threads):
        for number, (start, end) in enumerate(intervals):
            args = {"Ev Idx": len(spans), "Input Dims": [[number]], "correlation": 1 + len(spans)}
            what = {"ph": "X", "cat": random.choice(("cpu_op", "cuda_runtime", "kernel")), "name": f"op{number}"}
            spans.append({**what, "pid": 1, "tid": tid, "ts": start + 0.125, "dur": end - start, "args": args})
    flows = [{"ph": "s", "cat": "ac2g", "name": "ac2g", "id": i, "pid": 1, "tid": 0, "ts": i} for i in range(3)]
    other = [dict(event) for event in (spans if "without flows" in ways else [*spans, *flows])]
    if "text times" in ways:
        other = [{**event, **{key: str(event[key]) for key in ("ts", "dur") if key in event}} for event in other]
    if "keys in any order" in ways:
        other = [dict(random.sample(list(event.items()), len(event))) for event in other]
    text = json.dumps(other if "an array" in ways else {"traceEvents": other}).encode()
    if "members" in ways:
        cut = random.randrange(len(text))
        text = gzip.compress(text[:cut]) + gzip.compress(text[cut:])
    if "gzip" in ways and "members" not in ways:
        text = gzip.compress(text)
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder) / "plain.json", Path(folder) / "other.json"]
        paths[0].write_text(json.dumps({"traceEvents": [*spans, *flows]}))
        paths[1].write_bytes(text)
        plain, spelled = map(read_events, paths)
    assert_same(spelled, plain)
    assert not [finding for finding in spelled.findings if finding.severity != "note" and finding.code != "no_events"]


@given(st.text('"tsdur: \\', max_size=60), st.text('"tsdur: \\', max_size=60))
def test_words_are_counted_wherever_they_stand(before: str, after: str) -> None:
    text = (before + '"ts": 1, "dur": 2' + after).encode()
    assert _counts(text) == [sum(text[i:].startswith(key[:4]) for i in range(len(text))) for key in _KEYS]
    for place, key in enumerate(_KEYS):
        assert [_counts(key[:n])[place] for n in range(5)] == [0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("name", "args", "findings"), [("duration", '{"duration": 1}', 0), ('"dur', "{}", 0), ("x", '{"dur": 7}', 0)]
)
def test_words_like_the_keys_of_times_do_no_harm(name: str, args: str, findings: int, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    event = '{"ph": "X", "cat": "cpu_op", "name": %s, "pid": 1, "tid": 1, "ts": 1, "dur": 2, "args": %s}'
    path.write_text('{"traceEvents": [' + event % (json.dumps(name), args) + "]}")
    events = read_events(path)
    assert events.frames.host["dur_ns"].to_list() == [2000]
    assert len(events.findings) == findings


HUGE = 10**30


@pytest.mark.parametrize(
    ("cat", "fields"),
    [
        ("cpu_op", {"ts": "9223372036854775.807"}),
        ("cpu_op", {"ts": "9223372036854775.000", "dur": "100"}),
        ("cpu_op", {"pid": str(HUGE)}),
        ("cpu_op", {"tid": str(2**63 + 1)}),
        ("cpu_op", {"args": f'{{"Ev Idx": {HUGE}, "External id": {2**64 + 5}, "Sequence number": {2**64 - 1}}}'}),
        ("cpu_op", {"args": '{"Input Dims": ' + "[" * 900 + "]" * 900 + "}"}),
        ("cpu_op", {"args": '{"Input Dims": ' + "[" * 10**5 + "]" * 10**5 + "}"}),
        ("cpu_op", {"args": '{"Input type": ["a\\ud800", NaN, {"b": "\\udc00"}]}'}),
        ("cpu_op", {"ts": '"7"', "args": '{"Input type": ["a\\ud800", true, {"b": "\\udc00"}]}'}),
        ("cuda_runtime", {"args": f'{{"correlation": {HUGE}}}'}),
        ("kernel", {"args": f'{{"correlation": {HUGE}, "device": {HUGE}, "stream": {HUGE}}}'}),
        ("python_function", {"args": f'{{"Python module id": {HUGE}}}'}),
        ("cpu_instant_event", {"name": '"[memory]"', "args": f'{{"Addr": -5, "Bytes": {HUGE}}}'}),
    ],
)
@pytest.mark.parametrize("indent", ["", "\n  "])
def test_numbers_beyond_all_reason_cost_only_themselves(
    tmp_path: Path, cat: str, fields: dict[str, str], indent: str
) -> None:
    def event(**given: str) -> str:
        plain = {
            "ph": '"X"',
            "cat": f'"{cat}"',
            "name": '"odd"',
            "pid": "1",
            "tid": "1",
            "ts": "7",
            "dur": "1",
            "args": "{}",
        }
        return "{" + ", ".join(f'"{key}": {value}' for key, value in {**plain, **given}.items()) + "}"

    good = event(cat='"cpu_op"', name='"good"')
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents": [' + f",{indent}".join([good, event(**fields), good]) + "]}")
    trace = Trace(path, cache=False)
    for table in (trace.operators, trace.components, trace.devices, trace.memory, trace.live_at_peak):
        table()
    assert trace.host.filter(pl.col("name") == "good").height == 2
    assert trace.operators()["self_ns"].sum() == trace.busy_ns
    assert all(one >= 0 for one in trace.host["self_ns"])


def test_bytes_that_are_no_utf8_in_a_block(span: Spans, write: Writer) -> None:
    path = write([span(f"op{i}", i * 10, 5) for i in range(9)], indent=2)
    path.write_bytes(path.read_bytes().replace(b'"op4"', b'"op\xff4"'))
    events = read_events(path)
    assert events.frames.host["name"][4] == "op?4"
    assert [(f.code, f.count) for f in events.findings] == [("bad_text", 1)]


def test_a_key_given_twice_is_one_event_s_own_affair(tmp_path: Path) -> None:
    """What else is in a block decides nothing: of arguments given twice the strict reader takes the last."""
    event = '{"ph":"X","cat":"cpu_op","name":"a","pid":1,"tid":1,"ts":%d,"dur":1,"args":{"Ev Idx":1,%s}}'
    texts = [event % (1, '"Ev Idx":2'), event % (3, '"ts":4'), event % (5, '"Ev Idx":3')]
    path = tmp_path / "t.json"
    path.write_text('{"traceEvents":[' + ",".join([*texts, *texts[1:2]]) + "]}")
    assert read_events(path).frames.host["start_ns"].to_list() == [1000, 3000, 3000, 5000]
