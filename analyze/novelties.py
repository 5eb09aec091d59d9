"""What operators do otherwise than before, beside what they cost: their calls, shapes and types of their inputs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

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
    both = sides["base"].join(
        sides["new"], on=[*keys, *RECORDED], how="full", coalesce=True, nulls_equal=True, suffix="_new"
    )
    both = both.with_columns(pl.col("calls", "calls_new").fill_null(0.0))
    table = both.group_by(keys).agg(pl.col("calls", "calls_new").sum()).sort(keys)
    for column in RECORDED:
        table = table.join(_moved(both, keys, column), on=keys, how="left", nulls_equal=True)
    found = [(*(row[key] for key in keys), *_novelty(row)) for row in table.iter_rows(named=True)]
    return pl.DataFrame(found, schema=dict.fromkeys((*keys, "status", "detail"), pl.String), orient="row")


def _novelty(row: Mapping[str, Any]) -> tuple[str, str]:
    """Of one operator: of its calls, or, where these are as many, of their inputs."""
    before, after = row["calls"], row["calls_new"]
    if abs(before - after) > SAME_CALLS:
        status = "appeared" if not before else "vanished" if not after else "calls"
        return status, f"{before:,.6g} -> {after:,.6g} calls a step"
    for column in reversed(RECORDED):
        if row[f"others_{column}"] is not None:
            detail, others = _difference(row[f"old_{column}"], row[f"new_{column}"]), row[f"others_{column}"]
            return column, f"{detail} and {others} more" if others else detail
    return "", ""


def _moved(table: pl.DataFrame, keys: Sequence[str], column: str) -> pl.DataFrame:
    """By `keys`, the inputs that most calls have on one side alone: `old_`, `new_`, and how many `others_` there are.

    Calls of which nothing was recorded tell nothing: inputs recorded on one side alone are no change of the code.
    """
    recorded = table.filter(pl.col(column) != "")
    calls = recorded.group_by(*keys, column).agg(gone=pl.col("calls").sum() - pl.col("calls_new").sum())
    sides = [
        calls.filter(gone > SAME_CALLS)
        .sort(gone, column, descending=[True, False])
        .group_by(keys)
        .agg(pl.col(column).first().alias(f"{side}_{column}"), pl.len().alias(side))
        for side, gone in (("old", pl.col("gone")), ("new", -pl.col("gone")))
    ]
    others = (pl.max_horizontal("old", "new") - 1).alias(f"others_{column}")
    return sides[0].join(sides[1], on=keys, nulls_equal=True).with_columns(others).drop("old", "new")


def _difference(old: str, new: str) -> str:
    """`old -> new` of those inputs that differ: `[128,768] -> [512,768]`."""
    try:
        before, after = json.loads(old), json.loads(new)
    except ValueError:
        before, after = None, None
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = [(b, a) for b, a in zip(before, after, strict=True) if b != a]
        shown = dict.fromkeys(f"{_compact(b)} -> {_compact(a)}" for b, a in pairs)
        return ", ".join(list(shown)[:_INPUTS])
    return f"{old} -> {new}"


def _compact(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"))
