"""Device work to its launch, and to the host operator that launched it."""

from __future__ import annotations

import polars as pl

from .nest import Nesting
from .ranges import nullable

# What is known of the launch of a piece of device work: in the file, there and of a whole CUDA or HIP graph, not in the
# file, claimed by several, not named.
LINKED = "linked"
GRAPH = "graph"
BEFORE_WINDOW = "before_window"
AMBIGUOUS = "ambiguous"
NO_LAUNCH = "none"
_GRAPH_LAUNCHES = ("cudaGraphLaunch", "hipGraphLaunch", "cuGraphLaunch")


def device_operators(
    device: pl.DataFrame, host: pl.DataFrame, launches: pl.DataFrame, operators: pl.DataFrame, nesting: Nesting
) -> pl.DataFrame:
    """Add `launch` (linked, graph, before_window, ambiguous, none), `launch_ns` and the host `row` of the operator.

    Work links to its launch by a unique non-zero correlation, to its operator by External id where exactly one operator
    has it, else by the operator that is innermost where the launch starts, at `launch_ns`. `launches` has the
    correlation of the runtime calls of `host`; `operators` are its operators with their `row`, as `nesting` swept them.
    """
    calls = launches.filter(pl.col("correlation") != 0)
    begun = host.select(pl.col("start_ns", "thread", "name").gather(calls["row"]))
    graph = pl.any_horizontal(pl.col("name").cat.starts_with(prefix) for prefix in _GRAPH_LAUNCHES)
    known = (
        calls.hstack(begun.select("thread", graph=graph, launch_ns="start_ns"))
        .group_by("correlation")
        .agg(pl.col("thread", "graph", "launch_ns").first(), launches=pl.len())
    )
    by_id = operators.select("external_id", id_row="row").filter(pl.col("external_id") != 0)
    by_id = by_id.unique("external_id", keep="none")
    device = device.join(known, on="correlation", how="left", maintain_order="left").join(
        by_id, on="external_id", how="left", maintain_order="left"
    )
    enclosing = nesting.owner_at(device["thread"].fill_null(-1).to_numpy(), device["launch_ns"].fill_null(0).to_numpy())
    inner = operators["row"].gather(nullable(enclosing))
    linked = pl.col("launches") == 1
    return device.with_columns(
        launch=pl.when(linked & pl.col("graph"))
        .then(pl.lit(GRAPH))
        .when(linked)
        .then(pl.lit(LINKED))
        .when(pl.col("launches") > 1)
        .then(pl.lit(AMBIGUOUS))
        .when(pl.col("correlation").fill_null(0) == 0)
        .then(pl.lit(NO_LAUNCH))
        .otherwise(pl.lit(BEFORE_WINDOW)),
        launch_ns=pl.when(linked).then("launch_ns"),
        row=pl.when(linked).then(pl.coalesce("id_row", inner)),
    ).drop("thread", "graph", "launches", "id_row")
