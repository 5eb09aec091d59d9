"""Make the points of a plan, one process each, and yield every result as it finishes.

Length by length. The models of one length are timed in turns, side by side; then each is measured again in a process of
its own with the others gone: throughput where asked for, then memory and profile, and its file is written. Nothing that
is finished is lost or done again: a file takes its name when it is whole.
"""

from __future__ import annotations

import contextlib
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import msgspec

from tracekit import points
from tracekit.errors import MissingExtraError, TracekitError
from tracekit.points import Point, Trial
from tracekit.safety import atomic_write

from . import environment, throughput
from .plan import Plan, Planned, Request, make
from .resolve import resolve
from .rounds import Effort, Timed, take_turns
from .worker import InProcess, PointFailedError, Worker

_STALE_S = 3600.0  # a temporary file this old belongs to a run that died
_LISTS = ("lengths", "attention")  # options of which one is as good as a list of one
_SCRATCH = ".tracekit-"  # folders where the files of points are made
_PROFILED_S = 60.0  # fewer steps are profiled where they would take longer than this, never fewer than one


@dataclass(frozen=True)
class Result:
    """One point that ended: status `ok`, `cached`, `oom`, `error`, `timeout`, `killed` or `skipped`, and its file."""

    planned: Planned
    status: str
    path: Path | None = None
    reason: str = ""


@dataclass(frozen=True)
class _Run:
    """How a plan is carried out: what every step of it needs to know."""

    effort: Effort = field(default_factory=Effort)
    seed: int = 0
    said: Callable[[str], None] = lambda _doing: None
    command: Sequence[str] = ()
    isolation: str = "forkserver"

    def start(self, planned: Planned) -> Timed:
        """A process for a point; nothing has been asked of it yet."""
        if self.isolation == "none":
            return Timed(planned, InProcess(planned.identity, self.seed))
        return Timed(planned, Worker(planned.identity, self.seed, self.effort.timeout, self.isolation))


def run(
    plan: Plan,
    effort: Effort | None = None,
    *,
    budget_s: float | None = None,
    skip_after_oom: bool = True,
    said: Callable[[str], None] = lambda _doing: None,
    command: Sequence[str] = (),
) -> Generator[Result, None, None]:
    """Make what `plan` lacks. Yields one Result per point, finished ones first.

    `said` is told what is being done. No length is begun after `budget_s` seconds. On KeyboardInterrupt, or when the
    caller stops iterating, processes are ended and what is written stays.
    """
    how = _Run(effort or Effort(), plan.seed, said, command, plan.isolation)
    begun = time.monotonic()
    yield from (Result(planned, "cached", planned.path) for planned in plan.points if planned.finished)
    for folder in {planned.path.parent for planned in plan.todo}:
        _sweep_stale(folder)
    full: set[str] = set()  # curves that ran out of memory
    for group in plan.groups():
        if budget_s is not None and time.monotonic() - begun > budget_s:
            yield from (Result(planned, "skipped", reason="the time budget is spent") for planned in group)
            continue
        fitting = [planned for planned in group if not skip_after_oom or _curve(planned) not in full]
        for result in _measure(fitting, how):
            if result.status == "oom":
                full.add(_curve(result.planned))
            yield result
        for planned in group:
            if planned not in fitting:
                yield Result(planned, "skipped", reason="a shorter input did not fit in memory")


def _curve(planned: Planned) -> str:
    return planned.identity.series().digest()


def _measure(group: Sequence[Planned], how: _Run) -> Iterator[Result]:
    """The points of one length: timed in turns, then finished one by one."""
    timed: list[Timed] = []
    try:
        for planned in group:
            how.said(f"preparing {planned.title}")
            timed.append(how.start(planned))
            _prepare(timed[-1])
            if timed[-1].failure:  # what it held may be what the next one needs
                timed[-1].worker.close()
        take_turns([one for one in timed if one.failure is None], how.effort, how.said)
    finally:
        for one in timed:
            one.worker.close()
    for one in timed:
        yield _failed(one, one.failure, how) if one.failure else _finish(one, how)


def _prepare(one: Timed) -> None:
    """Build the model of a point in its process and take what it says of itself."""
    try:
        one.facts = one.worker.request("prepare")
    except PointFailedError as failure:
        one.failure = failure


def _finish(one: Timed, how: _Run) -> Result:
    """Measure what is measured alone, and have the file written."""
    planned = one.planned
    try:
        trials, ended = _throughput(one, how) if how.effort.throughput else ([], "")
        how.said(f"profiling {planned.title}")
        planned.path.parent.mkdir(parents=True, exist_ok=True)
        with (
            tempfile.TemporaryDirectory(
                prefix=_SCRATCH, dir=planned.path.parent, ignore_cleanup_errors=True
            ) as scratch,
            how.start(planned).worker as worker,
        ):
            worker.request("prepare")
            point = _point(one, how, throughput=trials, throughput_ended=ended)
            arguments = {"point": msgspec.to_builtins(point), "target": str(planned.path), "scratch": scratch}
            worker.request("profile", steps=_profiled_steps(one, how.effort), **arguments)
    except PointFailedError as failure:
        return _failed(one, failure, how)
    except OSError as error:
        return _failed(one, PointFailedError("error", f"{planned.path.parent}: {error.strerror or error}"), how)
    planned.failed_path.unlink(missing_ok=True)
    return Result(planned, "ok", planned.path)


def _profiled_steps(one: Timed, effort: Effort) -> int:
    step_s = statistics.median(sample.wall_ns for sample in one.samples) / 1e9
    return max(1, min(effort.profiled_steps, int(_PROFILED_S / step_s)))


def _throughput(one: Timed, how: _Run) -> tuple[list[Trial], str]:
    """Trials of larger and larger batches, and what ended them; one that does not fit is not the end of the point."""
    with how.start(one.planned).worker as worker:
        worker.request("prepare")

        def trial(batch: int) -> Trial | None:
            how.said(f"throughput of {one.planned.title}, batch {batch}")
            try:
                return msgspec.convert(worker.request("trial", batch=batch), Trial)
            except PointFailedError as failure:
                if failure.status == "error":
                    raise
                return None

        return throughput.search(one.planned.identity.batch, trial)


def _failed(one: Timed, failure: PointFailedError, how: _Run) -> Result:
    """Leave the reason beside where the file would be: that a length does not fit is a result.

    A finished point of an earlier run is worth more than the news that it failed now, and stays alone.
    """
    planned = one.planned
    if planned.path.exists():
        return Result(planned, failure.status, None, f"{failure.reason} (the finished point of before was kept)")
    point = _point(one, how, status=failure.status, reason=failure.reason)
    try:
        with atomic_write(planned.failed_path) as file:
            file.write(points.encode(point))
    except OSError as error:  # a full disk, perhaps: the other points may still find room
        why = f"{failure.reason} (and this could not be written: {error.strerror or error})"
        return Result(planned, failure.status, None, why)
    return Result(planned, failure.status, planned.failed_path, failure.reason)


def _point(one: Timed, how: _Run, **more: Any) -> Point:
    """What is known of a point so far."""
    entry = one.planned.entry
    facts = dict(one.facts)
    return Point(
        identity=one.planned.identity,
        family=entry.family,
        modality=entry.modality,
        baseline=entry.baseline,
        source=entry.source,
        seed=how.seed,
        samples=one.samples,
        first_token=one.first_token,
        calibration=one.calibration,
        environment={**environment.collect(), **facts.pop("environment", {})},
        versions={**environment.versions(), **facts.pop("versions", {})},
        command=list(how.command),
        created_unix_s=time.time(),
        **facts,
        **more,
    )


def _sweep_stale(folder: Path) -> None:
    """Remove what a run left behind that died an hour ago or longer."""
    for path in folder.glob(".*"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime < _STALE_S:
                continue
            if path.is_dir() and path.name.startswith(_SCRATCH):
                shutil.rmtree(path, ignore_errors=True)
            elif path.name.endswith(".tmp"):
                path.unlink()


def check(plan: Plan, timeout: float = 300.0) -> None:
    """Raise UsageError for an override that a config does not know, or a device that torch does not have here.

    Costs a process per model, and none for a plan that overrides nothing on the CPU.
    """
    one_of_each = {(p.identity.model, p.identity.architecture): p for p in plan.points}
    for planned in one_of_each.values():
        if planned.identity.overrides or planned.identity.device != "cpu":
            try:
                with Worker(planned.identity, plan.seed, timeout) as worker:
                    worker.ask("check")
            except PointFailedError as failure:
                raise TracekitError(f"{planned.entry.name} cannot be loaded: {failure.reason}") from None


def require_extra() -> None:
    """Raise MissingExtraError unless torch and transformers are installed; does not import them."""
    for module in ("torch", "transformers"):
        if find_spec(module) is None:
            raise MissingExtraError("collect", module)


def sweep(
    model: str | Sequence[str],
    *,
    out: Path | str = "traces",
    force: bool = False,
    effort: Effort | None = None,
    **options: Any,
) -> Iterator[Point]:
    """Collect points from Python: yields each Point as it finishes, failed ones with their status.

    `options` are the fields of `plan.Request` (lengths, mode, preset, overrides, attention, dtype, ...). In a script,
    call it below `if __name__ == "__main__":`, as for anything that starts processes. Raises UsageError for what cannot
    be, MissingExtraError without torch or transformers.
    """
    require_extra()
    specs = [model] if isinstance(model, str) else list(model)
    for name in _LISTS:
        if isinstance(options.get(name), str | int | float):
            options[name] = [options[name]]
    named = {name: options[name] for name in ("pretrained", "trust_remote_code") if name in options}
    resolve(specs, **named)
    plan = make(Request(models=specs, **options), Path(out), force=force)
    check(plan)
    return _points(run(plan, effort, command=sys.argv))


def _points(results: Iterator[Result]) -> Iterator[Point]:
    for result in results:
        if result.path is not None:
            failed = result.path == result.planned.failed_path
            point = points.read_failed(result.path) if failed else points.read_point(result.path)
            if point is not None:
                yield point
