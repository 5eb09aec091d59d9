"""What a page says in words and plain tables of a study: what was measured, what to know first, where it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from tracekit.analyze.quality import Finding
from tracekit.points import UNKNOWN, Point
from tracekit.safety import sanitize
from tracekit.units import byte_size, length_text, listed

if TYPE_CHECKING:
    from tracekit.analyze.study import Study

_CHANGING_FACTS = ("load_average",)  # differ from point to point by nature


def summary(points: Sequence[Point]) -> str:
    """What was measured, in one sentence."""
    ok = [point for point in points if point.ok]
    if not ok:
        return "Read from profiler traces that do not say how they were made: no latency and no memory against length."
    ids = [point.identity for point in ok]
    if all(i.preset == UNKNOWN for i in ids):
        models, lengths = listed(_distinct(i.model for i in ids)), listed(_spans(points))
        return sanitize(f"{models} at {lengths}: read from traces collected elsewhere; settings as far as told.", None)
    machines = _distinct(_machine(point) for point in ok)
    sizes = _distinct(
        f"{i.preset} size" + "".join(f", {key}={value}" for key, value in i.overrides.items()) for i in ids
    )
    text = (
        f"{listed(_distinct(i.model for i in ids))} ({listed(sizes)}): {listed(_distinct(i.mode for i in ids))} "
        f"at {listed(_spans(points))}, batch {listed(_distinct(str(i.batch) for i in ids))}, "
        f"in {listed(_distinct(i.dtype for i in ids))} on {listed(machines)}."
    )
    return sanitize(text, None)


def _spans(points: Sequence[Point]) -> list[str]:
    spans = []
    for unit in _distinct(point.identity.length_unit for point in points if point.ok):
        lengths = [p.identity.length for p in points if p.ok and p.identity.length_unit == unit]
        low, high = min(lengths), max(lengths)
        spans.append(length_text(high, unit) if low == high else f"{length_text(low)} to {length_text(high, unit)}")
    return spans


def _machine(point: Point) -> str:
    i = point.identity
    processor = point.environment.get("cpu_model") or i.machine
    name = processor if i.device.startswith("cpu") else f"host: {processor}"
    threads = f", {i.threads} threads" if i.threads else ""
    return f"{i.device} ({name}{threads})" if processor else f"{i.device}{threads}"


def notices(failures: pl.DataFrame, findings: Sequence[Finding]) -> list[tuple[str, str]]:
    """What a reader must know before any number: (anchor of the section that has the whole of it, one sentence)."""
    found: list[tuple[str, str]] = []
    if failures.height:
        shown = [
            f"{row['series']} at {length_text(row['length'], row['length_unit'])} ({row['status']})"
            for row in failures.head(4).to_dicts()
        ]
        more = f" and {failures.height - 4} more" if failures.height > 4 else ""
        count = "One point" if failures.height == 1 else f"{failures.height} points"
        found.append(("failures", f"{count} did not finish: {sanitize(', '.join(shown), None)}{more}."))
    for finding in findings:
        if finding.severity in ("warning", "error"):
            where = f" ({finding.where})" if finding.where else ""
            found.append(("quality", f"{_sentence(sanitize(finding.cost))}{sanitize(where, None)}."))
    return found


def finding_rows(findings: Sequence[Finding]) -> list[dict[str, str]]:
    """Every finding as words: level (for its colour), title, cost, where, advice."""
    return [
        {
            "level": f.severity if f.severity in ("error", "warning") else "note",
            "title": sanitize(f"{f.severity}: {f.code}") + (f" ×{f.count:,}" if f.count > 1 else ""),  # noqa: RUF001
            "cost": _sentence(sanitize(f.cost, None)),
            "where": sanitize(f.where, None),
            "advice": _sentence(sanitize(f.advice, None)),
        }
        for f in findings
    ]


def failure_rows(failures: pl.DataFrame) -> list[list[str]]:
    """Curve, length, status and reason of every point that did not finish."""
    return [
        [
            sanitize(r["series"]),
            length_text(r["length"], r["length_unit"]),
            sanitize(r["status"]),
            sanitize(r["reason"]),
        ]
        for r in failures.to_dicts()
    ]


def provenance(study: Study) -> dict[str, Any]:
    """Each distinct machine, set of versions and command line once, and a row for every point.

    A row ends with the command that opens the point's trace, run in the folder of the traces; of a failed point with
    the name of what it left.
    """
    points = study.points
    opened = {id(trace.point): f"tracekit open {shlex.quote(trace.label)}" for trace in study.traces if trace.point}
    facts = _distinct(
        tuple(
            (sanitize(key).replace("_", " "), _fact(key, value))
            for key, value in sorted({**point.environment, **point.versions}.items())
            if key not in _CHANGING_FACTS
        )
        for point in points
    )
    commands = _distinct(sanitize(" ".join(point.command), None) for point in points if point.command)
    rows = [
        [
            sanitize(point.identity.model),
            sanitize(point.identity.attention),
            length_text(point.identity.length, point.identity.length_unit),
            sanitize(point.status),
            f"{point.parameters:,}",
            str(len(point.samples)),
            sanitize(opened.get(id(point)) or point.identity.path(Path(), "").name, None),
        ]
        for point in points
    ]
    return {"environments": [one for one in facts if one], "commands": commands, "points": rows}


def _fact(name: str, value: Any) -> str:
    return byte_size(value) if name.endswith("_bytes") and isinstance(value, int) else sanitize(value)


def _distinct(values: Iterable[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
