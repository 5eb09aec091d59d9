"""Device work to its launch, and to the host operator that launched it."""

from __future__ import annotations

import polars as pl

from .nest import Nesting
from .ranges import nullable

# What is known of the launch of a piece of device work: in the file, not in the file, claimed by several, not named.
LINKED = "linked"
BEFORE_WINDOW = "before_window"
AMBIGUOUS = "ambiguous"
NO_LAUNCH = "none"


def device_operators(
    device: pl.DataFrame, host: pl.DataFrame, launches: pl.DataFrame, operators: pl.DataFrame, nesting: Nesting
) -> pl.DataFrame:
    """Add `launch` (linked, before_window, ambiguous, none) and the host `row` of the operator to device work.

    Work links to its launch by a unique non-zero correlation, to its operator by External id where exactly one operator
    has it, else by the operator that is innermost where the launch starts. `operators` are the operators of `host`
    with their `row`, as `nesting` swept them; `launches` has the correlation of its runtime calls.
    """
    known = (
        launches.filter(pl.col("correlation") != 0)
        .group_by("correlation")
        .agg(launch_row=pl.col("row").first(), launches=pl.len())
    )
    by_id = (
        operators.filter(pl.col("external_id").is_not_null() & (pl.col("external_id") != 0))
        .group_by("external_id")
        .agg(id_row=pl.col("row").first(), ids=pl.len())
        .filter(pl.col("ids") == 1)
    )
    device = device.join(known, on="correlation", how="left", maintain_order="left").join(
        by_id.select("external_id", "id_row"), on="external_id", how="left", maintain_order="left"
    )
    at = device["launch_row"].fill_null(0).to_numpy()
    enclosing = (
        nesting.owner_at(host["thread"].to_numpy()[at], host["start_ns"].to_numpy()[at]) if host.height else None
    )
    inner = pl.lit(None) if enclosing is None else operators["row"].gather(nullable(enclosing))
    return device.with_columns(
        launch=pl.when(pl.col("launches") == 1)
        .then(pl.lit(LINKED))
        .when(pl.col("launches") > 1)
        .then(pl.lit(AMBIGUOUS))
        .when(pl.col("correlation").fill_null(0) == 0)
        .then(pl.lit(NO_LAUNCH))
        .otherwise(pl.lit(BEFORE_WINDOW)),
        row=pl.when(pl.col("launches") == 1).then(pl.coalesce("id_row", inner)),
    ).drop("launch_row", "launches", "id_row")
