"""What a trace's numbers must be: brute force over the events, in plain integers. Shares no code with the analyzer."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

HOST = {"cpu_op", "user_annotation", "cuda_runtime", "cuda_driver", "python_function"}
DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
PROBES = ("aten::mm", "aten::addmm", "aten::sum")  # the names whose times `tracekit check --json` tells

Event = dict[str, Any]
Span = tuple[int, int]


def facts(events: Sequence[Event]) -> dict[str, Any]:
    """The exact numbers of `events`, of which `ts` and `dur` are integer ns; a `_bad` one counts as absent.

    The keys are those of `tracekit check --json`.
    """
    sound = [event for event in events if _is_span(event)]
    threads, devices = defaultdict(list), defaultdict(list)
    for event in sound:
        if event.get("cat") in HOST:
            threads[str(event.get("pid")), str(event.get("tid"))].append(event)
        elif event.get("cat") in DEVICE:
            devices[str(event.get("args", {}).get("device", event.get("pid")))].append(_span(event))
    of_name = {name: [e for e in sound if e["name"] == name and e["cat"] == "cpu_op"] for name in PROBES}
    linked = _linked(sound)
    placed = [[span for span in spans if span[0] != 0] for spans in devices.values()]  # a time of 0 is no time
    steps = [
        e for e in sound if e.get("cat") == "user_annotation" and str(e.get("name", "")).startswith("ProfilerStep#")
    ]
    return {
        "n_cpu_op": sum(e.get("cat") == "cpu_op" for e in sound),
        "n_annotation": sum(e.get("cat") == "user_annotation" for e in sound),
        "n_steps": len(steps),
        "n_gpu": sum(map(len, devices.values())),
        "total_ns": {name: [len(es), sum(e["dur"] for e in es)] for name, es in of_name.items()},
        "outermost_ns": {name: _outermost(es) for name, es in of_name.items()},
        "self_ns": _self_ns(list(threads.values())),
        "cpu_busy_ns": sum(union([_span(e) for e in es]) for es in threads.values()),
        "gpu_sum_ns": sum(end - start for spans in devices.values() for start, end in spans),
        "gpu_busy_ns": sum(map(union, devices.values())),
        "gpu_span_ns": sum(max(e for _, e in spans) - min(s for s, _ in spans) for spans in placed if spans),
        "n_linked": len(linked),
        "gpu_linked_ns": sum(e["dur"] for e in linked),
    }  # fmt: skip


def union(spans: Sequence[Span]) -> int:
    """How long any of `spans` lasts."""
    total, reached = 0, None
    for start, end in sorted(spans):
        total += max(0, end - (start if reached is None else max(start, reached)))
        reached = end if reached is None else max(reached, end)
    return total


def self_times(spans: Sequence[Span]) -> list[int]:
    """Of each of `spans`, on one thread: for how long it is the open one that started last.

    Of those that started at once, the one that ends first; then the later in the file. The sum is `union`.
    """
    own = [0] * len(spans)
    waiting = sorted(range(len(spans)), key=lambda i: spans[i][0], reverse=True)
    opened: list[tuple[int, int, int]] = []
    for moment, after in pairwise(sorted({edge for span in spans for edge in span})):
        while waiting and spans[waiting[-1]][0] <= moment:
            i = waiting.pop()
            heapq.heappush(opened, (-spans[i][0], spans[i][1], -i))
        while opened and opened[0][1] <= moment:
            heapq.heappop(opened)
        if opened:
            own[-opened[0][2]] += after - moment
    return own


def _is_span(event: Event) -> bool:
    ts, dur = event.get("ts"), event.get("dur")
    whole = isinstance(ts, int) and isinstance(dur, int) and dur >= 0
    return event.get("ph") == "X" and whole and not event.get("_bad")


def _span(event: Event) -> Span:
    return event["ts"], event["ts"] + event["dur"]


def _self_ns(threads: Sequence[Sequence[Event]]) -> dict[str, int]:
    found = dict.fromkeys(PROBES, 0)
    for events in threads:
        own = self_times([_span(event) for event in events])
        assert min(own) >= 0
        assert sum(own) == union([_span(event) for event in events])
        for event, ns in zip(events, own, strict=True):
            if event["name"] in found and event["cat"] == "cpu_op":
                found[event["name"]] += ns
    return found


def _outermost(events: Sequence[Event]) -> list[int]:
    """Calls and ns of events of one name that lie in no other of that name on their thread: recursion counts once."""
    threads = defaultdict(list)
    for event in events:
        threads[str(event.get("pid")), str(event.get("tid"))].append((event["ts"], -event["dur"]))
    calls, total = 0, 0
    for spans in threads.values():
        reached = None
        for start, negative in sorted(spans):
            if reached is None or start - negative > reached:
                calls, total, reached = calls + 1, total - negative, start - negative
    return [calls, total]


def _linked(sound: Sequence[Event]) -> list[Event]:
    """Device work whose correlation is not 0 and that of exactly one launch."""
    launches = Counter(
        str(e.get("args", {}).get("correlation", 0)) for e in sound if e.get("cat") in ("cuda_runtime", "cuda_driver")
    )
    work = [(e, str(e.get("args", {}).get("correlation", 0))) for e in sound if e.get("cat") in DEVICE]
    return [event for event, correlation in work if correlation != "0" and launches[correlation] == 1]
