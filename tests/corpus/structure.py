"""Sound JSON whose events are not as torch writes them today: odd times, fields, threads, phases, orders, shapes."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

from tests import oracle
from tests.oracle import Event

from . import text
from .base import BASE, DROPPED, FIRST, LAST, TRUTH, Events, changed, inserted, without
from .case import HTA, KINETO, PERFETTO, TORCH, Case, of_events
from .text import HEADER, Raw, microseconds

_TIMES = ("ts", "dur")
_OP = BASE[FIRST]
_HOST = {"pid": 10004, "tid": 10004}
_NOT_EVENTS = ("null", "5", '"x"', "[]", "{}", "true")


def cases() -> Iterator[Case]:
    yield from _times()
    yield from _fields()
    yield from _empty()
    yield from _phases()
    yield from _order_and_nesting()
    yield from _absent()
    yield from _large()
    info = '"distributedInfo": {"backend": "nccl", "rank": "3", "world_size": 8, "pg_config": [{"ranks": "[0, 1]"}]}'
    yield Case(
        "dist_info_last",
        text.document(BASE, tail=f',{info},"traceName": "t.json"'),
        "distributedInfo after traceEvents (on-demand path) and rank as string",
        TRUTH,
        link=HTA + "issues/104",
    )


def _retimed(change: Any, events: Events = BASE, keys: tuple[str, ...] = _TIMES) -> Events:
    """Every time changed."""
    return [{**e, **{key: change(e[key]) for key in keys if key in e}} for e in events]


def _times() -> Iterator[Case]:
    yield of_events(
        "ts_string",
        _retimed(lambda ns: Raw(f'"{microseconds(ns)}"')),
        "ts/dur as strings",
        TRUTH,
        link="https://github.com/Ascend/pytorch/issues/133",
    )
    exponents = _retimed(lambda ns: Raw(f"{microseconds(ns)}e0"), keys=("ts",))
    yield of_events("ts_exponent", exponents, "exponent notation", TRUTH)
    touching = inserted(BASE, -1, *_back_to_back())
    yield of_events(
        "back_to_back",
        touching,
        "400 siblings of 0.1-0.5 us that touch (end == next start): siblings, not a nest",
    )
    era = 1790857026 * 10**9 - 4631835998979049
    yield of_events(
        "ts_absolute_epoch",
        _retimed(lambda ns: ns + era, touching, ("ts",)),
        "epoch us + 3 decimals (torch 2.3): float64 resolution there is 0.25 us; ns must be parsed from text",
        link=HTA + "issues/317",
    )
    yield of_events(
        "ts_integer_us",
        _retimed(lambda ns: Raw(ns // 1000)),
        "torch <= 2.2: whole us; children overrun parents by 1 us: never a negative self time",
        oracle.facts(_retimed(lambda ns: ns // 1000 * 1000)),
        warn=None,
        link=TORCH + "issues/101861",
    )
    yield Case(
        "unit_ns_header",
        text.document(BASE, {**HEADER, "displayTimeUnit": "ns"}),
        "displayTimeUnit 'ns' is a display hint: ts stays in us, do not rescale",
        TRUTH,
        link=KINETO + "pull/890",
    )
    early = _retimed(lambda ns: ns - 4631835999500000, keys=("ts",))
    yield of_events("ts_negative", early, "ts < 0 (clock base later than the start)")
    for name, dur, why in (
        ("dur_negative", -5000, "negative dur: drop and say"),
        (
            "dur_overflow",
            2**63 - 1,
            "dur 2^63-1 ns (end 0 minus start wraps): an outlier that must be named, not become the total",
        ),
    ):
        events = changed(BASE, FIRST, dur=dur)
        yield of_events(name, events, why, DROPPED, warn=True, n_dropped=1, link=KINETO + "pull/646")


def _back_to_back() -> Iterator[Event]:
    """400 products that touch, in one operator after all others."""
    end = LAST + 1000
    for n in range(400):
        dur = 111 + n * 137 % 389
        yield {**_OP, "name": "aten::mm", "ts": end, "dur": dur, "args": {}}
        end += dur
    yield {**_OP, "name": "aten::addmm", "ts": LAST + 1000, "dur": end - LAST - 1000, "args": {}}


def _fields() -> Iterator[Case]:
    for key in ("dur", "ts", "ph"):
        yield of_events(
            f"missing_{key}",
            without(BASE, key, at=FIRST),
            f"X event without '{key}': drop and say",
            DROPPED,
            warn=True,
            n_dropped=1,
        )
    for key in ("pid", "tid", "name", "cat"):
        events = without(BASE, key, at=FIRST)
        yield of_events(
            f"missing_{key}",
            events,
            f"X event without '{key}': keep its time under a placeholder",
            oracle.facts([{"name": "?", "cat": "?", **e} for e in events]),
            invariants=("self_nonneg",),
        )
    yield of_events(
        "tid_string",
        [
            {**e, "pid": f"python {e['pid']}", "tid": "thread 1"} if e["ph"] == "X" and e["cat"] != "Trace" else e
            for e in BASE
        ],
        "string pid/tid next to ints (sorting mixed types raises TypeError)",
        link=KINETO + "issues/105",
    )
    yield of_events(
        "tid_mixed_types",
        [{**e, "tid": str(e["tid"])} if n % 2 and "tid" in e else e for n, e in enumerate(BASE)],
        "same thread as 10004 and '10004' (kineto wrote tid \"3239786240\" and 3239786240 in one file)",
        TRUTH,
        link=KINETO + "issues/109",
    )
    odd = (None, "x", [1], 7)
    yield of_events(
        "args_odd_types",
        [{**e, "args": odd[n % 4]} if e["ph"] == "X" else e for n, e in enumerate(BASE)],
        "args null/str/list/int",
        TRUTH,
    )
    lines = list(map(text.event, BASE))
    yield Case(
        "events_odd_types",
        '{"traceEvents": [' + ",\n".join([*lines[:9], *_NOT_EVENTS, *lines[9:]]) + "]}",
        "non-object and empty members of traceEvents",
        TRUTH,
        warn=True,
    )


def _empty() -> Iterator[Case]:
    said: Any = {"outcome": "either", "error": ("(?i)no .*events|empty",), "warn": True}
    yield Case(
        "events_empty",
        '{"schemaVersion": 1, "traceEvents": []}',
        "no events (profiler never reached RECORD)",
        oracle.facts([]),
        link=TORCH + "issues/91682",
        **said,
    )
    yield of_events("metadata_only", [e for e in BASE if e["ph"] == "M"], "only M events (HTA #330 class)", **said)


def _phases() -> Iterator[Case]:
    def is_span(event: Event) -> bool:
        return event["ph"] == "X" and event["cat"] in oracle.HOST

    halves = []
    for e in filter(is_span, BASE):
        end = e["ts"] + e["dur"]
        begin = {**{key: one for key, one in e.items() if key != "dur"}, "ph": "B"}
        halves.append(((e["ts"], 1, -e["dur"]), begin))
        halves.append(((end, 0, e["dur"] and -e["ts"]), {"ph": "E", "pid": e["pid"], "tid": e["tid"], "ts": end}))
    rest = [e for e in BASE if not is_span(e)]
    ordered = [half for _, half in sorted(halves, key=lambda one: one[0])]
    yield of_events("begin_end_pairs", rest + ordered, "B/E pairs instead of X", TRUTH)
    alone = (
        {"ph": "E", **_HOST, "ts": BASE[20]["ts"]},
        {"ph": "B", "name": "open", "cat": "cpu_op", **_HOST, "ts": LAST - 1000},
    )
    yield of_events("begin_end_unmatched", inserted(BASE, -1, *alone), "E without B and B without E", TRUTH, warn=True)
    other = [
        {"ph": ph, "name": f"a{n}", "cat": "x", "id": f"0x{n:x}", **_HOST, "ts": BASE[8]["ts"] + n, "args": {"v": n}}
        for n, ph in enumerate("bneSTpFCiIPNODvVRcst(),=")
    ]
    yield of_events(
        "other_phases",
        inserted(BASE, -1, *other),
        "async, counter, instant, sample, object, memory-dump, clock phases",
        TRUTH,
    )


def _order_and_nesting() -> Iterator[Case]:
    shuffled = list(BASE)
    random.Random(7).shuffle(shuffled)
    yield of_events("shuffled", shuffled, "events in random order", link=PERFETTO + "issues/371")
    yield of_events("reversed", BASE[::-1], "children before parents, metadata last")
    same = [{**_OP, "name": f"tie_child_{n}", "args": {"Ev Idx": 9000 + n}} for n in range(3)]
    none = {**_OP, "name": "tie_zero", "dur": 0, "args": {"Ev Idx": 9100}}
    yield of_events(
        "equal_intervals",
        inserted(BASE, FIRST + 1, *same, none),
        "parent and children with identical ts and dur, and a zero-length one",
        link="https://github.com/google/trace-viewer/issues/1131",
    )
    half = _OP["dur"] // 2
    by_1ns = {**_OP, "name": "overrun_1ns", "ts": _OP["ts"] + half, "dur": _OP["dur"] - half + 1}
    by_half = {**_OP, "name": "overrun_half", "ts": _OP["ts"] + half}
    yield of_events(
        "partial_overlap",
        inserted(BASE, FIRST + 1, by_1ns, by_half),
        "child outlives parent by 1 ns and by half: no negative self time; Perfetto < v50 dropped or mangled these",
        warn=True,
        link=PERFETTO + "issues/4280",
    )
    frame = {**_OP, "cat": "python_function", "name": "<built-in method f>", "args": {}}
    starts = [_OP["ts"] + 10 * n for n in range(3)]
    yield of_events(
        "unfinished_to_window_end",
        inserted(BASE, FIRST, *({**frame, "ts": start, "dur": LAST - start} for start in starts)),
        "lost C_RETURN: frames that end exactly at Record Window End",
        warn=True,
        link=TORCH + "issues/193440",
    )
    again = [{**e, "ts": e["ts"] + 10**9} for e in BASE if e["ph"] == "X" and isinstance(e.get("args"), dict)]
    yield of_events(
        "ev_idx_reset",
        inserted(BASE, -1, *again),
        "second cycle repeats Ev Idx / External id / ProfilerStep numbers: none of them is a key",
    )


def _absent() -> Iterator[Case]:
    yield of_events(
        "step_missing",
        [e for e in BASE if not str(e.get("name", "")).startswith("ProfilerStep")],
        "no ProfilerStep (schedule not used)",
        link=TORCH + "issues/121141",
    )
    flows = [e for e in BASE if e.get("cat") == "fwdbwd"]
    yield of_events("fwdbwd_missing", [e for e in BASE if e not in flows], "no fwdbwd flows", TRUTH)
    yield of_events(
        "flows_dangling",
        [e for e in BASE if not (e["ph"] == "f" and e["id"] % 2)] + flows[:4],
        "f without s, s without f, repeated ids",
        TRUTH,
    )


def _large() -> Iterator[Case]:
    def span(name: str, start: int, dur: int) -> Event:
        return {
            "ph": "X",
            "cat": "cpu_op",
            "name": name,
            "pid": 1,
            "tid": 1,
            "ts": 10**9 + start,
            "dur": dur,
            "args": {},
        }

    limits = {"seconds": 20}
    yield of_events(
        "deep_stack_5000",
        inserted(BASE, -1, *(span("deep", n, 10**6 - 2 * n) for n in range(5000))),
        "5000 nested events: recursion dies near 1000",
        limits=limits,
    )
    names = (f"<built-in method f object at 0x7f{n:010x}>" for n in range(20000))
    yield of_events(
        "unique_names_20k",
        inserted(BASE, -1, *(span(name, 2000 * n, 1000) for n, name in enumerate(names))),
        "20,000 distinct names (addresses in names): table and HTML stay bounded",
        limits=limits,
    )
    yield of_events(
        "huge_name_8MB",
        changed(BASE, FIRST, name="x" * (8 << 20)),
        "8 MB name: neither the table nor the HTML may carry it",
        limits=limits,
    )
