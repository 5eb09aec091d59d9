"""What a sweep is to make: which points, in which order, at what cost. Needs neither torch nor transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tracekit import points
from tracekit.components import ANNOTATIONS
from tracekit.errors import TraceError, UsageError
from tracekit.points import Identity
from tracekit.safety import refuse_outside, sanitize

from . import environment, estimate, models
from .models.entry import MODES, PRESETS, ModelEntry

DTYPES = ("float32", "bfloat16", "float16", "float64")
OPTIMIZERS = ("adamw", "sgd", "adafactor")
COMPILE = ("none", "component", "model")
ISOLATION = ("forkserver", "spawn", "none")  # how a point gets a process of its own
_LABEL = re.compile(r"[\w+-]{1,60}")  # a dot would be one of `--set LABEL.key`


@dataclass(frozen=True)
class Request:
    """What the user asked for.

    `models` are registered names or `label=name`; `lengths` a list in the models' own unit, or lists by unit ("" for
    any), `None` for each model's ladder; `overrides` config settings, `label.key` for one model alone. `optimizer` and
    `checkpointing` are of training; `pretrained` and `trust_remote_code` of models that are not registered. `captures`:
    how many times each point is made, every time in new processes and into a folder of its own.
    """

    models: Sequence[str]
    lengths: Sequence[float] | Mapping[str, Sequence[float]] | None = None
    preset: str = "base"
    overrides: Mapping[str, Any] = field(default_factory=dict)
    batch: int = 1
    attention: Sequence[str] = ()
    dtype: str = "float32"
    device: str = "cpu"
    mode: str = "inference"
    optimizer: str = "adamw"
    checkpointing: bool = False
    compile: str = "none"
    pretrained: bool = False
    trust_remote_code: bool = False
    isolation: str = "forkserver"
    annotate: str = "components"
    threads: int | None = None
    seed: int = 0
    baseline: bool = True
    captures: int = 1


@dataclass(frozen=True)
class Planned:
    """One point to make: its identity, its file, whether that is there already, and what it will cost (about)."""

    identity: Identity
    path: Path
    finished: bool
    seconds: float
    disk_bytes: int
    capture: int = 0  # which of several, from 1 on

    @property
    def entry(self) -> ModelEntry:
        """The registered model."""
        return models.get(self.identity.architecture)

    @property
    def failed_path(self) -> Path:
        """Where the reason lies if the point fails."""
        return self.path.with_name(self.path.name.removesuffix(points.TRACE_SUFFIX) + points.FAILED_SUFFIX)

    @property
    def title(self) -> str:
        """The point as people name it."""
        i = self.identity
        which = f", capture {self.capture}" if self.capture else ""
        return f"{i.model} ({i.attention}) at {i.length:,g} {i.length_unit}{which}"


@dataclass(frozen=True)
class Plan:
    """The points of a sweep, length by length; `left_out` are those that the time budget has no room for."""

    points: tuple[Planned, ...]
    seed: int = 0
    left_out: tuple[Planned, ...] = ()
    isolation: str = "forkserver"

    @property
    def todo(self) -> tuple[Planned, ...]:
        """The points that are not finished yet."""
        return tuple(p for p in self.points if not p.finished)

    @property
    def seconds(self) -> float:
        """About how long the sweep will take."""
        return sum(p.seconds for p in self.todo) + (estimate.FIRST_START_S if self.todo else 0)

    @property
    def disk_bytes(self) -> int:
        """About how much disk the sweep will take."""
        return sum(p.disk_bytes for p in self.todo)

    def groups(self) -> list[list[Planned]]:
        """Unfinished points in groups of one length and batch: a group is measured side by side.

        Captures of one point lie as far apart as they can, so that how they differ tells of the machine's hours too.
        """
        groups: dict[tuple[int, str, float, int], list[Planned]] = {}
        for planned in sorted(self.todo, key=lambda one: one.capture):
            i = planned.identity
            groups.setdefault((planned.capture, i.length_unit, i.length, i.batch), []).append(planned)
        return list(groups.values())


def make(request: Request, out: Path, *, force: bool = False, budget_s: float | None = None) -> Plan:
    """Plan a sweep. Raises UsageError for what cannot be: model, length, attention, preset, dtype, device.

    Whether the config knows the overrides and torch the device is told by `sweep.check`.
    """
    _check(request)
    chosen = _chosen(request)
    _check_overrides(request, chosen)
    lengths = _lengths(request.lengths, list(chosen.values()))
    threads = request.threads or environment.usable_cores()
    machine = environment.machine_id()
    rate = estimate.flops_per_second(threads)
    planned: list[Planned] = []
    for unit, length in lengths:
        for label, entry in chosen.items():
            for attention in _attentions(request, entry) if entry.length_unit == unit else ():
                identity = Identity(
                    model=label,
                    architecture=entry.name,
                    length=float(length),
                    length_unit=unit,
                    batch=request.batch,
                    attention=attention,
                    dtype=request.dtype,
                    device=request.device,
                    preset=request.preset,
                    overrides=overrides_for(request.overrides, label),
                    mode=request.mode,
                    optimizer=request.optimizer if request.mode == "training" else "",
                    checkpointing=request.checkpointing,
                    compile=request.compile,
                    pretrained=request.pretrained and entry.custom,
                    trust_remote_code=request.trust_remote_code and entry.custom,
                    isolation="none" if request.isolation == "none" else "process",
                    annotate="none" if request.compile == "model" else request.annotate,
                    threads=threads,
                    machine=machine,
                )
                cost = estimate.seconds(entry, identity, rate), estimate.disk_bytes(entry, identity)
                for capture, folder in _folders(out, request.captures):
                    path = identity.path(folder)
                    refuse_outside(path, out)
                    finished = not force and is_finished(path, identity)
                    planned.append(Planned(identity, path, finished, *cost, capture))
    return _within(planned, budget_s, request.seed, request.isolation)


def _folders(out: Path, captures: int) -> list[tuple[int, Path]]:
    """Where the points of each capture go: `out` itself where there is but one."""
    return [(n, out / f"capture-{n}") for n in range(1, captures + 1)] if captures > 1 else [(0, out)]


def _within(planned: list[Planned], budget_s: float | None, seed: int, isolation: str) -> Plan:
    """Cut the plan where the estimate passes the budget, whole lengths at a time; the first is always made."""
    if budget_s is None:
        return Plan(tuple(planned), seed, isolation=isolation)
    spent = estimate.FIRST_START_S
    kept: list[Planned] = []
    for length in dict.fromkeys((p.identity.length_unit, p.identity.length) for p in planned):
        group = [p for p in planned if (p.identity.length_unit, p.identity.length) == length]
        spent += sum(p.seconds for p in group if not p.finished)
        if spent > budget_s and kept:
            break
        kept += group
    return Plan(tuple(kept), seed, tuple(planned[len(kept) :]), isolation)


def is_finished(path: Path, identity: Identity) -> bool:
    """Whether the file of a point is there and says so itself."""
    try:
        point = points.read_point(path)
    except (OSError, TraceError):
        return False
    return point is not None and point.ok and point.identity == identity


def overrides_for(overrides: Mapping[str, Any], label: str) -> dict[str, Any]:
    """The config overrides of one model: `key` holds for all, `label.key` for one and wins."""
    common = {key: value for key, value in overrides.items() if "." not in key}
    prefix = f"{label}."
    return common | {key.removeprefix(prefix): value for key, value in overrides.items() if key.startswith(prefix)}


def _check(request: Request) -> None:
    if not request.models:
        raise UsageError("name a model: --model longformer (see: tracekit models)")
    for what, value, known in (
        ("preset", request.preset, PRESETS),
        ("dtype", request.dtype, DTYPES),
        ("annotate", request.annotate, ANNOTATIONS),
        ("mode", request.mode, MODES),
        ("optimizer", request.optimizer, OPTIMIZERS),
        ("compile", request.compile, COMPILE),
        ("isolation", request.isolation, ISOLATION),
    ):
        if value not in known:
            raise UsageError(f"unknown {what} '{sanitize(value)}'; known: {', '.join(known)}")
    for what, number in (("batch", request.batch), ("threads", request.threads)):
        if number is not None and number < 1:
            raise UsageError(f"--{what} {number}: at least 1 is needed")
    if request.checkpointing and request.mode != "training":
        raise UsageError("--checkpointing trades time for memory in training: add --mode training")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", request.device):
        raise UsageError(f"unknown device '{sanitize(request.device)}'; known: cpu, cuda, cuda:0")


def split_label(spec: str) -> tuple[str, str]:
    """Label and model of `[LABEL=]MODEL`; a file, folder or module is called by the last part of its name.

    Raises UsageError for a label that is none.
    """
    label, equals, name = spec.partition("=")
    if not equals or "/" in label or ":" in label:  # an equals sign in a path is none of ours
        return models.short_name(spec), spec
    if not _LABEL.fullmatch(label):
        raise UsageError(f"--model {sanitize(spec)}: a label is letters, digits, - and _")
    return label, name


def _chosen(request: Request) -> dict[str, ModelEntry]:
    """The entry of every model by its label, added baselines first: `name`, or `label=name` for two variants of one."""
    chosen: dict[str, ModelEntry] = {}
    for spec in request.models:
        label, name = split_label(spec)
        entry = models.get(name)
        _check_entry(request, entry)
        if chosen.setdefault(label, entry) is not entry:
            raise UsageError(f"--model {sanitize(spec)}: the label '{sanitize(label)}' stands for two models")
    if not request.baseline:
        return chosen
    present = {entry.name for entry in chosen.values()}
    missing = dict.fromkeys(e.baseline for e in chosen.values() if e.baseline and e.baseline not in present)
    for name in missing:
        if name in chosen:
            raise UsageError(
                f"'{name}' is a baseline of this sweep too: call yours otherwise, LABEL={chosen[name].source}"
            )
    return {**{name: models.get(name) for name in missing}, **chosen}


def _check_entry(request: Request, entry: ModelEntry) -> None:
    """Refuse what a model has not."""
    if request.mode not in entry.modes:
        raise UsageError(f"{entry.name} has no mode '{request.mode}'; it has: {', '.join(entry.modes)}")
    if request.preset == "tiny" and entry.custom:
        raise UsageError(f"{entry.name} has no tiny preset: it is what it says it is")
    if request.pretrained and not entry.custom:
        raise UsageError(f"--pretrained: {entry.name} is built from its config; write --model hf:ORGANIZATION/NAME")


def _check_overrides(request: Request, chosen: Mapping[str, ModelEntry]) -> None:
    for key in request.overrides:
        label, dot, _ = key.partition(".")
        if dot and label not in chosen:
            raise UsageError(f"--set {sanitize(key)}: no model of this sweep is called '{sanitize(label)}'")
    for label, entry in chosen.items():
        for key, value in overrides_for(request.overrides, label).items() if not entry.custom else ():
            number = isinstance(value, int) and not isinstance(value, bool) and value > 0
            if isinstance(entry.base.get(key), int) and not number:  # sizes, which the estimates multiply
                raise UsageError(
                    f"--set {sanitize(key)}={sanitize(value)}: {label}'s {sanitize(key)} is a whole number"
                )


def _lengths(
    asked: Sequence[float] | Mapping[str, Sequence[float]] | None, entries: Sequence[ModelEntry]
) -> list[tuple[str, float]]:
    """Unit and length of every group of points, units in the order of the models, lengths ascending."""
    by_unit = asked if isinstance(asked, Mapping) else {"": asked} if asked is not None else {}
    units = list(dict.fromkeys(entry.length_unit for entry in entries))
    for unit in by_unit:
        if unit and unit not in units:
            raise UsageError(f"no model of this sweep takes lengths in {unit}; they take {' and '.join(units)}")
    found: list[tuple[str, float]] = []
    for unit in units:
        ladder = next(entry.ladder for entry in entries if entry.length_unit == unit)
        lengths = by_unit.get(unit, by_unit.get("", ladder))
        found += [(unit, length) for length in sorted(set(lengths))]
    if not found:
        raise UsageError("name a length: --lengths 128:8192")
    return found


def _attentions(request: Request, entry: ModelEntry) -> list[str]:
    """The attention implementations to measure: those asked for that are real in this model; its default for none.

    What no named model has is an error. A model that has none of them, where another has, takes its default: Longformer
    as it is, beside `--attention sdpa` of BERT.
    """
    if not request.attention:
        return [entry.attention[0]]
    named = [models.get(split_label(spec)[1]) for spec in request.models]
    for name in request.attention:
        if not any(one.has_attention(name) for one in named):
            raise named[0].refuse_attention(name)
    real = [name for name in dict.fromkeys(request.attention) if entry.has_attention(name)]
    return real or [entry.attention[0]]
