"""What a sweep is to make: which points, in which order, at what cost. Needs neither torch nor transformers."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tracekit import points
from tracekit.errors import UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from . import environment, models
from .models.entry import PRESETS, ModelEntry

LADDER = (128, 256, 512, 1024, 2048, 4096, 8192)
DTYPES = ("float32", "bfloat16", "float16", "float64")
PROFILED_STEPS = 3
# For estimates alone, each measured roughly and labelled "about" wherever it is shown.
_START_S = 4.0  # a worker's start, the model's construction, export and validation
_FIRST_START_S = 12.0  # the server that holds torch and transformers
_EXPECTED_STEPS = 2 + 10 + 1 + PROFILED_STEPS  # warm-up, samples, profiler warm-up, profiled
_EFFICIENCY = 0.6  # of a bare matrix product that a transformer's forward reaches
_TRACE_BYTES_PER_LAYER = 5_000 * PROFILED_STEPS


@dataclass(frozen=True)
class Request:
    """What the user asked for. Lengths are in the models' unit; `None` takes the ladder."""

    model_specs: Sequence[str]
    lengths: Sequence[int] | None = None
    preset: str = "base"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    attention: Sequence[str] = ()
    dtype: str = "float32"
    device: str = "cpu"
    annotate: str = "components"
    threads: int | None = None
    seed: int = 0
    baseline: bool = True


@dataclass(frozen=True)
class Planned:
    """One point to make: its identity, its file, whether that is there already, and what it will cost (about)."""

    identity: Identity
    path: Path
    finished: bool
    seconds: float

    @property
    def disk_bytes(self) -> int:
        """About how large the file will be."""
        layers = models.get(self.identity.architecture).settings(
            self.identity.preset, int(self.identity.length), self.identity.overrides
        )["num_hidden_layers"]
        return int(layers) * _TRACE_BYTES_PER_LAYER + 10_000


@dataclass(frozen=True)
class Plan:
    """The points of a sweep, length by length; `left_out` are those that the time budget has no room for."""

    points: tuple[Planned, ...]
    left_out: tuple[Planned, ...] = ()

    @property
    def todo(self) -> tuple[Planned, ...]:
        """The points that are not finished yet."""
        return tuple(p for p in self.points if not p.finished)

    @property
    def seconds(self) -> float:
        """About how long the sweep will take."""
        return sum(p.seconds for p in self.todo) + (_FIRST_START_S if self.todo else 0)

    @property
    def disk_bytes(self) -> int:
        """About how much disk the sweep will take."""
        return sum(p.disk_bytes for p in self.todo)

    def by_length(self) -> list[list[Planned]]:
        """Unfinished points in groups of one length and batch: a group is measured side by side."""
        groups: dict[tuple[float, int], list[Planned]] = {}
        for planned in self.todo:
            groups.setdefault((planned.identity.length, planned.identity.batch), []).append(planned)
        return list(groups.values())


def make(request: Request, out: Path, force: bool = False, budget_s: float | None = None) -> Plan:
    """Plan a sweep. Raises UsageError for whatever cannot be: model, length, attention, override, preset, dtype."""
    _check(request)
    chosen = _chosen(request)
    lengths = sorted(set(request.lengths or LADDER))
    threads = request.threads or environment.usable_cores()
    machine = environment.machine_id()
    rate = _flops_per_second(threads)
    planned: list[Planned] = []
    for length in lengths:
        for label, entry in chosen:
            overrides = overrides_for(request.overrides, label)
            for attention in _attentions(request, entry, [e for _, e in chosen]):
                identity = Identity(
                    model=label,
                    architecture=entry.name,
                    length=float(length),
                    length_unit=entry.length_unit,
                    batch=request.batch,
                    attention=attention,
                    dtype=request.dtype,
                    device=request.device,
                    preset=request.preset,
                    overrides=overrides,
                    annotate=request.annotate,
                    threads=threads,
                    machine=machine,
                )
                flops = entry.flops(request.preset, length, overrides) * request.batch
                path = identity.path(out)
                done = not force and is_finished(path, identity)
                planned.append(Planned(identity, path, done, _START_S + _EXPECTED_STEPS * flops / rate))
    return _within(planned, budget_s)


def _within(planned: list[Planned], budget_s: float | None) -> Plan:
    """Cut the plan where the estimate passes the budget, whole lengths at a time; the first is always made."""
    if budget_s is None:
        return Plan(tuple(planned))
    spent = _FIRST_START_S
    kept: list[Planned] = []
    for length in dict.fromkeys(p.identity.length for p in planned):
        group = [p for p in planned if p.identity.length == length]
        spent += sum(p.seconds for p in group if not p.finished)
        if spent > budget_s and kept:
            break
        kept += group
    return Plan(tuple(kept), tuple(planned[len(kept) :]))


def is_finished(path: Path, identity: Identity) -> bool:
    """Whether the file of a point is there and says so itself."""
    try:
        point = points.read_point(path)
    except (OSError, points.TraceError):
        return False
    return point is not None and point.ok and point.identity == identity


def _check(request: Request) -> None:
    if not request.model_specs:
        raise UsageError("name a model: --model longformer (see: tracekit models)")
    for what, value, known in (
        ("preset", request.preset, PRESETS),
        ("dtype", request.dtype, DTYPES),
        ("annotate", request.annotate, ("components", "layers", "none")),
    ):
        if value not in known:
            raise UsageError(f"unknown {what} '{sanitize(value)}'; known: {', '.join(known)}")
    if request.batch < 1:
        raise UsageError("the batch is at least 1")
    kind, _, index = request.device.partition(":")
    if kind not in ("cpu", "cuda") or (index and not index.isdigit()):
        raise UsageError(f"unknown device '{sanitize(request.device)}'; known: cpu, cuda, cuda:0")


def _chosen(request: Request) -> list[tuple[str, ModelEntry]]:
    """Label and entry of every model, baselines first: `name`, or `label=name` for variants of one model."""
    chosen: dict[str, ModelEntry] = {}
    for spec in request.model_specs:
        label, _, name = spec.rpartition("=")
        entry = models.get(name)
        if chosen.setdefault(label or name, entry) is not entry:
            raise UsageError(f"the label '{sanitize(label or name)}' stands for two models")
    present = {entry.name for entry in chosen.values()}
    if request.baseline:
        needed = dict.fromkeys(e.baseline for e in chosen.values() if e.baseline and e.baseline not in present)
        chosen = {**{name: models.get(name) for name in needed}, **chosen}
    for key in request.overrides:
        label, dot, _ = key.partition(".")
        if dot and label not in chosen:
            raise UsageError(f"--set {sanitize(key)}: no model of this sweep is called '{sanitize(label)}'")
    return list(chosen.items())


def overrides_for(overrides: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The config overrides of one model: `key` holds for all, `label.key` for one and wins."""
    common = {key: value for key, value in overrides.items() if "." not in key}
    own = {k.partition(".")[2]: v for k, v in overrides.items() if k.partition(".")[0] == label and "." in k}
    return common | own


def _attentions(request: Request, entry: ModelEntry, entries: Iterable[ModelEntry]) -> list[str]:
    """The attention implementations to measure: those asked for that the model has; its default when none was.

    In a sweep over several models an implementation is asked of those that have it; one that none has is an error.
    """
    if not request.attention:
        return [entry.check_attention(None)]
    everywhere = list(entries)
    for name in request.attention:
        if not any(name in e.attention for e in everywhere):
            entry.check_attention(name)
            real = sorted({a for e in everywhere for a in e.attention})
            raise UsageError(f"no model of this sweep has {sanitize(name)} attention; they have: {', '.join(real)}")
    return [name for name in request.attention if name in entry.attention] or [entry.check_attention(None)]


def _flops_per_second(threads: int) -> float:
    """What a bare matrix product reaches here, times what a transformer reaches of it; for estimates alone."""
    a = np.ones((768, 768), dtype=np.float32)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        a @ a
        best = min(best, time.perf_counter() - begin)
    return _EFFICIENCY * 2 * 768**3 / best
