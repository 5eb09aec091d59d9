"""Several captures of one point: what a table of curves shows of them."""

from __future__ import annotations

import polars as pl

_POINT = ("series", "length", "length_unit")


def middle(table: pl.DataFrame, column: str) -> pl.DataFrame:
    """Of the rows of one curve and length, the one with the middle value of `column` (the lower of two)."""
    rank = pl.col(column).rank("ordinal").over(_POINT)
    return table.filter(rank == (pl.len().over(_POINT) + 1) // 2)
