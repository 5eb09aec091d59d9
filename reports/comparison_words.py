"""A comparison in words: what terminal, markdown and HTML show alike. All text here is harmless (`sanitize`)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from tracekit.analyze import gate
from tracekit.analyze.compare import FAILED_NOW, RUNS_NOW, Comparison
from tracekit.analyze.measured import METRICS
from tracekit.analyze.shares import NO_NAMES
from tracekit.safety import sanitize
from tracekit.units import byte_size, duration, length_text, listed, significant

WORSE, BETTER, SAME, FAILED = "worse", "better", "same", "failed"
_TONES = {gate.SLOWER: WORSE, gate.FASTER: BETTER, gate.SAME: SAME}
_POINT = ("series", "length", "length_unit")
_TOP = 6  # parts that a table of causes names before the rest
_NAMED = 3  # parts that a sentence names before the rest
_LEAST = 0.02  # of the whole change: what a smaller part is, a sentence does not name
_STATUS = {
    "appeared": "appeared",
    "vanished": "vanished",
    "calls": "with another number of calls",
    "shapes": "with other shapes",
    "dtypes": "with other types",
}
_MOST_SEEN = 10.0  # beyond a factor of that, what two captures do not tell needs no number
Row = dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One metric at one point. `tone`: worse, better, same or failed; `exceeded`: its limit was, beyond noise."""

    place: str
    metric: str
    base: str
    new: str
    change: str
    interval: str
    verdict: str
    tone: str
    exceeded: bool = False


@dataclass(frozen=True)
class Part:
    """A row of a table of causes; `share` of the whole change, or "" where that means nothing."""

    name: str
    base: str
    new: str
    change: str
    interval: str
    share: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Cause:
    """Why one metric changed at one point: in a sentence, and as parts that add up to the last row.

    Operators add up to it too, and kernels do.
    """

    place: str
    metric: str
    sentence: str
    components: Sequence[Part] = field(default=())
    operators: Sequence[Part] = field(default=())
    kernels: Sequence[Part] = field(default=())


def verdicts(comparison: Comparison) -> list[str]:
    """The answer first: a sentence on limits, or on what changed beyond noise."""
    metrics = comparison.metrics()
    found = []
    for verdict, words in ((FAILED_NOW, "Ran before, and fails now"), (RUNS_NOW, "Failed before, and runs now")):
        places = [place(row) for row in metrics.filter(pl.col("verdict") == verdict).iter_rows(named=True)]
        found += [f"{words}: {_some(places)}."] if places else []
    rows = in_order(metrics.filter(pl.col("metric") != ""))
    if comparison.limits:
        found += _of_limits(rows)
    else:
        for tone, word in ((WORSE, "Worse"), (BETTER, "Better")):
            lines = [line(row) for row in rows.iter_rows(named=True) if _TONES[row["changed"]] == tone]
            found += [f"{word} beyond noise: {_some([_named(one) for one in lines])}."] if lines else []
    return found or ["Nothing changed beyond noise."]


def _named(line: Line) -> str:
    return f"{line.metric} of {line.place} ({line.change})"


def _of_limits(rows: pl.DataFrame) -> Iterator[str]:
    limited = rows.filter(pl.col("limit").is_not_null())
    exceeded = limited.filter(pl.col("verdict") == gate.EXCEEDED)
    unclear = limited.filter(pl.col("verdict") == gate.UNCLEAR).height
    if exceeded.height:
        yield f"Limit exceeded beyond noise: {_some([_named(line(row)) for row in exceeded.iter_rows(named=True)])}."
    if unclear:
        which = "The limit" if limited.height == 1 else f"{unclear} of {limited.height} limits"
        yield (
            f"{which} cannot be told from noise: the interval holds it. More captures of each side narrow it "
            "(tracekit collect --captures)."
        )
    if limited.height and not exceeded.height and not unclear:
        yield "The limit held." if limited.height == 1 else f"All {limited.height} limits held."
    if not limited.height:
        yield "No limit applies: nothing that it names was compared."


def _some(words: Sequence[str], most: int = 4) -> str:
    more = len(words) - most
    return listed(words) if more <= 0 else f"{', '.join(words[:most])} and {more} more"


def told(comparison: Comparison) -> Iterator[Line]:
    """A line per point and metric, in the order of the tables."""
    for row in comparison.metrics().iter_rows(named=True):
        if row["verdict"] == FAILED_NOW:
            said = f"fails now: {sanitize(row['changed'])}"
            yield Line(place(row), "", "ran", sanitize(row["changed"]), "", "", said, FAILED)
        elif row["verdict"] == RUNS_NOW:
            said = f"failed before: {sanitize(row['changed'])}"
            yield Line(place(row), "", sanitize(row["changed"]), "ran", "", "", said, BETTER)
        else:
            yield line(row)


def line(row: Row) -> Line:
    """A row of `Comparison.metrics` in words."""
    rate = METRICS[row["metric"]].rate
    worse, low, high = (-row[name] if rate else row[name] for name in ("worse", "lo", "hi"))
    verdict = str({SAME: "within noise"}.get(_TONES[row["changed"]], row["changed"]))
    if row["limit"] is not None:
        limit = f"{100 * row['limit']:g}%"
        verdict = {
            gate.EXCEEDED: f"limit of {limit} exceeded",
            gate.HELD: f"limit of {limit} held",
            gate.UNCLEAR: f"limit of {limit} unclear",
        }[row["verdict"]]
    shown = amount(row["unit"])
    return Line(
        place(row),
        METRICS[row["metric"]].title,
        shown(row["base"]),
        shown(row["new"]),
        signed_percent(worse),
        f"{signed_percent(min(low, high))} to {signed_percent(max(low, high))}",
        verdict,
        _TONES[row["changed"]],
        row["verdict"] == gate.EXCEEDED,
    )


def place(row: Row) -> str:
    """Curve and length of a row of any table."""
    at = f" at {length_text(row['length'], row['length_unit'])}" if row["length"] is not None else ""
    return f"{sanitize(row['series'])}{at}"


def amount(unit: str) -> Callable[[float], str]:
    """How values of a unit (ns, bytes, 1/s) are written."""
    return {"ns": duration, "bytes": byte_size}.get(unit, lambda value: f"{significant(value)}/s")


def signed(value: float, shown: Callable[[float], str]) -> str:
    """A difference with its sign: `+9.80 ms`."""
    return shown(value) if value < 0 else f"+{shown(value)}"


def signed_percent(share: float) -> str:
    """A relative change with its sign: `+9.8%`; a factor where a percentage would be hard to read."""
    if share > 9:
        return f"x{significant(share + 1)}"  # more than ten times as much
    return f"{100 * share:+.1f}%" if abs(share) >= 0.0005 else "0.0%"


def differences(comparison: Comparison) -> list[tuple[str, str, str]]:
    """In what the sides differ: what, base, new."""
    rows = comparison.differences().iter_rows()
    return [(sanitize(what).replace("_", " "), sanitize(base), sanitize(new)) for what, base, new in rows]


def noise(comparison: Comparison) -> list[str]:
    """What the intervals come from, and the smallest change that could have been seen."""
    found: dict[str, list[float]] = {}
    for row in comparison.metrics().filter(pl.col("metric") != "").iter_rows(named=True):
        if row["repeats"] != "exact":
            found.setdefault(_repeats(row), []).append(_seen(row))
    return [
        f"Intervals are 95%, from {how}; a change of less than {_span(halves)} is within the noise."
        for how, halves in found.items()
    ]


def _seen(row: Row) -> float:
    """The least change that the scatter of a row would show, as a share: whatever the change is that it has."""
    low, high = (1 / (1 - row[end]) if METRICS[row["metric"]].rate else 1 + row[end] for end in ("lo", "hi"))
    return math.sqrt(high / low) - 1


def _span(shares: Sequence[float]) -> str:
    least, most = (min(share, _MOST_SEEN) for share in (min(shares), max(shares)))
    low, high = (f"{100 * share:.2g}%" if share < 1 else f"{100 * share:,.0f}%" for share in (least, most))
    return high if most <= 1.2 * least else f"{low} to {high}, by point,"


def _repeats(row: Row) -> str:
    how = {
        "processes": f"how {row['base_captures']} and {row['new_captures']} processes differ",
        "pairs": f"how {row['base_captures']} pairs of processes, taken in turns, differ",
        "turns": "rounds in which both took turns, and an assumed difference between processes",
    }.get(row["repeats"], "the rounds of one process, and an assumed difference between processes")
    paced = ", each over fixed work timed beside it" if row["normalised"] else ""
    return how + paced


def drift(comparison: Comparison) -> str:
    """How much slower or faster the machine was for the new side, where fixed work tells; else empty."""
    table = comparison.metrics().filter(pl.col("machine").is_not_null())
    if not table.height:
        return ""
    ratios = sorted(table["machine"].to_list())
    least, most = ratios[0] - 1, ratios[-1] - 1
    if max(abs(least), abs(most)) < 0.005:
        return "Fixed work took as long beside both sides: the machine was as fast."
    span = signed_percent(most) if most - least < 0.01 else f"{signed_percent(least)} to {signed_percent(most)}"
    return f"Fixed work took {span} beside the new side: that much is the machine's, and is taken out of the changes."


def causes(comparison: Comparison) -> list[Cause]:
    """Why, for every metric that changed beyond noise and whose parts are known."""
    rows = comparison.metrics().filter(pl.col("metric") != "")
    changes = comparison.changes()
    found = []
    for row in in_order(rows.filter(pl.col("changed") != gate.SAME)).iter_rows(named=True):
        of_point = changes.filter(*(pl.col(name).eq_missing(pl.lit(row[name])) for name in _POINT))
        parts = of_point.filter(pl.col("metric") == row["metric"])
        if (parts["level"] == "component").any():
            found.append(_cause(row, parts))
    return found


def in_order(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of `Comparison.metrics`: what exceeded a limit first, then what got worse, then what got better.

    Large changes come before small ones.
    """
    exceeded, worse = pl.col("verdict") == gate.EXCEEDED, pl.col("changed") == gate.SLOWER
    return rows.sort(exceeded, worse, pl.col("worse").abs(), descending=True, maintain_order=True)


def _cause(row: Row, parts: pl.DataFrame) -> Cause:
    shown = amount(row["unit"])
    components = parts.filter(pl.col("level") == "component")
    operators = parts.filter(pl.col("level") == "operator")
    kernels = parts.filter(pl.col("level") == "kernel")
    whole = float(components["change"].sum())
    return Cause(
        place(row),
        METRICS[row["metric"]].title,
        _sentence(whole, components, operators, shown),
        [*_parts(components, shown, lambda one: one["component"]), _total(components, shown)],
        _parts(operators, shown, lambda one: f"{one['name']} ({one['component']})"),
        _parts(kernels, shown, lambda one: one["name"]),
    )


def _sentence(whole: float, components: pl.DataFrame, operators: pl.DataFrame, shown: Callable[[float], str]) -> str:
    """`+11.2 ms: attention.core +9.80 ms (aten::bmm +8.10 ms, 72 -> 144 calls a step), the rest +1.40 ms`."""
    along = components.filter(pl.col("change") * whole > 0).filter(pl.col("change").abs() >= _LEAST * abs(whole))
    named = along.head(_NAMED)
    said = [
        f"{sanitize(row['component'])} {signed(row['change'], shown)}{_because(row, operators, shown)}"
        for row in named.iter_rows(named=True)
    ]
    rest = whole - float(named["change"].sum())
    if abs(rest) >= _LEAST * abs(whole) or not said:
        said.append(f"the rest {signed(rest, shown)}")
    return f"{signed(whole, shown)}: {', '.join(said)}"


def _because(component: Row, operators: pl.DataFrame, shown: Callable[[float], str]) -> str:
    """The operator that changed most in a component, the way the component did."""
    named = operators.filter(~pl.col("name").is_in(NO_NAMES))
    own = named.filter(pl.col("component") == component["component"], pl.col("change") * component["change"] > 0)
    if not own.height:
        return ""
    row = own.row(0, named=True)
    what = f", {sanitize(row['detail'])}" if row["detail"] else ""
    return f" ({sanitize(row['name'])} {signed(row['change'], shown)}{what})"


def _parts(table: pl.DataFrame, shown: Callable[[float], str], name: Callable[[Row], str]) -> list[Part]:
    """The largest, and the rest in one row."""
    table = table.filter((pl.col("base") != 0) | (pl.col("new") != 0))
    found = [_part(row, sanitize(name(row)), shown) for row in table.head(_TOP).iter_rows(named=True)]
    if table.height > _TOP:
        rest = table[_TOP:]
        sums = {column: float(rest[column].sum()) for column in ("base", "new", "change")}
        found.append(Part(f"the rest ({table.height - _TOP})", *_amounts(sums, shown), "", _share(rest)))
    return found


def _part(row: Row, name: str, shown: Callable[[float], str]) -> Part:
    interval = f"{signed(row['lo'], shown)} to {signed(row['hi'], shown)}"
    share = "" if row["share"] is None else f"{100 * row['share']:.0f}%"
    return Part(name, *_amounts(row, shown), interval, share, sanitize(row["detail"]))


def _total(table: pl.DataFrame, shown: Callable[[float], str]) -> Part:
    sums = {column: float(table[column].sum()) for column in ("base", "new", "change")}
    return Part("total", *_amounts(sums, shown), "", "100%")


def _amounts(row: Row, shown: Callable[[float], str]) -> tuple[str, str, str]:
    return shown(row["base"]), shown(row["new"]), signed(row["change"], shown)


def _share(table: pl.DataFrame) -> str:
    return f"{100 * float(table['share'].sum()):.0f}%" if table["share"].count() else ""


def novelties(comparison: Comparison) -> list[str]:
    """What operators do otherwise, whatever it costs: a sentence per point that has any."""
    operators = comparison.changes("operator").filter(pl.col("status") != "")
    operators = operators.unique([*_POINT, "component", "name"], keep="first", maintain_order=True)
    found = []
    for _, rows in operators.group_by(_POINT, maintain_order=True):
        said = []
        for status, words in _STATUS.items():
            names = rows.filter(pl.col("status") == status)["name"].unique(maintain_order=True).to_list()
            if names:
                said.append(f"{len(names)} {words} ({_some([sanitize(name) for name in names], 3)})")
        found.append(f"{place(rows.row(0, named=True))}: {'; '.join(said)}.")
    return found
