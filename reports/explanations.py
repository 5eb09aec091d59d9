"""Why the answer is what it is, in sentences: from `study.reasons()`, `.shifts()`, `.overtakes()`, `.composition()`.

Every name in them is made harmless here; the sentences may go to a terminal or a page as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import polars as pl

from tracekit.analyze.study import Study
from tracekit.safety import sanitize
from tracekit.units import duration, length_text, listed, percent

from .verdicts import interval_text

_WORTH_SAYING = 1.1  # times; that a length moves by more than nearly nothing is no news
_SECOND = 0.3  # a component that changes by this share of the first is named beside it
Row = Mapping[str, Any]


WHY = "Why"
GENERALLY = "What the study found, here"


def why(study: Study, baseline: str | None = None, above: pl.DataFrame | None = None) -> list[tuple[str, list[str]]]:
    """Everything below as (title, sentences); titles without sentences are left out."""
    causal = [*causes(study.reasons(baseline)), *moves(study.shifts(baseline)), *overtaken(study.overtakes())]
    general = generally(study.tipping_points(baseline), study.composition(), above)
    return [(title, texts) for title, texts in ((WHY, causal), (GENERALLY, general)) if texts]


def causes(reasons: pl.DataFrame) -> list[str]:
    """One sentence per pair of curves: the components whose difference decides."""
    pairs = reasons.group_by("efficient", "baseline", "mode", "length_unit", maintain_order=True)
    return [_cause(rows.to_dicts()) for _, rows in pairs]


def _cause(parts: Sequence[Row]) -> str:
    first = parts[0]
    efficient, baseline = sanitize(first["efficient"]), sanitize(first["baseline"])
    if first["at"] is None:
        return _margin(parts, efficient, baseline)
    before, after = (length_text(first[when]) for when in ("before", "after"))
    makers = [
        f"{part['label']} ({baseline}: {_change(part, 'baseline')}; {efficient}: {_change(part, 'efficient')})"
        for part in _leading(parts, "change_ns")
    ]
    own, other = (_rest(parts, side) for side in ("efficient", "baseline"))
    verb = "overtakes" if first["verdict"] == "from" else "falls behind"
    where = f"between {before} and {after} {sanitize(first['length_unit'])}"
    return (
        f"{efficient} {verb} {baseline} {where} because of {listed(makers)}. "
        f"All but attention costs {own} of a step there, {other} in {baseline}."
    )


def _margin(parts: Sequence[Row], efficient: str, baseline: str) -> str:
    """Of a pair that does not cross: what makes the difference at the greatest length."""
    gain = sum(part["gain_after_ns"] for part in parts)
    makers = [part for part in _leading(parts, "gain_after_ns") if part["gain_after_ns"] * gain > 0]
    told = " and ".join(f"{duration(abs(part['gain_after_ns']))} of it in {part['label']}" for part in makers)
    word = "faster" if gain > 0 else "slower"
    at = length_text(parts[0]["after"], parts[0]["length_unit"])
    return f"{efficient} is {word} than {baseline} at {at} by {duration(abs(gain))}, {told}."


def _leading(parts: Sequence[Row], column: str) -> list[Row]:
    """The part that differs most, and a second that does not fall far behind it."""
    ranked = sorted(parts, key=lambda part: -abs(part[column]))[:2]
    return [part for part in ranked if abs(part[column]) >= _SECOND * abs(ranked[0][column])]


def _change(part: Row, side: str) -> str:
    return f"{duration(part[f'{side}_before_ns'])} to {duration(part[f'{side}_after_ns'])}"


def _rest(parts: Sequence[Row], side: str) -> str:
    costs = [(part["component"], part[f"{side}_at_ns"]) for part in parts]
    total = sum(cost for _, cost in costs)
    rest = sum(cost for component, cost in costs if component != "attention")
    return f"{duration(rest)} ({percent(rest / total)})" if total else "-"


def moves(shifts: pl.DataFrame) -> list[str]:
    """One sentence per efficient curve and attention: how far that moves its tipping points, and what explains it."""
    pairs = shifts.group_by("efficient", "from_baseline", "to_baseline", maintain_order=True)
    return [_move(rows.to_dicts()) for _, rows in pairs]


def _move(rows: Sequence[Row]) -> str:
    first = rows[0]
    told = ", ".join(f"in {row['metric']} {_times(row)}" for row in rows)
    text = (
        f"{sanitize(first['to_attention'])} in place of {sanitize(first['from_attention'])} in "
        f"{sanitize(first['baseline_model'])} moves the tipping point of {sanitize(first['efficient'])}: {told}."
    )
    why = next((row for row in rows if row["explained_at"] is not None), None)
    if why is None:
        return text
    saves = "saves" if why["saved_ns"] >= 0 else "costs"
    at = length_text(why["explained_at"], why["length_unit"])
    return (
        f"{text} At {at} it {saves} {sanitize(why['baseline_model'])} {duration(abs(why['saved_ns']))}, "
        f"{duration(abs(why['explained_ns']))} of it in {why['explained_by']}."
    )


def _times(row: Row) -> str:
    """`2.7 times [2.1, 3.2] up, from 1,245 to 3,332 tokens`."""
    unit = sanitize(row["length_unit"])
    at = f"{row['from_at']:,.0f}" if row["from_at"] >= 10 else f"{row['from_at']:.1f}"
    if row["ratio"] is None:
        least = f"by more than {row['lo']:.1f} times" if (row["lo"] or 0.0) >= _WORTH_SAYING else "up"
        return f"{least}, from {at} {unit} to beyond what was measured"
    low, high = ("?" if end is None else f"{end:.2f}" for end in (row["lo"], row["hi"]))
    to = f"{row['to_at']:,.0f}" if row["to_at"] >= 10 else f"{row['to_at']:.1f}"
    return f"by {row['ratio']:.2f} times [{low}, {high}], from {at} to {to} {unit}"


def overtaken(overtakes: pl.DataFrame) -> list[str]:
    """One sentence per unit of length: from where on attention costs more than the feed-forward, curve by curve."""
    return [
        f"Attention costs more than the feed-forward {'; '.join(_groups(rows.to_dicts()))}."
        for _, rows in overtakes.group_by("length_unit", maintain_order=True)
    ]


def _groups(rows: Sequence[Row]) -> list[str]:
    """Curves of one verdict together, those with a length one by one."""
    told: dict[str, list[str]] = {}
    for row in rows:
        told.setdefault(_overtaking(row), []).append(sanitize(row["series"]))
    return [f"{words} in {listed(names)}" for words, names in told.items()]


def _overtaking(row: Row) -> str:
    unit = row["length_unit"]
    match row["verdict"]:
        case "from":
            return f"from {interval_text(row['at'], row['lo'], row['hi'], unit, row)} on"
        case "always":
            return "at every measured length"
        case "never":
            return f"nowhere up to {length_text(row['range_hi'], unit)}"
        case _:
            return "from a length that cannot be told"


def generally(tipping: pl.DataFrame, composition: pl.DataFrame, above: pl.DataFrame | None = None) -> list[str]:
    """The three findings of Diwan, Choi & Harwath (ACL 2023), as far as these data tell.

    Thresholds against the lengths of a dataset (`above`, where one was given), their dependence on metric and modality,
    and the share of a step that is not attention. An empty list where there is no pair of curves.
    """
    if not tipping.height:
        return []
    return [*_against_lengths(above), *_by_metric(tipping), *_not_attention(composition)]


def _against_lengths(above: pl.DataFrame | None) -> list[str]:
    """How many of the user's inputs are longer than a tipping point, of those pairs that have one."""
    if above is None or not above.height:
        return []
    crossing = above.filter((pl.col("verdict") == "from") & pl.col("share").is_not_null())
    if not crossing.height:
        return ["No tipping point to hold the dataset's lengths against: none of the pairs has one."]
    told = [
        f"by {metric} {_span(rows['share'].to_list())} (in {rows.height} of {above.filter(metric=metric).height} pairs)"
        for (metric,), rows in crossing.group_by("metric", maintain_order=True)
    ]
    return [f"Of the dataset's inputs so many are longer than a tipping point: {', '.join(told)}."]


def _by_metric(tipping: pl.DataFrame) -> list[str]:
    told = []
    for (unit,), rows in tipping.group_by("length_unit", maintain_order=True):
        parts = [f"by {metric} {_outcomes(group)}" for (metric,), group in rows.group_by("metric", maintain_order=True)]
        told.append(f"over {sanitize(unit)}, {', '.join(parts)}")
    return [f"Tipping points depend on metric and modality: {'; '.join(told)}."] if told else []


def _outcomes(rows: pl.DataFrame) -> str:
    """`1,245 to 3,332 (2 of 4 pairs; 1 never, 1 not resolved)`."""
    at = rows.filter(pl.col("verdict") == "from")["at"].drop_nulls().sort().to_list()
    counts = [
        f"{count} {verdict.replace('_', ' ')}"
        for verdict, count in rows["verdict"].value_counts(sort=True).iter_rows()
        if verdict != "from"
    ]
    ends = list(dict.fromkeys(f"{n:,.0f}" if n >= 10 else f"{n:.1f}" for n in (at[0], at[-1]))) if at else []
    where = f"from {' to '.join(ends)} on in {len(at)} of {rows.height}" if at else ""
    return ", ".join(filter(None, (where, *counts)))


def _not_attention(composition: pl.DataFrame) -> list[str]:
    """How much of a step is not attention, at the shortest and the longest length of each curve."""
    if not composition.height:
        return []
    rest = composition.group_by("series", "length").agg(
        share=pl.col("share").filter(pl.col("component") != "attention").sum()
    )
    ends = [
        rest.filter(pl.col("length") == edge(pl.col("length")).over("series")) for edge in (pl.Expr.min, pl.Expr.max)
    ]
    short, long = (_span(end["share"].to_list()) for end in ends)
    return [f"All but attention takes {short} of a step at the shortest length of each curve, {long} at the longest."]


def _span(shares: Iterable[float]) -> str:
    low, high = min(shares := list(shares)), max(shares)
    return percent(low) if percent(low) == percent(high) else f"{percent(low)} to {percent(high)}"
