"""What a trace is, and what it can and cannot tell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from . import tables
from .launches import GRAPH, LINKED
from .trace import Trace

# Operators whose times `check --json` gives, so that two tools can be compared on one file.
PROBES = ("aten::mm", "aten::addmm", "aten::sum")


def facts(trace: Trace) -> dict[str, Any]:
    """Exact counts and nanoseconds of a trace; every key is in docs/tables.md."""
    host, device = trace.host, trace.device
    names = host.filter(pl.col("kind") == "operator").with_columns(pl.col("name").cast(pl.String))
    probes = {name: names.filter(pl.col("name") == name) for name in PROBES}
    annotations = host.filter(pl.col("kind") == "annotation")
    linked = device.filter(pl.col("launch").is_in([LINKED, GRAPH]))
    peaks = trace.memory_peaks()
    return {
        "n_cpu_op": names.height,
        "n_annotation": annotations.height,
        "n_steps": trace.steps().height,
        "n_gpu": device.height,
        "cpu_busy_ns": trace.busy_ns,
        "cpu_op_busy_ns": trace.operator_busy_ns,
        "self_ns": {name: int(rows["self_ns"].sum()) for name, rows in probes.items()},
        "total_ns": {name: [rows.height, int(rows["dur_ns"].sum())] for name, rows in probes.items()},
        "outermost_ns": {
            name: [int(rows["outermost"].sum()), int(rows.filter("outermost")["dur_ns"].sum())]
            for name, rows in probes.items()
        },
        "gpu_sum_ns": trace.device_ns,
        "gpu_busy_ns": trace.device_busy_ns,
        "gpu_span_ns": int(trace.devices()["span_ns"].sum()),
        "n_linked": linked.height,
        "gpu_linked_ns": int(linked["dur_ns"].sum()),
        "n_threads": trace.events.frames.threads.height,
        "host_span_ns": int(host.select((pl.col("end_ns").max() - pl.col("start_ns").min()).fill_null(0)).item()),
        "ranges": trace.range_source,
        "phases": tables.plain(host.select(pl.col("phase").unique()).sort("phase"))["phase"].to_list(),
        "unattributed_share": _share(trace, "unattributed"),
        "n_backward": int(host["forward_row"].is_not_null().sum()),
        "n_memory": trace.events.frames.memory.height,
        "peak_bytes": int(peaks.select(pl.col("live_bytes").max()).item()) if peaks.height else None,
    }


@dataclass(frozen=True)
class Ability:
    """One question about a trace, whether it can be answered, and why, or what to record next time."""

    question: str
    able: bool
    because: str


def abilities(trace: Trace) -> list[Ability]:
    """What the trace can tell, and what it cannot for want of what."""
    frames, host = trace.events.frames, trace.host
    record = "profile inside tracekit.annotate(model), or with_stack=True"
    sources = {
        "tracekit": "tracekit's ranges",
        "modules": "nn.Module frames",
        "annotations": f"only record_function ranges: {record}",
        "": record,
    }
    shapes = int(frames.operators["shapes"].is_not_null().sum())
    steps = trace.steps().height
    backward = int(host["forward_row"].is_not_null().sum())
    known = trace.device_launches().filter(pl.col("launch").is_in([LINKED, GRAPH]))
    return [
        Ability("time per operator", frames.operators.height > 0, f"{frames.operators.height:,} operators on the host"),
        Ability(
            "time per component and layer", trace.range_source in ("tracekit", "modules"), sources[trace.range_source]
        ),
        Ability("backward charged to the forward", backward > 0, f"{backward:,} events of backward nodes are linked"),
        Ability("spread over steps", steps > 1, _steps(steps)),
        Ability(
            "FLOPs, cost by shape", shapes > 0, f"{shapes:,} shapes" if shapes else "profile with record_shapes=True"
        ),
        Ability(
            "memory over time",
            frames.memory.height > 0,
            f"{frames.memory.height:,} allocator events"
            if frames.memory.height
            else "profile with profile_memory=True",
        ),
        Ability(
            "device time per operator",
            known.height > 0,
            f"{frames.device.height:,} pieces of device work" if frames.device.height else "no device work in it",
        ),
        Ability(
            "latency",
            trace.point is not None and bool(trace.point.samples),
            "unprofiled samples in the file" if trace.point else "a profiled run tells shares, never latency",
        ),
    ]


def _steps(count: int) -> str:
    return f"{count} profiled steps" if count > 1 else "one profiled step" if count else "no step: call prof.step()"


def _share(trace: Trace, component: str) -> float:
    table = trace.components()
    part = table.filter(pl.col("component") == component)
    return round(float(part["share"].sum()), 6)
