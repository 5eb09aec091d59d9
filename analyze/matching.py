"""What to compare with what: captures of one configuration on either side.

Points are matched on model, mode, batch, length and the settings of the run. What has one value on each side is no
reason not to match: where the two differ, that is what the user wants to compare, and it is announced. Settings are
looked at curve by curve, so that all lengths of a curve have the same counterpart. The environment (machine, threads,
versions, the code of one's own model) never decides.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tracekit.errors import UsageError
from tracekit.points import Identity, Point
from tracekit.safety import sanitize
from tracekit.units import length_text, listed

from . import curves
from .study import Study
from .trace import Trace

# What tells points apart, in the order in which differences are announced.
_SETTINGS = (
    *("attention", "dtype", "device", "preset", "overrides", "optimizer", "checkpointing", "compile", "pretrained"),
)
_FILE = "name"  # tells files apart of which nobody says anything
_AXES = ("model", "mode", *_SETTINGS, "batch", "length", _FILE)
_NAMED = 3  # values that an error names
_ENVIRONMENT: dict[str, Any] = {
    "machine": "",
    "threads": 0,
    "isolation": "process",
    "architecture": "",
    "annotate": "components",
    "trust_remote_code": False,
}


@dataclass(frozen=True)
class Capture:
    """One measurement: its trace (None of a point that failed) and its point (None where nobody says anything)."""

    trace: Trace | None
    point: Point | None

    @property
    def name(self) -> str:
        """What a capture without a point is called: its file, whatever folder it lies in."""
        if self.trace is None:
            return ""
        return self.trace.path.name.encode("utf-8", "backslashreplace").decode()  # tables hold UTF-8, names any bytes

    @property
    def ok(self) -> bool:
        """Whether there is anything to compare."""
        return self.trace is not None


@dataclass(frozen=True)
class Cell:
    """Captures of one configuration. `label`: of its curve, in the words of reports; `identity`: of the base's first.

    Without a point, a cell has no identity, and `label` is the name of the file.
    """

    label: str
    identity: Identity | None
    base: Sequence[Capture]
    new: Sequence[Capture]


@dataclass(frozen=True)
class Matched:
    """The cells, in the order of every table; what is on one side only; the axes that differ: (axis, base, new)."""

    cells: Sequence[Cell]
    base_only: Sequence[Capture]
    new_only: Sequence[Capture]
    announced: Sequence[tuple[str, str, str]]


@dataclass
class _Group:
    base: list[Capture] = field(default_factory=list)
    new: list[Capture] = field(default_factory=list)


def captures(study: Study) -> list[Capture]:
    """Every file of a study, in its order; those that failed come last."""
    return [*(Capture(t, t.point) for t in study.traces), *(Capture(None, point) for point in study.failed)]


def match(base: Sequence[Capture], new: Sequence[Capture]) -> Matched:
    """Match the captures of two sides. Raises UsageError when nothing of one has its like on the other."""
    if not base or not new:
        raise UsageError(f"{'NEW' if base else 'BASE'} holds nothing to compare")
    groups = {"": _Group(list(base), list(new))}
    announced: dict[tuple[str, str, str], None] = {}
    for axis in _AXES:
        before = groups
        groups = _split(before, axis, announced)
        if not _whole(groups):
            raise UsageError(_nothing(axis, *_values(_whole(before), axis)))
    whole = _whole(groups)
    labels = _labels(whole)
    cells = [Cell(label, _identity(g.base[0]), g.base, g.new) for g, label in zip(whole, labels, strict=True)]
    return Matched(
        cells,
        [one for group in groups.values() if not group.new for one in group.base],
        [one for group in groups.values() if not group.base for one in group.new],
        list(announced),
    )


def _whole(groups: dict[str, _Group]) -> list[_Group]:
    return [group for group in groups.values() if group.base and group.new]


def _split(groups: dict[str, _Group], axis: str, announced: dict[tuple[str, str, str], None]) -> dict[str, _Group]:
    """Part every group by the values of one axis, unless either side has one value: then the two belong together.

    What is no setting is looked at over all groups at once. One-sided groups stay whole, they have nothing to match.
    """
    everyone = None if axis in _SETTINGS else _values(groups.values(), axis)
    parted: dict[str, _Group] = {}
    for key, group in groups.items():
        ours, theirs = everyone or _values([group], axis)
        if len(ours) == len(theirs) == 1 or not group.base or not group.new:
            known = axis == _FILE or _UNKNOWN not in {*ours, *theirs}
            if ours.keys() != theirs.keys() and known and group.base and group.new:
                announced.setdefault((axis, next(iter(ours.values())), next(iter(theirs.values()))))
            parted[key] = group
            continue
        for side in ("base", "new"):
            for one in getattr(group, side):
                part = parted.setdefault(f"{key}\0{_key(one, axis)}", _Group())
                getattr(part, side).append(one)
    return parted


def _values(groups: Iterable[_Group], axis: str) -> tuple[dict[str, str], dict[str, str]]:
    """The values of an axis on either side: how each compares, and how it is shown."""
    base: dict[str, str] = {}
    new: dict[str, str] = {}
    for group in groups:
        base |= {_key(one, axis): _shown(one, axis) for one in group.base}
        new |= {_key(one, axis): _shown(one, axis) for one in group.new}
    return base, new


_UNKNOWN = "null"  # the key of what nobody says


def _key(one: Capture, axis: str) -> str:
    return json.dumps(_value(one, axis), sort_keys=True, ensure_ascii=True)


def _value(one: Capture, axis: str) -> Any:
    if axis == _FILE:
        return one.name if one.point is None else None
    if one.point is None:
        return None
    identity = one.point.identity
    return (identity.length, identity.length_unit) if axis == "length" else getattr(identity, axis)


def _shown(one: Capture, axis: str) -> str:
    value = one.name if axis == _FILE else _value(one, axis)
    if axis == "length" and value is not None:
        return length_text(*value)
    if isinstance(value, dict):
        return " ".join(f"{key}={setting}" for key, setting in sorted(value.items())) or "none"
    return "unknown" if value is None else str(value) or "none"


def _identity(one: Capture) -> Identity | None:
    return one.point.identity if one.point is not None else None


def _labels(groups: Sequence[_Group]) -> list[str]:
    """What each group's curve is called: by the base's settings, and no more of them than tell curves apart."""
    alike = [_without_environment(group.base[0].point) for group in groups]
    labels = curves.labels(point for point in alike if point is not None)
    return [
        labels[point.identity.series().digest()] if point is not None else group.base[0].name
        for point, group in zip(alike, groups, strict=True)
    ]


def _without_environment(point: Point | None) -> Point | None:
    if point is None:
        return None
    return msgspec.structs.replace(point, identity=msgspec.structs.replace(point.identity, **_ENVIRONMENT))


def in_words(one: Capture) -> str:
    """A capture as a list of what has no like names it."""
    if one.point is None:
        return sanitize(one.name)
    i = one.point.identity
    settings = ", ".join(str(v) for v in (i.attention, i.mode, i.dtype, i.device) if v not in ("", "default"))
    return sanitize(f"{i.model} at {length_text(i.length, i.length_unit)} ({settings}, batch {i.batch})")


def _nothing(axis: str, ours: dict[str, str], theirs: dict[str, str]) -> str:
    """Why not: by the axis after which nothing had its like any more, and the values that it has on either side."""
    if axis == _FILE:
        return (
            "no file of NEW is called as one of BASE is: give files that belong together one name, in folders of "
            "their own, compare one file with one, or say where names hold a length (--length-from)"
        )
    base, new = (_some([sanitize(value) for value in side.values()]) for side in (ours, theirs))
    return (
        f"nothing of NEW is like anything of BASE: {axis} is {base} in BASE, and {new} in NEW; points "
        "are matched on model, mode, batch, length and settings"
    )


def _some(values: Sequence[str]) -> str:
    more = len(values) - _NAMED
    return listed(values) if more <= 0 else f"{', '.join(values[:_NAMED])} and {more} more"
