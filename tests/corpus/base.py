"""The trace that all others are made from: torch 2.13 on a CPU, 249 events, one thread, two profiled steps."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

from tests import oracle
from tests.oracle import Event

from . import text

Events = list[Event]
_FILE = Path(__file__).with_name("base_cpu.json.gz")


def _load() -> Events:
    read = json.loads(gzip.decompress(_FILE.read_bytes()), parse_float=Decimal)["traceEvents"]
    return [{**e, **{key: int(Decimal(e[key]) * 1000) for key in ("ts", "dur") if key in e}} for e in read]


def with_device_work(
    events: Events,
    stream: Callable[[int], int] = lambda i: 7,
    device: Callable[[int], int] = lambda i: 0,
    correlation: Callable[[int], int] = lambda i: 1001 + i,
) -> Events:
    """Add a launch, a kernel and the flow between them for each innermost operator longer than 0.8 us.

    What is added is made up, in kineto's layout, and says so in its arguments.
    """
    operators = sorted((e for e in events if e.get("cat") == "cpu_op"), key=lambda e: (e["ts"], -e["dur"]))
    after = [e["ts"] for e in operators[1:]] + [1 << 62]
    leaves = [e for e, start in zip(operators, after, strict=True) if start >= e["ts"] + e["dur"]]
    added: Events = []
    free: dict[tuple[int, int], int] = {}  # when a stream has done its work so far
    for i, op in enumerate(e for e in leaves if e["dur"] > 800):
        place = device(i), stream(i)
        host, work = {"pid": op["pid"], "tid": op["tid"]}, {"pid": place[0], "tid": place[1]}
        launch, took, dur = op["ts"] + 2 * op["dur"] // 5, 3 * op["dur"] // 10, 5000 + i * 7919 % 30000
        start = max(free.get(place, 0), launch + took + 3000)
        free[place] = start + dur + 500
        made = {"External id": op["args"].get("External id", 0)}
        known = {"correlation": correlation(i), "synthetic": 1}
        where = {"queued": 0, "device": place[0], "context": 1, "stream": place[1], "correlation": correlation(i)}
        size = {"grid": [4, 1, 1], "block": [128, 1, 1], "synthetic": 1}
        flow = {"cat": "ac2g", "name": "ac2g"}
        name = f"synthetic_{op['name'].split('::')[-1]}_kernel"
        added += [
            {"ph": "X", "cat": "cuda_runtime", "name": "cudaLaunchKernel", **host, "ts": launch, "dur": took, "args": {**made, "cbid": 211, **known}},
            {"ph": "s", "id": correlation(i), **host, "ts": launch, **flow},
            {"ph": "X", "cat": "kernel", "name": name, **work, "ts": start, "dur": dur, "args": {**made, **where, **size}},
            {"ph": "f", "id": correlation(i), **work, "ts": start, **flow, "bp": "e"},
        ]  # fmt: skip
    return inserted(events, -1, *added)  # "Record Window End" stays last


def inserted(events: Events, at: int, *more: Event) -> Events:
    return [*events[:at], *more, *events[at:]]


def changed(events: Events, at: int, **fields: Any) -> Events:
    """With other fields for one event."""
    return [*events[:at], {**events[at], **fields}, *events[at + 1 :]]


def without(events: Events, *keys: str, at: int) -> Events:
    """With one event that lacks `keys`, or none in its place if no key is named."""
    left = [{key: one for key, one in events[at].items() if key not in keys}] if keys else []
    return [*events[:at], *left, *events[at + 1 :]]


def each(events: Events, category: str, change: Callable[[int, Event], Event]) -> Events:
    """With `change(number, event)` in the place of every event of a category."""
    number = iter(range(len(events)))
    return [change(next(number), e) if e.get("cat") == category else e for e in events]


def complete(events: Events, document: str) -> Events:
    """Those events that are whole in a document that breaks off somewhere."""
    position, kept = 0, []
    for one in events:
        written = text.event(one)
        at = document.find(written, position)
        if at < 0:
            break
        kept.append(one)
        position = at + len(written)
    assert 5 < len(kept) <= len(events)
    return kept


BASE = _load()
GPU = with_device_work(BASE)
FIRST = next(i for i, e in enumerate(BASE) if e.get("cat") == "cpu_op")  # the event that is damaged, as a rule
LAST = BASE[-1]["ts"]  # the end of the recording
TEXT = text.document(BASE)
TRUTH = oracle.facts(BASE)
GPU_TRUTH = oracle.facts(GPU)
DROPPED = oracle.facts(without(BASE, at=FIRST))  # the truth where the damaged event is lost
