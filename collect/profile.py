"""One model at one length under torch.profiler, and the trace file that says what it is.

The native exporter of torch 2.13 writes invalid JSON for names with quotes and hides its failures; so what it wrote is
parsed, and the slower Python exporter of the same profile is the second choice.
"""

from __future__ import annotations

import gzip
import inspect
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.profiler import profile, schedule

from tracekit import points
from tracekit.errors import TracekitError
from tracekit.points import Point, Profile
from tracekit.safety import atomic_write, refuse_special_target, sanitize

from . import device

WARMUP_STEPS = 1


def run_profiled(step: Callable[[], object], where: str, steps: int, folder: Path) -> tuple[Path, Profile]:
    """Profile `steps` steps after one of warm-up; the exported trace lies in `folder`.

    Nothing but `step`, which names its phases, stands inside a profiled step, so that its time is the model's.
    """
    exported: list[tuple[Path, str]] = []
    with profile(
        activities=device.activities(where),
        schedule=schedule(wait=0, warmup=WARMUP_STEPS, active=steps, repeat=1),
        on_trace_ready=lambda prof: exported.append(_export(prof, folder)),
        record_shapes=True,
        profile_memory=True,
        acc_events=True,
    ) as prof:
        wall = 0
        for number in range(WARMUP_STEPS + steps):
            begin = time.perf_counter_ns()
            step()
            device.synchronize(where)
            if number >= WARMUP_STEPS:
                wall += time.perf_counter_ns() - begin
            prof.step()
    path, exporter = exported[0]
    return path, Profile(steps=steps, warmup=WARMUP_STEPS, wall_ns=wall, exporter=exporter)


def _export(prof: Any, folder: Path) -> tuple[Path, str]:
    """Export natively, parse, and export again in Python where that fails. Returns the file and the exporter."""
    path = folder / "export.json"
    prof.export_chrome_trace(str(path))
    if _parses(path):
        return path, "native"
    if "use_python_export" in inspect.signature(prof.export_chrome_trace).parameters:  # torch 2.13 on
        prof.export_chrome_trace(str(path), use_python_export=True)
        if _parses(path):
            return path, "python"
    raise TracekitError(
        f"torch {torch.__version__} exported no readable trace to {sanitize(folder)}; is the disk full?"
    )


def _parses(path: Path) -> bool:
    """Whether all of a file is JSON with events in it."""
    try:
        document = msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return False
    return isinstance(document, dict) and bool(document.get("traceEvents"))


def write_point(exported: Path, point: Point, target: Path) -> None:
    """Write the final file: the point's header line, then the exported trace. Whole or not at all.

    It is written beside the export and read back before it takes its place, on the same file system.
    """
    written = exported.with_name(target.name)
    with exported.open("rb") as source, atomic_write(written) as file:
        with gzip.GzipFile(fileobj=file, mode="wb", compresslevel=6, mtime=0, filename="") as zipped:
            zipped.write(points.header(point))
            begin = source.read(4096)
            zipped.write(begin[begin.index(b"{") + 1 :])
            shutil.copyfileobj(source, zipped, 1 << 20)
        file.flush()
        _read_back(Path(file.name), point)
    refuse_special_target(target)
    written.replace(target)


def _read_back(path: Path, point: Point) -> None:
    with gzip.open(path) as file:
        document = msgspec.json.decode(file.read(), type=dict[str, msgspec.Raw])
    if next(iter(document)) != "tracekit" or points.decode(bytes(document["tracekit"])) != point:
        raise TracekitError(f"{sanitize(path.parent)}: a trace did not read back as it was written; is the disk sound?")
