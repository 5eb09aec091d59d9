"""What operators do otherwise than before, beside what they cost: their calls, shapes and types of their inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

import polars as pl

from .shares import RECORDED

_INPUTS = 2  # how many of them are told
SAME_CALLS = 0.005  # of a call a step: means over steps are fractions


def novelties(units: Mapping[str, pl.DataFrame], keys: Sequence[str]) -> pl.DataFrame:
    """By `keys`: `status` (appeared, vanished, calls, shapes, dtypes or nothing) and `detail`, the same in words.

    What does as before may be left out.
    `units`: of both sides ("base", "new"), rows with `keys`, shapes, dtypes, `calls` in a step of one unit, `units`.
    """
    sides = {}
    for side, table in units.items():
        calls = table.group_by(*keys, *RECORDED).agg(calls=pl.col("calls").sum() / pl.col("units").first())
        sides[side] = calls
    inputs = [*keys, *RECORDED]
    both = sides["base"].join(sides["new"], on=inputs, how="full", coalesce=True, nulls_equal=True, suffix="_new")
    both = both.with_columns(pl.col("calls", "calls_new").fill_null(0.0)).sort(inputs)
    gone = pl.col("calls") - pl.col("calls_new")
    other = (gone.abs() > SAME_CALLS).any() | (gone.sum().abs() > SAME_CALLS)
    both = both.filter(other.over(keys))  # looking at operators one by one takes long
    found = [
        (*(group[key][0] for key in keys), *_novelty(group)) for _, group in both.group_by(keys, maintain_order=True)
    ]
    return pl.DataFrame(found, schema=dict.fromkeys((*keys, "status", "detail"), pl.String), orient="row")


def _novelty(calls: pl.DataFrame) -> tuple[str, str]:
    """Of one operator: of its calls, or, where these are as many, of their inputs."""
    before, after = float(calls["calls"].sum()), float(calls["calls_new"].sum())
    if abs(before - after) > SAME_CALLS:
        status = "appeared" if not before else "vanished" if not after else "calls"
        return status, f"{before:,.6g} -> {after:,.6g} calls a step"
    for column in reversed(RECORDED):
        if detail := _moved(calls, column):
            return column, detail
    return "", ""


def _moved(table: pl.DataFrame, column: str) -> str:
    """`old -> new` of the inputs that most calls have on one side alone; empty where all calls are alike."""
    calls = table.group_by(column, maintain_order=True).agg(pl.col("calls", "calls_new").sum())
    fewer, more = (
        calls.with_columns(gone=gone)
        .filter(pl.col("gone") > SAME_CALLS)
        .sort("gone", descending=True, maintain_order=True)
        for gone in (pl.col("calls") - pl.col("calls_new"), pl.col("calls_new") - pl.col("calls"))
    )
    if not fewer.height or not more.height:
        return ""
    others = max(fewer.height, more.height) - 1
    text = _difference(fewer[column][0], more[column][0])
    return f"{text} and {others} more" if others else text


def _difference(old: str, new: str) -> str:
    """`old -> new` of those inputs that differ: `[128,768] -> [512,768]`."""
    try:
        before, after = json.loads(old or "null"), json.loads(new or "null")
    except ValueError:
        before, after = None, None
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
        shown = dict.fromkeys(f"{_compact(b)} -> {_compact(a)}" for b, a in pairs)
        return ", ".join(list(shown)[:_INPUTS])
    return f"{old or 'not recorded'} -> {new or 'not recorded'}"


def _compact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
