"""In what two sides differ beside their numbers: machine, versions, settings, how they were collected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from .matching import Capture

_CHANGING = ("load_average",)  # differ from point to point by nature
_SETTINGS = ("threads", "isolation", "annotate", "trust_remote_code")
_OF_POINT = ("model_class", "parameters", "source", "seed")
_OF_PROFILE = ("steps", "warmup", "record_shapes", "profile_memory", "with_stack", "exporter")
_OF_HEADER = (  # of traces collected elsewhere
    *("cuda_runtime_version", "cuda_driver_version", "hip_runtime_version", "hip_driver_version", "schemaVersion"),
    *("record_shapes", "with_stack", "profile_memory", "with_flops", "with_modules"),
)
_ABSENT = "not told"
_MOST = 3  # values of one side


def differences(base: Sequence[Capture], new: Sequence[Capture]) -> list[tuple[str, str, str]]:
    """(what, base, new) of every fact whose values are not the same on both sides, what matters most first.

    Values are text, foreign, several of a side joined. A fact that neither side tells is none.
    """
    sides = _facts(base), _facts(new)
    names = dict.fromkeys([*sides[0], *sides[1]])
    found = []
    for name in names:
        ours, theirs = (side.get(name, {}) for side in sides)
        if ours.keys() != theirs.keys():
            found.append((name, _told(ours, theirs), _told(theirs, ours)))
    return found


def alike(base: Sequence[Capture], new: Sequence[Capture]) -> bool:
    """Whether all ran on machines of one kind, so that the fixed work tells how fast each was just then.

    It does not where it is done by other threads or another torch: then it changed too, and would hide a change.
    """
    machines = {
        (
            *(str(p.environment.get(fact)) for fact in ("cpu_model", "cores", "gpu")),
            *(p.identity.device, p.identity.threads, p.versions.get("torch")),
        )
        for p in (one.point for one in (*base, *new))
        if p is not None
    }
    return len(machines) == 1


def _facts(captures: Sequence[Capture]) -> dict[str, dict[str, None]]:
    """By fact, its values on a side, each once, in the order in which they are to be told."""
    found: dict[str, dict[str, None]] = {}
    for one in captures:
        for name, value in _of(one):
            found.setdefault(name, {})[str(value)] = None
    return found


def _of(one: Capture) -> Iterator[tuple[str, Any]]:
    point = one.point
    if point is None:
        yield from _of_header(one)
        return
    facts = {name: value for name, value in point.environment.items() if name not in _CHANGING}
    yield from sorted(facts.items())
    yield from sorted(point.versions.items())
    for name in _SETTINGS:
        yield name, getattr(point.identity, name)
    if point.identity.architecture:
        yield "code or config of the model", point.identity.architecture
    for name in _OF_POINT:
        if getattr(point, name) not in ("", 0):
            yield name, getattr(point, name)
    if point.memory is not None:
        yield "peak memory by", point.memory.method
    for name in _OF_PROFILE if point.profile is not None else ():
        yield f"profiled {name}", getattr(point.profile, name)


def _of_header(one: Capture) -> Iterator[tuple[str, Any]]:
    header = one.trace.events.header if one.trace is not None else {}
    for name in _OF_HEADER:
        if name in header:
            yield name, header[name]
    properties = header.get("deviceProperties")
    for device in properties if isinstance(properties, list) else ():
        if isinstance(device, dict) and "name" in device:
            yield "device", device["name"]


def _told(values: dict[str, None], others: dict[str, None]) -> str:
    """The values of a side, those that the other has not first."""
    shown = sorted(values, key=lambda value: value in others)
    more = len(shown) - _MOST
    return ", ".join([*shown[:_MOST], *([f"{more} more"] if more > 0 else [])]) or _ABSENT
