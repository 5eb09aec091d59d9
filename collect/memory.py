"""Peak memory of one step: the device allocator's own peak, or on the host the profiler's [memory] events."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from tracekit.points import PeakMemory

from . import device
from .models.build import Built

_HOST = 0  # "Device Type" of a [memory] event


class _Event(msgspec.Struct):
    name: str = ""
    ts: float = 0.0
    args: dict[str, Any] = {}


class _Trace(msgspec.Struct):
    traceEvents: list[_Event]  # noqa: N815


def peak_memory(exported: Path, where: str, built: Built, held: int, resident: int | None) -> PeakMemory:
    """Peak memory of the steps in an exported trace, with what lay in memory before them.

    That is parameters, inputs and `held`, the bytes that a step keeps for the next: optimizer state, or a cache.
    `resident` is the most that the process held after its first step, libraries included: a second opinion, since what
    a library allocates past torch (oneDNN's scratch) is in no event.
    """
    allocator = device.peak_bytes(where)
    if allocator is not None:
        peak, method = allocator, "peak of the CUDA allocator"
    else:
        before = built.parameter_bytes + built.input_bytes + held
        method = "profiler [memory] events + parameters + inputs" + (" + what steps keep" if held else "")
        peak = host_peak_bytes(exported) + before
    return PeakMemory(
        bytes=peak,
        method=method,
        parameter_bytes=built.parameter_bytes,
        input_bytes=built.input_bytes,
        held_bytes=held,
        resident_peak_bytes=resident,
    )


def host_peak_bytes(exported: Path) -> int:
    """The most bytes allocated at once on the host since the recording began."""
    events = msgspec.json.decode(exported.read_bytes(), type=_Trace).traceEvents
    changes = sorted(
        (event.ts, event.args.get("Ev Idx", 0), event.args["Bytes"])
        for event in events
        if event.name == "[memory]" and event.args.get("Device Type") == _HOST
    )
    live = peak = 0
    for _, _, size in changes:
        live += size
        peak = max(peak, live)
    return peak
