"""Base against new: what changed, by how much beyond noise, and what made it change.

>>> compare("before/", "after/").metrics().head()          # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from tracekit.errors import UsageError
from tracekit.safety import sanitize
from tracekit.units import length_text

from . import gate, quality
from .causes import CHANGES, causes, kernel_causes, memory_causes
from .differences import alike, differences
from .gate import Limit
from .interval import Change, change
from .load import Reading, load_study
from .matching import Capture, Cell, Matched, captures, in_words, match
from .measured import METRICS, Measured, Metric
from .quality import Finding, Findings
from .study import Study

_CELL: dict[str, Any] = {
    **dict.fromkeys(("series", "model", "mode", "attention", "dtype", "device"), pl.String),
    "batch": pl.Int64,
    "length": pl.Float64,
    "length_unit": pl.String,
}
COMPARED: dict[str, Any] = {
    **_CELL,
    **dict.fromkeys(("metric", "unit"), pl.String),
    **dict.fromkeys(("base", "new", "worse", "lo", "hi"), pl.Float64),
    **dict.fromkeys(("base_captures", "new_captures"), pl.Int64),
    "repeats": pl.String,
    "normalised": pl.Boolean,
    "machine": pl.Float64,
    "changed": pl.String,
    "limit": pl.Float64,
    "verdict": pl.String,
}
DIFFERENCES: dict[str, Any] = dict.fromkeys(("what", "base", "new"), pl.String)
UNMATCHED: dict[str, Any] = dict.fromkeys(("side", "what", "status"), pl.String)
FAILED_NOW = "failed"  # a verdict: it ran before, and no more
RUNS_NOW = "runs"  # a verdict: it failed before
Sides = tuple[Sequence[Measured], Sequence[Measured]]


@dataclass(frozen=True)
class Compared:
    """One metric of one cell."""

    cell: Cell
    metric: Metric
    change: Change
    limit: float | None

    @property
    def changed(self) -> str:
        """Whether it changed beyond noise: worse, better or no change."""
        return gate.direction(self.metric, self.change)

    @property
    def verdict(self) -> str:
        """Whether the limit was exceeded, held, or is unclear; "" without a limit."""
        return "" if self.limit is None else gate.verdict(self.metric, self.change, self.limit)


class Comparison:
    """Two studies side by side. Tables are methods and return polars frames; see docs/compare.md.

    `metrics`: those to compare, by name; empty: all that both sides have, profiled ones only where there is no other.
    `limits`: how much worse each may get. Raises UsageError when nothing matches, or no cell has a metric asked for.
    """

    def __init__(self, base: Study, new: Study, metrics: Sequence[str] = (), limits: Sequence[Limit] = ()) -> None:
        unknown = [name for name in metrics if name not in METRICS]
        if unknown:
            raise UsageError(f"no metric {sanitize(unknown[0])}; there are {', '.join(METRICS)}")
        self.base, self.new = base, new
        self.limits = list(limits)
        self._asked = list(metrics)
        self.matched: Matched = match(captures(base), captures(new))
        missing = [name for name in self._named if not any(one.metric.name == name for one in self.compared)]
        if missing and not self.broken:  # what fails now has no metrics, and that is an answer
            raise UsageError(f"{METRICS[missing[0]].title} is not known on both sides: {_unknown(METRICS[missing[0]])}")

    @property
    def _named(self) -> list[str]:
        return list(dict.fromkeys([*self._asked, *(limit.metric for limit in self.limits if limit.metric)]))

    @cached_property
    def _told(self) -> list[dict[str, Sides]]:
        """Of every cell what the captures of either side tell of each metric."""
        return [
            {name: (_measured(metric, cell.base), _measured(metric, cell.new)) for name, metric in METRICS.items()}
            for cell in self.matched.cells
        ]

    @cached_property
    def _known(self) -> list[tuple[Cell, dict[str, Change]]]:
        """Of every cell the change of each metric that both sides tell."""
        return [(cell, _changes(cell, told)) for cell, told in zip(self.matched.cells, self._told, strict=True)]

    @cached_property
    def compared(self) -> list[Compared]:
        """Every metric of every cell that is asked for, in the order of `METRICS`."""
        found = []
        for cell, known in self._known:
            main = main_metric(known)
            shown = self._asked or [name for name in known if name == main or not METRICS[name].profiled]
            gated = self._asked or ([main] if main else [])
            found += [
                Compared(cell, METRICS[name], changed, gate.limit_of(name, self.limits, gated))
                for name, changed in known.items()
                if name in shown or name in self._named
            ]
        return found

    @cached_property
    def broken(self) -> list[Cell]:
        """Cells that ran on the base's side and on the new one did not."""
        return [cell for cell in self.matched.cells if _runs(cell.base) and not _runs(cell.new)]

    @cached_property
    def mended(self) -> list[Cell]:
        """Cells that run on the new side and on the base's did not."""
        return [cell for cell in self.matched.cells if _runs(cell.new) and not _runs(cell.base)]

    @property
    def exceeded(self) -> bool:
        """Whether a limit was exceeded beyond noise, or, under a limit, what ran before fails now."""
        return bool(self.limits) and (any(one.verdict == gate.EXCEEDED for one in self.compared) or bool(self.broken))

    def metrics(self) -> pl.DataFrame:
        """A row per cell and metric, see `COMPARED`: `base` and `new` as measured (ns, bytes; of a rate per second).

        `worse`: by what share of the base it got worse, with its 95% interval `lo` to `hi`, free of the machine's drift
        where `normalised`; `machine`: by what factor the fixed work took longer beside the new captures.
        """
        rows = [_row(one) for one in self.compared]
        for cells, verdict, side in ((self.broken, FAILED_NOW, "new"), (self.mended, RUNS_NOW, "base")):
            rows += [
                {**_cell(cell), "metric": "", "verdict": verdict, "changed": _status(getattr(cell, side))}
                for cell in cells
            ]
        return pl.DataFrame(rows, schema=COMPARED)

    @cached_property
    def _changes(self) -> pl.DataFrame:
        shown = {one.metric.name for one in self.compared}
        tables = [
            pl.DataFrame([_cell(cell)], schema=_CELL).join(table, how="cross")
            for cell, known in self._known
            for table in _causes(cell, known, shown)
        ]
        return pl.concat(tables) if tables else pl.DataFrame(schema={**_CELL, **CHANGES})

    def changes(self, level: str | None = None) -> pl.DataFrame:
        """What each change is made of: a row per cell, metric, level and part; see `causes.CHANGES`.

        `level`: component, phase, layer, operator or kernel alone.
        """
        return self._changes if level is None else self._changes.filter(pl.col("level") == level)

    def differences(self) -> pl.DataFrame:
        """In what the sides differ beside their numbers, what was matched in spite of it first: what, base, new."""
        cells = self.matched.cells
        facts = differences([one for c in cells for one in c.base], [one for c in cells for one in c.new])
        axes = [("file" if axis == "name" else axis, ours, theirs) for axis, ours, theirs in self.matched.announced]
        return pl.DataFrame([*axes, *facts], schema=DIFFERENCES, orient="row")

    def unmatched(self) -> pl.DataFrame:
        """What is on one side alone: side, what, status."""
        rows = [
            (side, in_words(one), one.point.status if one.point is not None else "ok")
            for side, alone in (("base", self.matched.base_only), ("new", self.matched.new_only))
            for one in alone
        ]
        return pl.DataFrame(rows, schema=UNMATCHED, orient="row")

    @cached_property
    def findings(self) -> list[Finding]:
        """Of both sides, each saying which, and of the comparison itself."""
        own = Findings()
        for one in self.compared:
            if one.change.repeats == "rounds":
                own.add("one_process", _where(one.cell))
            elif not one.change.paced and one.metric.unit == "ns" and not one.metric.profiled:
                own.add("not_normalised", _where(one.cell))
        for cell, told in zip(self.matched.cells, self._told, strict=True):
            _note(own, cell, told)
        unmatched = self.unmatched()
        if unmatched.height:
            own.add("unmatched", f"{unmatched['side'][0]}: {unmatched['what'][0]}", unmatched.height)
        sides = [
            replace(finding, where=f"{side}: {finding.where}".rstrip(": "))
            for side, study in (("base", self.base), ("new", self.new))
            for finding in study.findings
        ]
        return quality.in_order([*own.listed(), *sides])


def compare(
    base: Path | str | Study,
    new: Path | str | Study,
    *,
    metrics: Sequence[str] = (),
    fail_on: Sequence[str] = (),
    reading: Reading | None = None,
) -> Comparison:
    """Compare two folders, files or studies; `fail_on`: limits as `5%` or `memory:3%` (see `Comparison.exceeded`).

    A folder may hold several captures of one configuration (same identity, in folders of their own): how they differ is
    the noise. Raises TraceError for what cannot be read, UsageError for what cannot be compared.
    """
    sides = [one if isinstance(one, Study) else load_study([Path(one)], reading) for one in (base, new)]
    return Comparison(sides[0], sides[1], metrics, [Limit.parse(text) for text in fail_on])


def _note(own: Findings, cell: Cell, told: Mapping[str, Sides]) -> None:
    """What of a cell that ran on both sides is not compared, or is compared with something else."""
    sides = [[one.trace for one in side if one.trace is not None] for side in (cell.base, cell.new)]
    if not all(sides):
        return
    own.add("some_failed", _where(cell), len(cell.base) + len(cell.new) - sum(map(len, sides)))
    for name, (base, new) in told.items():
        if bool(base) != bool(new):
            own.add("one_sided_metric", f"{METRICS[name].title} of {_where(cell)}")
    if len({trace.steps_count > 0 for side in sides for trace in side}) > 1:
        own.add("steps_on_one_side", _where(cell))


def _measured(metric: Metric, side: Sequence[Capture]) -> list[Measured]:
    return [told for one in side if one.ok and (told := metric.read(one)) is not None]


def _changes(cell: Cell, told: Mapping[str, Sides]) -> dict[str, Change]:
    same = alike(*([one for one in side if one.ok] for side in (cell.base, cell.new)))
    return {name: change(METRICS[name], base, new, same) for name, (base, new) in told.items() if base and new}


def _causes(cell: Cell, known: dict[str, Change], shown: Collection[str]) -> Iterator[pl.DataFrame]:
    """Of the metric that is explained in any case, and of those of a profiled step that are shown."""
    main = main_metric(known)
    for name in known:
        if name == main or (METRICS[name].profiled and name in shown):
            yield causes(name, known[name], cell.base, cell.new)
    if "device" in known:
        yield kernel_causes(known["device"], cell.base, cell.new)
    if "memory" in known:
        yield memory_causes(known["memory"], cell.base, cell.new)


def _runs(side: Sequence[Capture]) -> bool:
    return any(one.ok for one in side)


def main_metric(found: Mapping[str, Change]) -> str | None:
    """The metric whose change is explained: latency, else a profiled step on the device, else on the host."""
    return next((name for name in ("latency", "device", "host") if name in found), None)


def _row(one: Compared) -> dict[str, Any]:
    worse, low, high = gate.worse(one.metric, one.change)
    return {
        **_cell(one.cell),
        "metric": one.metric.name,
        "unit": one.metric.shown_unit,
        "base": one.metric.shown(one.change.base),
        "new": one.metric.shown(one.change.new),
        "worse": worse,
        "lo": low,
        "hi": high,
        "base_captures": sum(capture.ok for capture in one.cell.base),
        "new_captures": sum(capture.ok for capture in one.cell.new),
        "repeats": one.change.repeats,
        "normalised": one.change.paced,
        "machine": one.change.drift,
        "changed": one.changed,
        "limit": one.limit,
        "verdict": one.verdict,
    }


def _cell(cell: Cell) -> dict[str, Any]:
    i = cell.identity
    if i is None:
        return {**dict.fromkeys(_CELL), "series": cell.label, "model": cell.label}
    fields = {name: getattr(i, name) for name in _CELL if name != "series"}
    return {"series": cell.label, **fields}


def _status(side: Sequence[Capture]) -> str:
    return next((one.point.status for one in side if one.point is not None), "absent")


def _where(cell: Cell) -> str:
    i = cell.identity
    return sanitize(f"{cell.label} at {length_text(i.length, i.length_unit)}" if i is not None else cell.label)


def _unknown(metric: Metric) -> str:
    if metric.profiled:
        return "no such work was profiled"
    return "no point that has its like was measured so; traces of a profiler alone do not tell it"
