"""Doubts where their number is shown: a letter beside it, a legend beneath, the whole clause on demand."""

from __future__ import annotations

import polars as pl

from tracekit.analyze import curves, doubts
from tracekit.safety import sanitize

_KEYS = ("series", "length", "length_unit")
# Letter and words of each kind of doubt, in the order of a legend.
WORDS = {
    "busy_machine": ("b", f"busy machine (threads waited for a core over {curves.BUSY_SHARE:.0%} of the time)"),
    "drift": ("d", f"drift (rounds rose or fell by over {doubts.DRIFT:.0%})"),
    "estimated_memory": ("e", "estimated, not measured"),
    "few_repeats": ("f", "few repeats (too few for a firm median)"),
    "noisy": ("n", f"noise (half of the samples over {doubts.NOISY_SPREAD:.0%} off)"),
    "outliers": ("o", f"outliers (over {doubts.MANY_OUTLIERS:.0%} of the samples)"),
    "profiler_inflation": (
        "p",
        f"profiler (steps took over {doubts.INFLATION:g} times as long: shares in doubt)",
    ),
    "waiting": ("w", f"waiting (nothing computed over {doubts.WAITING_SHARE:.0%} of the time)"),
}


def marked(table: pl.DataFrame, found: pl.DataFrame, metric: str) -> pl.DataFrame:
    """`table` with what `found` (`study.doubts()`) says of `metric` at the curve and length of each row.

    Adds `marks`, the letters, and `doubt`, the clauses; both are empty where there is no doubt.
    """
    letter = pl.col("code").replace_strict({code: letter for code, (letter, _) in WORDS.items()}, default="?")
    told = (
        found.filter(pl.col("metric") == metric)
        .group_by(_KEYS)
        .agg(marks=letter.unique().sort().str.join(), doubt=pl.col("text").unique(maintain_order=True).str.join("; "))
    )
    return table.join(told, on=_KEYS, how="left", maintain_order="left").with_columns(
        pl.col("marks", "doubt").fill_null("")
    )


def legend(rows: pl.DataFrame) -> str:
    """What the letters in the column `marks` mean, each once, in one line; empty without any."""
    present = set("".join(rows["marks"]))
    return "; ".join(f"{letter}: {words}" for letter, words in WORDS.values() if letter in present)


def clause(row: dict[str, str]) -> str:
    """The doubts of one row, ready to be shown."""
    return sanitize(row["doubt"], None)
