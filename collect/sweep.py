"""Make the points of a plan, one process each, and yield every result as it finishes.

Length by length; the workers of one length live side by side for the latency rounds and take turns, so that drift of
the machine hits all models alike. Then each, alone at work, is profiled and its file written. Nothing that is finished
is lost or done again: a file takes its name when it is whole.
"""

from __future__ import annotations

import contextlib
import statistics
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from tracekit import points
from tracekit.errors import MissingExtraError
from tracekit.points import Calibration, Point, Sample
from tracekit.safety import atomic_write

from .plan import PROFILED_STEPS, Plan, Planned, Request, make
from .worker import PointFailedError, Worker

_STALE_S = 3600.0  # a temporary file this old belongs to a run that died
_TEMPORARY = (".export-*", ".*.tmp")


@dataclass(frozen=True)
class Effort:
    """How hard to measure. Rounds go on until the median is known to `precision` (relative), within the bounds.

    `repeats` fixes the number of rounds; `seconds` bounds the rounds of one length for each model; `timeout` ends a
    request to a worker that hangs.
    """

    repeats: int | None = None
    least: int = 5
    most: int = 30
    precision: float = 0.01
    seconds: float = 20.0
    timeout: float = 1800.0
    profiled_steps: int = PROFILED_STEPS


@dataclass(frozen=True)
class Result:
    """One point that ended: status `ok`, `cached`, `oom`, `error`, `timeout`, `killed` or `skipped`, and its file."""

    planned: Planned
    status: str
    path: Path | None
    reason: str = ""


@dataclass
class _Live:
    """A point being measured: its worker and what it said so far."""

    planned: Planned
    worker: Worker
    facts: dict[str, Any]
    samples: list[Sample] = field(default_factory=list)
    calibration: list[Calibration] = field(default_factory=list)


Progress = Callable[[str], None]


def run(
    plan: Plan,
    effort: Effort | None = None,
    *,
    seed: int = 0,
    budget_s: float | None = None,
    skip_after_oom: bool = True,
    progress: Progress = lambda _doing: None,
    command: Sequence[str] = (),
) -> Iterator[Result]:
    """Make what `plan` lacks. Yields one Result per point, finished ones first.

    `progress` is told what is being done. On KeyboardInterrupt, or when the caller stops iterating, the workers are
    ended and what is written stays.
    """
    effort = effort or Effort()
    begun = time.monotonic()
    for planned in plan.points:
        if planned.finished:
            yield Result(planned, "cached", planned.path)
    _remove_stale({planned.path.parent for planned in plan.todo})
    full: set[str] = set()
    for group in plan.by_length():
        if budget_s is not None and time.monotonic() - begun > budget_s:
            yield from (Result(p, "skipped", None, "the time budget has ended") for p in group)
            continue
        for planned in group:
            if skip_after_oom and _variant(planned) in full:
                yield Result(planned, "skipped", None, "a shorter input did not fit in memory")
        fitting = [p for p in group if not (skip_after_oom and _variant(p) in full)]
        for result in _measure_group(fitting, effort, seed, progress, list(command)):
            if result.status == "oom":
                full.add(_variant(result.planned))
            yield result


def _variant(planned: Planned) -> str:
    return planned.identity.series().digest()


def _measure_group(
    group: list[Planned], effort: Effort, seed: int, progress: Progress, command: list[str]
) -> Iterator[Result]:
    """The points of one length: all prepared, timed in turn, then profiled and written one by one."""
    live: list[_Live] = []
    try:
        for planned in group:
            progress(f"preparing {_name(planned)}")
            try:
                worker = Worker(planned.identity, seed, effort.timeout)
                live.append(_Live(planned, worker, {}))
                live[-1].facts = worker.request("describe")
                worker.request("warm_up")
            except PointFailedError as failure:
                live = [one for one in live if one.planned is not planned]
                yield _failed(planned, failure, seed, command)
        for one, failure in _time_in_turn(live, effort, progress):
            live.remove(one)
            yield _failed(one.planned, failure, seed, command, one)
        while live:
            one = live[0]
            progress(f"profiling {_name(one.planned)}")
            yield _finish(one, effort, command)
            live.pop(0).worker.close()
    finally:
        for one in live:
            one.worker.close()


def _time_in_turn(live: list[_Live], effort: Effort, progress: Progress) -> list[tuple[_Live, PointFailedError]]:
    """Latency in interleaved rounds until every model is known well enough; returns those that failed on the way."""
    sweep = uuid.uuid4().hex[:8]
    failed: list[tuple[_Live, PointFailedError]] = []
    begun = time.monotonic()
    most = effort.repeats or effort.most
    for number in range(most):
        active = [one for one in live if one not in [f[0] for f in failed]]
        if not active or (number and _enough(active, effort, time.monotonic() - begun)):
            break
        for one in active:
            progress(f"timing {_name(one.planned)}, round {number + 1} of at most {most}")
            try:
                sample, calibration = one.worker.request("latency", sweep=sweep, number=number)
                one.samples.append(msgspec.convert(sample, Sample))
                one.calibration.append(msgspec.convert(calibration, Calibration))
            except PointFailedError as failure:
                failed.append((one, failure))
    return failed


def _enough(active: list[_Live], effort: Effort, elapsed: float) -> bool:
    """Whether another round would tell nothing new, or there is no time for it."""
    if effort.repeats is not None:
        return False
    rounds = len(active[0].samples)
    if elapsed > effort.seconds * len(active) and rounds >= min(3, effort.least):
        return True
    return rounds >= effort.least and all(precision(one.samples) <= effort.precision for one in active)


def precision(samples: Sequence[Sample]) -> float:
    """Half the interquartile range over the median and the root of the count: about a standard error of the median."""
    walls = [float(sample.wall_ns) for sample in samples]
    if len(walls) < 2:
        return float("inf")
    low, middle, high = statistics.quantiles(walls, n=4, method="inclusive")
    return (high - low) / 2 / middle / len(walls) ** 0.5


def _finish(one: _Live, effort: Effort, command: list[str]) -> Result:
    """Profile a timed model; its worker writes the file."""
    planned = one.planned
    point = Point(
        identity=planned.identity,
        samples=one.samples,
        calibration=one.calibration,
        command=command,
        created_unix_s=time.time(),
        **one.facts,
    )
    try:
        one.worker.request(
            "profile", point=msgspec.to_builtins(point), steps=effort.profiled_steps, target=str(planned.path)
        )
    except PointFailedError as failure:
        return _failed(planned, failure, one.facts.get("seed", 0), command, one)
    _failed_path(planned).unlink(missing_ok=True)
    return Result(planned, "ok", planned.path)


def _failed(
    planned: Planned, failure: PointFailedError, seed: int, command: list[str], one: _Live | None = None
) -> Result:
    """Leave the reason beside where the file would be: that a length does not fit is a result."""
    facts = one.facts if one else {}
    point = Point(
        identity=planned.identity,
        status=failure.status,
        reason=failure.reason,
        command=command,
        created_unix_s=time.time(),
        samples=one.samples if one else [],
        calibration=one.calibration if one else [],
        **{"seed": seed, **_registered(planned), **facts},
    )
    path = _failed_path(planned)
    with atomic_write(path) as file:
        file.write(points.encode(point))
    return Result(planned, failure.status, path, failure.reason)


def _registered(planned: Planned) -> dict[str, Any]:
    from . import models

    entry = models.get(planned.identity.architecture)
    return {"family": entry.family, "modality": entry.modality, "baseline": entry.baseline, "source": entry.source}


def _failed_path(planned: Planned) -> Path:
    return planned.path.with_name(planned.path.name.removesuffix(points.TRACE_SUFFIX) + points.FAILED_SUFFIX)


def _name(planned: Planned) -> str:
    i = planned.identity
    return f"{i.model} ({i.attention}) at {i.length:,g} {i.length_unit}"


def _remove_stale(folders: set[Path]) -> None:
    """Remove temporary files of runs that died; a collector at work beside us touches its own more often."""
    for folder in folders:
        for pattern in _TEMPORARY:
            for path in folder.glob(pattern):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _STALE_S:
                        path.unlink()


def sweep(
    model: str | Sequence[str],
    *,
    lengths: Sequence[int] | None = None,
    out: Path | str = "traces",
    force: bool = False,
    effort: Effort | None = None,
    **options: Any,
) -> Iterator[Point]:
    """Collect points from Python: yields each Point as it finishes, failed ones with their status.

    `options` are the fields of `plan.Request` (preset, overrides, batch, attention, dtype, device, ...). In a script,
    call it below `if __name__ == "__main__":`, as for anything that starts processes.
    """
    require_extra()
    specs = [model] if isinstance(model, str) else list(model)
    request = Request(model_specs=specs, lengths=lengths, **options)
    for result in run(make(request, Path(out), force), effort, seed=request.seed, command=sys.argv):
        if result.path is not None:
            failed = result.path.name.endswith(points.FAILED_SUFFIX)
            point = points.read_failed(result.path) if failed else points.read_point(result.path)
            if point is not None:
                yield point


def require_extra() -> None:
    """Raise MissingExtraError unless torch and transformers are installed; does not import them."""
    from importlib.util import find_spec

    for module in ("torch", "transformers"):
        if find_spec(module) is None:
            raise MissingExtraError("collect", module)
