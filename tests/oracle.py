"""What a trace's numbers must be: brute force over the events, in plain integers. Shares no code with the analyzer."""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

LAUNCHES = {"cuda_runtime", "cuda_driver", "xpu_runtime", "privateuse1_runtime", "privateuse1_driver"}
HOST = {"cpu_op", "user_annotation", "python_function"} | LAUNCHES
DEVICE = {"kernel", "gpu_memcpy", "gpu_memset"}
_KINDS = {"cpu_op": "operator", "user_annotation": "annotation", "python_function": "python"}
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


def further(events: Sequence[Event]) -> dict[str, Any]:
    """The rest of the numbers of `tracekit check --json` that no component, phase or step decides."""
    host = [event for event in events if _is_span(event) and event.get("cat") in HOST]
    operators = _by_thread([event for event in host if event["cat"] == "cpu_op"])
    return {
        "cpu_op_busy_ns": sum(union([_span(e) for e in es]) for es in operators),
        "n_threads": len(_by_thread(host)),
        "host_span_ns": max((_span(e)[1] for e in host), default=0) - min((e["ts"] for e in host), default=0),
        "n_memory": len(_instants(events)),
        "peak_bytes": _peak_bytes(_instants(events)),
    }


def operators(events: Sequence[Event]) -> dict[tuple[str, str], list[int]]:
    """Of each name and kind of host event: calls and ns of the outermost, self ns, calls and ns of all."""
    host = [event for event in events if _is_span(event) and event.get("cat") in HOST]
    found: dict[tuple[str, str], list[int]] = {}
    same = defaultdict(list)
    for event in host:
        same[event["name"], _KINDS.get(event["cat"], "runtime")].append(event)
    own = Counter[tuple[str, str]]()
    for alike in _by_thread(host):
        ordered = _ranked(alike)
        for event, ns in zip(ordered, self_times([_span(event) for event in ordered]), strict=True):
            own[event["name"], _KINDS.get(event["cat"], "runtime")] += ns
    for key, alike in same.items():
        found[key] = [*_outermost(alike), own[key], len(alike), sum(event["dur"] for event in alike)]
    return found


def union(spans: Sequence[Span]) -> int:
    """How long any of `spans` lasts."""
    total, reached = 0, None
    for start, end in sorted(spans):
        total += max(0, end - (start if reached is None else max(start, reached)))
        reached = end if reached is None else max(reached, end)
    return total


def self_times(spans: Sequence[Span]) -> list[int]:
    """Of each of `spans`, on one thread: for how long it is the open one that started last.

    Of those that started at once, the one that ends first; then the later one. The sum is `union`.
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


def _ranked(events: Sequence[Event]) -> list[Event]:
    """By the profiler's own index, name and kind: of equal intervals the later one is the inner one."""

    def rank(event: Event) -> tuple[int, str, int]:
        kind = list(_KINDS).index(event["cat"]) if event["cat"] in _KINDS else len(_KINDS)
        index = -1 if event["cat"] in LAUNCHES else event.get("args", {}).get("Ev Idx", -1)
        return index, event["name"], kind

    return sorted(events, key=rank)


def _by_thread(events: Sequence[Event]) -> list[list[Event]]:
    threads = defaultdict(list)
    for event in events:
        threads[str(event.get("pid")), str(event.get("tid"))].append(event)
    return list(threads.values())


def _self_ns(threads: Sequence[Sequence[Event]]) -> dict[str, int]:
    found = dict.fromkeys(PROBES, 0)
    for events in map(_ranked, threads):
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


def _instants(events: Sequence[Event]) -> list[Event]:
    instants = [e for e in events if e.get("cat") == "cpu_instant_event" and e.get("name") == "[memory]"]
    return sorted(instants, key=lambda event: (event["ts"], event.get("args", {}).get("Ev Idx", -1)))


def _peak_bytes(instants: Sequence[Event]) -> int | None:
    """The most that is live on a device: what is allocated, and what was there before, as far as frees and totals say.

    A free of what the last event of its address did not allocate is of what was there before.
    """
    last: dict[tuple[int, int, int], int] = {}
    live, before, peak, total = Counter[Any](), Counter[Any](), Counter[Any](), {}
    for event in instants:
        args = event.get("args", {})
        device, size = (args.get("Device Type", 0), args.get("Device Id", -1)), args.get("Bytes", 0)
        block = (*device, args.get("Addr", 0))
        if size < 0 and last.get(block) != -size:
            before[device] -= size
        last[block] = size
        if device not in total:
            total[device] = args.get("Total Allocated", 0) - size if "Total Allocated" in args else 0
            peak[device] = size
        live[device] += size
        peak[device] = max(peak[device], live[device])
    known = {device: before[device] if device[0] == 0 else max(before[device], total[device]) for device in total}
    return max((peak[device] + known[device] for device in total), default=None)


def _linked(sound: Sequence[Event]) -> list[Event]:
    """Device work whose correlation is not 0 and that of exactly one launch."""
    launches = Counter(str(e.get("args", {}).get("correlation", 0)) for e in sound if e.get("cat") in LAUNCHES)
    work = [(e, str(e.get("args", {}).get("correlation", 0))) for e in sound if e.get("cat") in DEVICE]
    return [event for event, correlation in work if correlation != "0" and launches[correlation] == 1]
