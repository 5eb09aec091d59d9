"""One model at one length under torch.profiler, and the trace file that says what it is.

The native exporter of torch 2.13 writes invalid JSON for names with quotes and hides its failures; so what it wrote is
parsed, and the slower Python exporter of the same profile is the second choice.
"""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.profiler import profile, record_function, schedule

from tracekit import points
from tracekit.components import PHASE_RANGE, Range
from tracekit.errors import TracekitError
from tracekit.points import PeakMemory, Point, Profile
from tracekit.safety import atomic_write

from . import device

WARMUP_STEPS = 1
_FORWARD = Range(PHASE_RANGE, "", "forward").name
_HOST_MEMORY = 0  # "Device Type" of a [memory] event


def run_profiled(step: Callable[[], object], where: str, steps: int, folder: Path) -> tuple[Path, Profile]:
    """Profile `steps` steps after one of warm-up; the exported trace lies in `folder` under a hidden name.

    Nothing but the forward stands inside a step, so that a step's time is the model's.
    """
    exported: list[tuple[Path, str]] = []
    plan = schedule(wait=0, warmup=WARMUP_STEPS, active=steps, repeat=1)
    with profile(
        activities=device.activities(where),
        schedule=plan,
        on_trace_ready=lambda prof: exported.append(_export(prof, folder)),
        record_shapes=True,
        profile_memory=True,
        acc_events=True,
    ) as prof:
        wall = 0
        for number in range(WARMUP_STEPS + steps):
            begin = time.perf_counter_ns()
            with record_function(_FORWARD):
                step()
                device.synchronize(where)
            if number >= WARMUP_STEPS:
                wall += time.perf_counter_ns() - begin
            prof.step()
    path, exporter = exported[0]
    return path, Profile(steps=steps, warmup=WARMUP_STEPS, wall_ns=wall, exporter=exporter)


def _export(prof: profile, folder: Path) -> tuple[Path, str]:
    """Export natively, parse, and export again in Python where that fails. Returns the file and the exporter."""
    folder.mkdir(parents=True, exist_ok=True)
    handle = tempfile.NamedTemporaryFile(prefix=".export-", suffix=".json", dir=folder, delete=False)  # noqa: SIM115
    handle.close()
    path = Path(handle.name)
    prof.export_chrome_trace(str(path))
    if _parses(path):
        return path, "native"
    prof.export_chrome_trace(str(path), use_python_export=True)
    if _parses(path):
        return path, "python"
    path.unlink(missing_ok=True)
    raise TracekitError(f"torch {torch.__version__} could not export a readable trace to {folder}; is the disk full?")


def _parses(path: Path) -> bool:
    try:
        msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    except (OSError, msgspec.MsgspecError):
        return False
    return True


def write_point(exported: Path, point: Point, target: Path) -> None:
    """Write the final file: the point's header line, then the exported trace. Whole or not at all.

    The file is read back before it takes its name; the export is removed in any case.
    """
    try:
        with exported.open("rb") as source, atomic_write(target) as file:
            with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0, filename="") as zipped:
                zipped.write(points.header(point))
                begin = source.read(4096)
                zipped.write(begin[begin.index(b"{") + 1 :])
                shutil.copyfileobj(source, zipped, 1 << 20)
            file.flush()
            _read_back(Path(file.name), point)
    finally:
        exported.unlink(missing_ok=True)


def _read_back(path: Path, point: Point) -> None:
    with gzip.open(path) as file:
        document = msgspec.json.decode(file.read(), type=dict[str, msgspec.Raw])
    if next(iter(document)) != "tracekit" or points.decode(bytes(document["tracekit"])) != point:
        raise TracekitError(f"{path.parent}: a trace did not read back as it was written; is the disk sound?")


def host_peak_bytes(exported: Path) -> int | None:
    """The most bytes allocated at once on the host since the recording began, by the trace's own [memory] events."""
    with exported.open("rb") as file:
        document: dict[str, Any] = json.load(file)
    instants = [
        (event["ts"], event["args"].get("Ev Idx", 0), event["args"]["Bytes"])
        for event in document["traceEvents"]
        if event.get("name") == "[memory]" and event["args"].get("Device Type") == _HOST_MEMORY
    ]
    if not instants:
        return None
    live = peak = 0
    for _, _, size in sorted(instants):
        live += size
        peak = max(peak, live)
    return peak


def peak_memory(exported: Path, where: str, parameter_bytes: int, input_bytes: int, resident: int | None) -> PeakMemory:
    """Peak memory of one step: the allocator's where it keeps one, else [memory] events plus what lay there before."""
    known = {"parameter_bytes": parameter_bytes, "input_bytes": input_bytes, "resident_peak_bytes": resident}
    peak = device.peak_bytes(where)
    if peak is not None:
        return PeakMemory(bytes=peak, method="peak of the CUDA allocator", **known)  # type: ignore[arg-type]
    delta = host_peak_bytes(exported)
    method = "profiler [memory] events + parameters + inputs" if delta is not None else "parameters + inputs only"
    return PeakMemory(bytes=(delta or 0) + parameter_bytes + input_bytes, method=method, **known)  # type: ignore[arg-type]
