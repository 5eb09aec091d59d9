"""Traces to break: a real one, it with device work, and one of everything else; and how they are written."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

CORPUS = Path(__file__).parent / "corpus"
Event = list[tuple[str, Any]]  # keys may stand twice


class Raw(str):
    """JSON text that is written as it stands."""


@dataclass
class Document:
    """A trace to be: keys before the events, events, keys after; and how it is written."""

    header: list[tuple[str, Any]]
    events: list[Any]
    after: list[tuple[str, Any]]
    style: str = "kineto"

    def copy(self, style: str) -> Document:
        """One whose lists are its own."""
        return Document(list(self.header), list(self.events), list(self.after), style)


class Pairs(list[tuple[str, Any]]):
    """An object as its pairs. One that is changed is a copy, so that `texts`, by colon, stay true."""

    def __init__(self, pairs: Iterable[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        self.texts: dict[str, str] = {}


@cache
def own_bases() -> dict[str, Document]:
    """The traces that every machine has: a real one, it with device work, and one of everything else."""
    real = read(gzip.decompress((CORPUS / "base_cpu.json.gz").read_bytes()))
    ours = Document([("tracekit", {"schema": 1}), ("schemaVersion", 1)], list(_synthetic()), [("traceName", "t.json")])
    short = Document(real.header, real.events[150:200], real.after)
    return {"cpu": real, "device": _with_device(real), "short": short, "synthetic": ours}


def real_bases(folder: Path, most: int = 300) -> dict[str, Document]:
    """The first events and some device work of each trace in `folder`. Raises FileNotFoundError when it has none."""
    found = {}
    for path in sorted(folder.glob("*.json.gz")):
        whole = read(gzip.decompress(path.read_bytes()))
        device = [e for e in whole.events if dict(e).get("cat") in ("kernel", "gpu_memcpy", "cuda_runtime")]
        found[path.name] = Document(whole.header[:5], [*whole.events[:most], *islice(device, 40)], [])
    if not found:
        raise FileNotFoundError(f"no traces in {folder}")
    return found


def read(text: bytes) -> Document:
    """A sound trace, its numbers as they are written."""
    pairs: Any = json.loads(
        text, parse_float=Raw, parse_int=Raw, object_pairs_hook=Pairs, parse_constant=lambda _: None
    )
    at = [key for key, _ in pairs].index("traceEvents")
    return Document(pairs[:at], pairs[at][1], pairs[at + 1 :])


def _span(name: str, ts: Any, dur: Any, cat: str = "cpu_op", tid: Any = 1, **args: Any) -> Event:
    pairs = [("ph", "X"), ("cat", cat), ("name", name), ("pid", 7), ("tid", tid), ("ts", ts), ("dur", dur)]
    return Pairs([*pairs, ("args", {key.replace("_", " "): value for key, value in args.items()})])


def _half(ph: str, name: str, ts: float, cat: str, tid: int) -> Event:
    return Pairs([("ph", ph), ("cat", cat), ("name", name), ("pid", 7), ("tid", tid), ("ts", ts)])


_NODE = "autograd::engine::evaluate_function: AddmmBackward0"


def _synthetic() -> Sequence[Event]:
    """Two annotated steps: modules, python frames, recursion, backward nodes, allocations, launches, halves."""
    found: list[Event] = [
        Pairs([("ph", "M"), ("name", "process_name"), ("pid", 7), ("tid", 0), ("args", {"name": "python"})])
    ]
    for step in (0, 1):
        at = 1000.125 + 1000 * step
        found += [
            _span(f"ProfilerStep#{step}", at, 900, "user_annotation", Ev_Idx=100 * step),
            _span("tracekit::phase#forward", at, 400, "user_annotation"),
            _span("tracekit::model#", at + 10, 380, "user_annotation"),
            _span("tracekit::layer#0", at + 20, 300, "user_annotation"),
            _span("tracekit::attention#0.attention", at + 30, 100, "user_annotation"),
            _span("nn.Module: Linear_0", at + 32, 90, "python_function", Python_module_id=3, Python_id=5),
        ]
        for i in range(6):
            begin = at + 40 + 12.5 * i
            number: Any = {"Ev_Idx": 100 * step + i, "External_id": 50 * step + i, "Sequence_number": 10 * step + i}
            shapes: Any = {"Input_Dims": [[4, 8], [8, 2]], "Input_type": ["float", "float"]}
            launch = 60 * step + i + 1
            found += [
                _span("aten::addmm" if i % 2 else "aten::sum", begin, 12, Fwd_thread_id=0, **number, **shapes),
                _span("aten::sum" if i % 3 else "aten::mm", begin + 1.001, 9.999),
                _span("cudaLaunchKernel", begin + 2, 1.5, "cuda_runtime", correlation=launch, External_id=50 * step + i),
                _span("gemm", begin + 9, 20 - i, "kernel" if i else "gpu_memcpy", tid=7, device=i % 2, stream=7, correlation=launch),
                Pairs([("ph", "s"), ("id", i), ("pid", 7), ("tid", 1), ("ts", begin), ("cat", "ac2g"), ("name", "ac2g")]),
                _allocation(begin + 3, 64 * (i + 1), 4096 + i, i),
            ]  # fmt: skip
        for i in range(6):
            found += [
                _span(_NODE, at + 450 + 20 * i, 15, tid=2, Sequence_number=10 * step + 5 - i, Fwd_thread_id=1),
                _span("aten::mm", at + 452 + 20 * i, 11.5, tid=2),
                _allocation(at + 460 + 20 * i, -64 * (i + 1), 4096 + i, i),
            ]  # fmt: skip
        found += [
            _half("B", "outer", at + 600, "cpu_op", 3),
            _half("B", "aten::mm", at + 610, "cpu_op", 3),
            _half("E", "aten::mm", at + 640.5, "cpu_op", 3),
            _half("B", "marker", at + 650, "other", 3),
            _half("E", "marker", at + 660, "other", 3),
            _half("E", "outer", at + 700, "cpu_op", 3),
            _span("late.py(3): f", at + 605, 200, "python_function", tid=3),
            _span("memset", at + 700, 5, "gpu_memset", tid=9, device=0, stream=9, correlation=0),
        ]
    found.append(
        Pairs([("name", "Record Window End"), ("ph", "i"), ("s", "g"), ("pid", ""), ("tid", ""), ("ts", 3000.5)])
    )
    return found


def _allocation(ts: float, size: int, address: int, total: int) -> Event:
    args = {"Total Allocated": 4096 + total, "Bytes": size, "Device Id": -1, "Device Type": 0, "Addr": address}
    place = [("s", "t"), ("name", "[memory]"), ("pid", 7), ("tid", 1), ("ts", ts), ("args", args)]
    return Pairs([("ph", "i"), ("cat", "cpu_instant_event"), *place])


def _with_device(real: Document) -> Document:
    """Every fifth operator launches a kernel."""
    operators = [dict(e) for e in real.events if dict(e).get("cat") == "cpu_op"]
    added: list[Event] = []
    for number, op in enumerate(operators[::5], 1):
        start = Decimal(op["ts"])
        added += [
            _span("cudaLaunchKernel", Raw(start), Raw("0.700"), "cuda_runtime", op["tid"], correlation=number),
            _span("gemm", Raw(start + 2), Raw("3.250"), "kernel", 7, device=0, stream=7, correlation=number),
        ]
    return Document(real.header, [*real.events[:-1], *added, real.events[-1]], real.after)


# -- writing

STYLES = ("kineto", "compact", "lines", "spaced", "array", "array lines", "header after", "tabs")


def written(document: Document) -> str:
    """The document as text, in its style."""
    style = document.style
    colon, comma = (":", ",") if style == "compact" else (": ", ", ")
    between = {"lines": ",\n", "array lines": ",\n", "kineto": ",\n  ", "tabs": "\n\t,\n\t"}.get(style, comma)
    events = between.join(_event_json(event, colon, comma) for event in document.events)
    if style == "kineto":
        events = "\n  " + events.replace(', "args"', ',\n    "args"').replace("}, {", "\n  },\n  {") + "\n  "
    if style.startswith("array"):
        return f"[{events}]"
    before = [f"{_json(key, colon, comma)}{colon}{_json(value, colon, comma)}" for key, value in document.header]
    after = [f"{_json(key, colon, comma)}{colon}{_json(value, colon, comma)}" for key, value in document.after]
    middle = f'"traceEvents"{colon}[{events}]'
    parts = [middle, *before, *after] if style == "header after" else [*before, middle, *after]
    return "{" + comma.join(parts) + "}"


def _event_json(event: Any, colon: str, comma: str) -> str:
    if not isinstance(event, Pairs):
        return _json(event, colon, comma)
    if colon not in event.texts:
        event.texts[colon] = _json(event, colon, comma)
    return event.texts[colon]


def _json(value: Any, colon: str, comma: str) -> str:
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, Pairs | dict):
        pairs = value.items() if isinstance(value, dict) else value
        return (
            "{" + comma.join(f"{_json(key, colon, comma)}{colon}{_json(one, colon, comma)}" for key, one in pairs) + "}"
        )
    if isinstance(value, list):
        return "[" + comma.join(_json(one, colon, comma) for one in value) + "]"
    return json.dumps(value)
