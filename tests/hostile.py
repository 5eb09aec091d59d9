"""Names that want to act where they are shown, and a folder of traces with one in every place where a name can go."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.corpus import injection
from tracekit import points
from tracekit.points import Identity, PeakMemory, Point, Profile, Sample, Trial

NAMES = [name for name, _ in injection.NAMES.values()]
# What acts on a terminal, or makes a text look like another. A line break is one where it is inside of a name.
UNSEEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


_SHAPES = {"Input Dims": [[64, 64], [64, 64]], "Input type": ["float", "float"]}


def _packed(names: list[str], most: int = 190) -> Iterator[str]:
    text = ""
    for name in names:
        if text and len(text) + len(name) > most:
            yield text
            text = ""
        text += name
    yield text


# All names in a few labels, each shorter than what is cut: for places whose every value costs a chart.
LABELS = [*_packed(sorted((n for n in NAMES if 0 < len(n) < 100), key=lambda n: n[0] not in "=<")), "__proto__"]


def write_study(
    folder: Path,
    labels: Sequence[str] = LABELS,
    names: Sequence[str] = NAMES,
    slower: float = 1.0,
    version: str = "",
) -> None:
    """Points whose every text is hostile: a pair of curves for each of `labels`, failures, a foreign trace, rubbish.

    Folders and files too, as far as file names can be. `slower`: by what factor everything takes longer than usual;
    `version`: what the versions of the points and the types of inputs end in.
    """
    for number, label in enumerate(labels):
        place = folder / "".join(char for char in label if char not in "/\0")[:80]
        place.mkdir(parents=True, exist_ok=True)
        for length in (64, 512):
            for model, ms in ((f"{label}!", length / 20), (label, 8 + length / 90)):
                ms *= slower
                point = _point(label, model, length, ms, number, versions={label: f"{label}{version}"})
                data = (
                    points.header(point)
                    + b'"traceEvents": '
                    + json.dumps(list(_events(label, ms, names, number > 0, version))).encode()
                    + b"}"
                )
                (place / f"{length}{model[-1:] == '!'}\x1b[1m<b>\u202e.json").write_bytes(data)
        failed = _point(label, label, 4096, 0, number, status=label, reason=label, samples=[], memory=None)
        (place / f"x{points.FAILED_SUFFIX}").write_bytes(points.encode(failed))
    (folder / "\x1b[31m<b>.json").write_text("{")
    foreign = [_span(name, 10 * i, 9, "cpu_op") for i, name in enumerate(names)]
    foreign += [_span(name, 10 * i - 1, 10, "user_annotation", tid=2) for i, name in enumerate(names)]
    job = {"rank": names[0], "backend": names[1], "pg_config": names[2]}
    head = {"host_name": names[0], names[1]: names[1], "traceName": names[2], "distributedInfo": job}
    (folder / '<img src=x onerror="alert(1)">\n=1.json').write_text(json.dumps({**head, "traceEvents": foreign}))


def _point(label: str, model: str, length: int, ms: float, number: int, **fields: Any) -> Point:
    same: Any = (
        "length_unit",
        "architecture",
        "dtype",
        "device",
        "preset",
        "compile",
        "optimizer",
        "machine",
        "isolation",
    )
    more: dict[str, Any] = {"mode": "inference", "overrides": {label: label}, "annotate": label, "threads": 2}
    steps = [int(ms * 1e6 * share) for share in (0.98, 1.0, 1.02)]
    said = ("family", "modality", "model_class", "source", "throughput_ended")
    return Point(
        **{
            "identity": Identity(model=model, length=length, attention=label, **{**dict.fromkeys(same, label), **more}),
            "baseline": None if model.endswith("!") else f"{label}!",
            "samples": [Sample(wall_ns=ns, cpu_ns=ns, run_delay_ns=ns // 3) for ns in steps * (1 + number % 2)],
            "first_token": [Sample(wall_ns=ns, cpu_ns=ns) for ns in steps],
            "throughput": [Trial(batch=batch, samples_ns=steps) for batch in (1, 2)] if ms else [],
            "memory": PeakMemory(bytes=int(ms) << 20, method=f"estimate {label}"),
            "profile": Profile(steps=1, warmup=0, wall_ns=int(ms * 2e6), exporter=label),
            "config": {label: label},
            "notes": [label],
            "environment": {"cpu_model": label, label: label, "memory_bytes": 1 << 34},
            "versions": {label: label},
            "command": ["tracekit", label],
            **dict.fromkeys(said, label),
            **fields,
        }
    )


def _span(name: str, start: float, dur: float, cat: str, tid: int = 1, args: Any = None) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": dur, "args": args or {}}


def _events(label: str, ms: float, names: Sequence[str], device: bool, version: str) -> Iterator[dict[str, Any]]:
    """A step of two layers of modules, with operators, Python frames, allocations and device work of every name."""
    us = round(ms) * 56_000  # whole microseconds for every part
    mark = "user_annotation"
    yield _span("ProfilerStep#1", 0, us, mark)
    yield _span("tracekit::phase#forward", 0, 0.97 * us, mark)
    yield _span("tracekit::phase#optimizer", 0.97 * us, 0.03 * us, mark)
    yield _span("aten::add_", 0.98 * us, 0.01 * us, "cpu_op", 1, _SHAPES)
    yield _span(label, 0.01 * us, 0.95 * us, mark)
    yield _span(f"tracekit::model#{label}", 0.05 * us, 0.9 * us, mark)
    for layer in (0, 1):
        at = (0.05 + 0.45 * layer) * us
        yield _span(f"tracekit::layer#{label}.{layer}", at, 0.45 * us, mark)
        yield _span(f"tracekit::attention#{label}.{layer}.{label}", at, 0.25 * us, mark)
        yield _span(f"tracekit::ffn#{label}.{layer}.f", at + 0.25 * us, 0.2 * us, mark)
        each = 0.2 * us / len(names)
        for i, name in enumerate(names if layer == 0 else (), 1):
            begin = at + (i - 1) * each
            yield _span(name, begin, each, "cpu_op", 1, {**_SHAPES, "Input type": [name + version], name: name})
            if device:
                yield _span("cudaLaunchKernel", begin, each / 2, "cuda_runtime", 1, {"correlation": i})
                yield _span(name, begin, each, "kernel", 7, {"device": 0, "stream": 7, "correlation": i})
            block = {"Device Type": 0, "Device Id": -1, "Addr": i, "Bytes": 64, "Total Allocated": 64 * i}
            yield {**_span("[memory]", begin, 0, "cpu_instant_event", 1, block), "ph": "i"}
        yield _span("aten::mm", at + 0.25 * us, 0.2 * us, "cpu_op", 1, _SHAPES)
        yield _span(f"{label}.py(1): {label}", at + 0.3 * us, 0.1 * us, "python_function")
