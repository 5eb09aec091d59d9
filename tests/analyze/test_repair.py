"""Repair: what the reader takes of a broken file becomes strict JSON, with the same numbers, and says what it is."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from tracekit.analyze import read as reader
from tracekit.analyze.facts import facts
from tracekit.analyze.mend import sound
from tracekit.analyze.quality import warning_counts
from tracekit.analyze.read import read_events
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError, UsageError
from tracekit.reports.repaired import Repaired, save_repaired

Event = dict[str, Any]
Spans = Callable[..., Event]
KEY = "tracekitRepair"


def strictly(data: bytes) -> dict[str, Any]:
    """The document as the strictest reader has it: no constants, no key twice, nothing that msgspec refuses."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), pairs
        return dict(pairs)

    msgspec.json.decode(data)
    document = json.loads(data, parse_constant=pytest.fail, object_pairs_hook=once)
    assert isinstance(document, dict)
    return document


def repair(source: Path, name: str = "copy.json") -> tuple[Repaired, dict[str, Any]]:
    """Repair, and hold the copy against the laws that every copy keeps."""
    target = source.with_name(name)
    before = read_events(source)
    done = save_repaired(before, target)
    data = target.read_bytes()
    document = strictly(gzip.decompress(data) if name.endswith(".gz") else data)
    assert len(document["traceEvents"]) == done.copied.events
    after = read_events(target)
    for frame in ("host", "operators", "launches", "modules", "threads"):
        assert_frame_equal(getattr(before.frames, frame), getattr(after.frames, frame))
    for frame in ("device", "memory"):
        assert_frame_equal(getattr(before.frames, frame), getattr(after.frames, frame), check_row_order=False)
    assert after.window_end_ns == before.window_end_ns
    assert {f.code for f in after.findings} <= {"no_events"}
    again = target.with_name("again-" + name)
    twice = save_repaired(after, again)
    assert (twice.copied.mended, twice.copied.dropped, twice.copied.findings) == (0, 0, [])
    assert again.read_bytes() == data
    return done, document


def traced(events: list[str], header: str = "") -> bytes:
    return ("{" + header + '"traceEvents":[' + ",".join(events) + "]}").encode()


GOOD = '{"ph":"X","cat":"cpu_op","name":"good","pid":1,"tid":1,"ts":1.250,"dur":1.5,"args":{"Ev Idx":1}}'
LAST = '{"ph":"X","cat":"cpu_op","name":"last","pid":1,"tid":1,"ts":9.000,"dur":0.1250}'
ODD = '{"ph":"X","cat":"cpu_op","name":"odd","pid":1,"tid":1,"ts":5,"dur":2%s}'


@pytest.mark.parametrize("block", [True, False], ids=["in-a-block", "alone"])
@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (ODD % ',"args":{"x":NaN,"y":-Infinity,"z":[1,inf]}', {"args": {"x": None, "y": None, "z": [1, None]}}),
        (ODD % ',"args":{"x":N/A}', {"args": {"x": None}}),
        (ODD % ',"args":{"x":1e999,"Ev Idx":7}', {"args": {"x": "1e999", "Ev Idx": 7}}),
        (ODD % ',"args":{"x":18446744073709551615}', {"args": {"x": 2**64 - 1}}),
        (ODD % ',"args":{"x":18446744073709551616}', {"args": {"x": "18446744073709551616"}}),
        (ODD % ',"args":{"x":-9223372036854775809}', {"args": {"x": "-9223372036854775809"}}),
        (ODD % (',"args":{"x":%s}' % ("9" * 5000)), {"args": {"x": "9" * 5000}}),
        (ODD % ',"args":{"x":0.00181818181818181818181818}', {"args": {"x": 0.0018181818181818182}}),
        (ODD % ',"args":{"x":1,"x":2}', {"args": {"x": 2}}),
        (ODD % ',"args":[1,"2"]', {"args": {"args": [1, "2"]}}),
        (ODD % ',"args":null', {"args": {}}),
        (ODD % ',"args":{"x":"a\\ud800b"}', {"args": {"x": "a?b"}}),
        (ODD % ',"args":{"x":"\\u003a\\u0000"}', {"args": {"x": ":\0"}}),
        (ODD % ',"args":{"x":"a\x01\tb"}', {"args": {"x": "a\x01\tb"}}),
        (ODD % ',"args":{"dur":5}', {"args": {"dur": 5}}),
        (ODD % (',"args":{"x":' + "[" * 100 + "1" + "]" * 100 + "}"), {}),
        (ODD.replace("5", '"5.0625"') % "", {"ts": 5.062}),
        (ODD.replace(":2", ':"2e0"') % "", {"dur": 2}),
        (ODD.replace(":5", ":1712195495519689.047") % "", {"ts": 1712195495519689.047}),
        (ODD.replace(":5", ":1.7121954955196890471e15") % "", {"ts": 1712195495519689.047}),
        (ODD.replace('"tid":1', '"tid":"stream 7"') % "", {"tid": "stream 7"}),
        (ODD.replace('"odd"', "17") % "", {"name": "17"}),
        ('{"ph":"M","name":"process_name","pid":1,"args":{"name":5}}', {"args": {"name": "5"}}),
        ('{"ph":"M","name":"process_sort_index","pid":1,"tid":0,"ts":0,"args":{"sort_index":5}}', {"ts": 0}),
        ('{"ph":"s","id":9,"pid":7,"tid":1,"ts":"1.5","cat":"ac2g","name":"ac2g"}', {"id": 9, "ts": 1.5}),
        ('{"ph":"C","name":"GPU 0","pid":"GPU 0 Counters","ts":1,"args":{"":5.5}}', {"args": {"": 5.5}}),
    ],
)
def test_what_is_mended(tmp_path: Path, event: str, expected: Event, block: bool) -> None:
    """`alone`: a quote that is not escaped follows, so that the reader goes on element by element."""
    path = tmp_path / "t.json"
    broken = [] if block else [GOOD.replace("good", 'go"od')]
    path.write_text(traced([GOOD, event, *broken, LAST]).decode())
    done, document = repair(path)
    assert done.copied.dropped == len(broken)
    first, odd, last = document["traceEvents"]
    assert (first, last) == (json.loads(GOOD), json.loads(LAST))
    assert expected.items() <= odd.items()
    assert odd.keys() == msgspec_keys(event)


def msgspec_keys(event: str) -> set[str]:
    return {"ph", "name"} | {
        key for key in ("cat", "pid", "tid", "ts", "dur", "args", "id") if f'"{key}":' in top(event)
    }


def top(event: str) -> str:
    """An event but for what is in its arguments."""
    head, mark, _ = event.partition('"args":')
    return head + mark


@pytest.mark.parametrize(
    ("event", "code"),
    [
        (ODD % ',"dur":3', "duplicate_key"),
        (ODD.replace(":2", ":NaN") % "", "bad_time"),
        (ODD.replace(":2", ":-2") % "", "bad_time"),
        (ODD.replace(":2", ":1e13") % "", "bad_time"),
        (ODD.replace(',"dur":2', "") % "", "bad_time"),
        (ODD.replace('"ts":5,', "") % "", "bad_time"),
        (ODD.replace('"ph":"X",', "") % "", "bad_event"),
        ('{"name":"no phase","ts":1}', "bad_event"),
        ('{"ph":"X","cat":"other","name":"x","pid":1,"tid":1,"ts":1,"dur":-1}', "bad_time"),
        ('{"ph":"s","cat":"no id","name":"x","pid":1,"tid":1,"ts":1}', "bad_event"),
        ('{"ph":"C","cat":"no number","name":"x","pid":1,"tid":1,"ts":1,"args":{"v":"x"}}', "bad_event"),
        ('{"ph":"B","cat":"cpu_op","name":"x","pid":1,"tid":1,"ts":1}', "unpaired"),
        ('{"ph":"E","pid":1,"tid":1,"ts":1}', "unpaired"),
        ("17", "bad_event"),
        ("null", "bad_event"),
    ],
)
def test_what_is_dropped_is_said(tmp_path: Path, event: str, code: str) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(traced([GOOD, event, LAST]))
    _, document = repair(path)
    assert document["traceEvents"] == [json.loads(GOOD), json.loads(LAST)]
    said = document[KEY]
    assert (said["source"], said["dropped"], said["mended"]) == ("t.json", 1, 0)
    assert [(one["code"], one["count"]) for one in said["findings"]] == [(code, 1)]
    copy = Trace(tmp_path / "copy.json", cache=False)
    assert warning_counts(copy.findings) == {"repaired": 1}
    (finding,) = (one for one in copy.findings if one.code == "repaired")
    assert finding.where == f"t.json: {code}"


def test_begins_and_ends_keep_their_partners(tmp_path: Path) -> None:
    half = '{"ph":"%s","cat":"%s","name":"%s","pid":1,"tid":1,"ts":%s}'
    events = [
        half % ("E", "cpu_op", "nobody's", 1),
        half % ("B", "cpu_op", "outer", 2),
        half % ("B", "other", "of no table", 3),
        half % ("E", "other", "of no table", 4),
        half % ("E", "cpu_op", "outer", 9),
        half % ("B", "cpu_op", "never ends", 10),
    ]
    path = tmp_path / "t.json"
    path.write_bytes(traced([GOOD, *events, LAST]))
    done, document = repair(path)
    assert (done.copied.dropped, read_events(path).frames.host["dur_ns"].to_list()) == (2, [1500, 7000, 125])
    assert [event["name"] for event in document["traceEvents"]][2:] == ["outer", "of no table", "of no table", "outer"]


def test_a_sound_file_stays_as_it_is(span: Spans, write: Callable[..., Path]) -> None:
    events = [
        span(f"op{i}", 4631835999116.326 + i * 10, 5.5, **{"Ev Idx": i, "Input Dims": [[2, 3]]}) for i in range(50)
    ]
    header = {
        "schemaVersion": 1,
        "deviceProperties": [{"id": 0}],
        "tracekit": {"schema": 0},
        "ratio": 1e-05,
        "x": "\x7f\n",
    }
    for options in ({}, {"indent": 2}, {"indent": 0}, {"indent": "\t"}, {"separators": (",", ":")}):
        source = write(events, header=header, **options)
        done, document = repair(source)
        assert done.copied.findings == [] and done.copied.mended == 0
        assert list(document) == [
            "tracekit",
            "schemaVersion",
            "deviceProperties",
            "ratio",
            "x",
            "traceName",
            "traceEvents",
            KEY,
        ]
        assert {key: document[key] for key in header} == header
        assert document["traceEvents"] == events
        for event in events:  # digits, layout and all
            text = json.dumps(event, **options)
            assert options.get("indent") is not None or text in source.with_name("copy.json").read_text()
    copy = Trace(source.with_name("copy.json"), cache=False)
    assert warning_counts(copy.findings) == {"header_damaged": 1}  # the point that it claims to be is none
    assert ("repaired_whole", "note") in {(one.code, one.severity) for one in copy.findings}


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gz"])
def test_every_cut(span: Spans, write: Callable[..., Path], tmp_path: Path, zipped: bool) -> None:
    """However much of a file is there: the copy has the events before the cut, as they were."""
    events = [span(f"op{i}", i * 10, 5, x="y" * i) for i in range(6)]
    data = write(events, indent=1, header={"a": 1}).read_bytes()
    if zipped:
        data = gzip.compress(data, mtime=0)
    path = tmp_path / "cut.json"
    most = 0
    for cut in range(1, len(data), 7 if zipped else 29):
        path.write_bytes(data[:cut])
        try:
            before = read_events(path)
        except TraceError:
            with pytest.raises(TraceError):
                save_repaired(reader.no_events(), tmp_path / "nothing.json")
            continue
        done, document = repair(path, "copy.json.gz" if zipped else "copy.json")
        complete = before.frames.host.height
        assert document["traceEvents"] == events[:complete]
        assert {f.code for f in done.copied.findings} == {f.code for f in before.findings}
        most = max(most, complete)
    assert most == len(events)
    assert not (tmp_path / "nothing.json").exists()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(), lambda one: st.lists(one) | st.dictionaries(st.text(), one), max_leaves=6
)  # fmt: skip
TIMES = st.one_of(
    st.integers(-(10**6), 2**62),
    st.decimals(-10, 10**9, places=4).map(float),
    st.floats(),
    st.text(max_size=3),
    st.none(),
)
EVENTS = st.fixed_dictionaries(
    {"ph": st.sampled_from(["X", "X", "X", "B", "E", "i", "M", "s", "C", "", 5])},
    optional={
        "cat": st.sampled_from(["cpu_op", "kernel", "cpu_instant_event", "python_function", "ac2g", "other"]),
        "name": st.sampled_from(["[memory]", "a"]) | st.text(max_size=5) | JSON,
        "pid": st.integers(0, 3) | st.sampled_from(["1", "Spans", None, 2**70]),
        "tid": st.integers(0, 3) | st.sampled_from(["1", "stream 7", 1.5, 2**63]),
        "ts": TIMES,
        "dur": st.integers(0, 100) | TIMES,
        "id": st.integers(),
        "args": JSON | st.dictionaries(st.sampled_from(["Ev Idx", "Addr", "Bytes", "correlation", "Input Dims", "ts"]), st.integers(0, 2**64) | JSON),
    },
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(st.lists(EVENTS | JSON, min_size=1, max_size=6), st.sampled_from([None, 1]), st.data())
def test_any_events(tmp_path: Path, events: list[Any], indent: int | None, data: st.DataObject) -> None:
    """Whatever is in a list of events, and wherever the file breaks off, the laws hold (see `repair`)."""
    text = json.dumps({"traceEvents": [json.loads(GOOD), *events, json.loads(LAST)]}, indent=indent)
    text = text[: data.draw(st.integers(text.index("good") + 100, len(text)))]
    path = tmp_path / "t.json"
    path.write_text(text)
    repair(path)


@pytest.mark.parametrize("block", [300, 2 << 20])
def test_blocks(span: Spans, write: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(reader, "BLOCK", block)
    monkeypatch.setattr(reader, "_HEADER_BLOCK", min(block, 64 << 10))
    events = [span(f"op{i}", i * 10, 5, nan=float("nan") if i % 9 == 0 else 1) for i in range(60)]
    for options in ({}, {"indent": 2}):
        done, _ = repair(write(events, **options))
        assert (done.copied.events, done.copied.mended) == (60, 7)


def test_a_second_repair_adds_to_what_the_first_said(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(traced([GOOD, "17", ODD % ',"args":{"x":inf}', LAST]))
    repair(path)
    copy = tmp_path / "copy.json"
    copy.write_bytes(copy.read_bytes().replace(b'"good"', b'"go"od"'))
    done = save_repaired(read_events(copy), tmp_path / "second.json")
    assert done.copied.dropped == 1
    said = strictly((tmp_path / "second.json").read_bytes())[KEY]
    assert (said["source"], said["dropped"], said["mended"]) == ("t.json", 2, 1)
    assert [one["code"] for one in said["findings"]] == ["bad_event", "bad_value", "bad_event"]


@pytest.mark.parametrize(
    "value", [17, None, [], {}, {"findings": 5}, {"findings": [5]}, {"source": "\x1b[31m", "findings": []}]
)
def test_what_a_stranger_wrote_there(tmp_path: Path, value: Any) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(traced([GOOD, LAST], f'"{KEY}":{json.dumps(value)},'))
    findings = [one for one in Trace(path, cache=False).findings if one.code.startswith("repaired")]
    assert len(findings) == 1
    assert "\x1b" not in findings[0].where
    save_repaired(read_events(path), tmp_path / "copy.json")
    assert isinstance(strictly((tmp_path / "copy.json").read_bytes())[KEY], dict)


def test_headers(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(
        traced([GOOD], '"a":NaN,"b":%s,"a":[1e999,"\\ud800"],"tracekit":{"x":1},"traceEvents":"x",' % (2**70))[:-1]
        + b',"baseTimeNanoseconds":1712195495519689047,"z":{"deep":[{"ratio":0.1}]}} trailing'
    )
    _, document = repair(path)
    del document["traceEvents"]
    assert list(document) == ["tracekit", "a", "b", "baseTimeNanoseconds", "z", KEY]
    assert (document["a"], document["b"]) == ([None, "?"], str(2**70))
    assert (document["baseTimeNanoseconds"], document["z"]) == (1712195495519689047, {"deep": [{"ratio": 0.1}]})
    assert {one["code"] for one in document[KEY]["findings"]} == {"duplicate_key", "trailing_data"}


def test_nothing_else_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(traced([GOOD]))
    (tmp_path / "hard.json").hardlink_to(path)
    (tmp_path / "soft.json").symlink_to(path)
    for name in ("t.json", "hard.json", "soft.json", "../" + tmp_path.name + "/t.json"):
        with pytest.raises(UsageError, match="is the file to be repaired"):
            save_repaired(read_events(path), tmp_path / name)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        save_repaired(read_events(path), tmp_path / "folder")
    assert path.read_bytes() == traced([GOOD])


def test_facts_are_equal(span: Spans, write: Callable[..., Path]) -> None:
    path = write([span("ProfilerStep#0", 0, 100, "user_annotation"), span("aten::mm", 10, 50), span("aten::mm", 20, 5)])
    path.write_bytes(path.read_bytes()[:-40] + b'{"ph"')
    repair(path)
    before, after = Trace(path, cache=False), Trace(path.with_name("copy.json"), cache=False)
    assert facts(before) == facts(after)
    assert_frame_equal(before.operators(), after.operators())
    assert_frame_equal(before.components(), after.components())


@pytest.mark.parametrize("text", ['"x":1,"x":1', '"x":1,"y":{"z":1,"z":2}'])
def test_a_key_given_twice_is_never_sound(text: str) -> None:
    assert not sound(b'[{"ph":"i","ts":1,"args":{%s}}]' % text.encode())
    assert sound(b'[{"ph":"i","ts":1,"args":{"x":"a:b"}}]')
