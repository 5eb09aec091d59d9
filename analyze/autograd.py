"""Backward work to the forward operator that caused it.

Autograd numbers each forward operator's graph node, per thread; when a node runs backward, its host events carry that
number and the forward thread's own number. Several nested forward operators share one (linear, t, addmm): the
latest-starting one made the node. Flows in the file say the same (905 of 905 and 213 of 213 in two real traces), but
not every exporter writes them.
"""

from __future__ import annotations

import polars as pl

_NODE = "autograd::engine::evaluate_function: "
_ACCUMULATE = "AccumulateGrad"
_NONE = -1


def backward_nodes(operators: pl.DataFrame) -> pl.DataFrame:
    """Every operator (with `row`) that runs a node of the backward graph, in order, and what caused it.

    Columns: row, thread, start_ns, end_ns, forward_row: the row of the forward operator, null where the file has none.
    Gradient accumulation has no number of its own; it runs right after the node whose gradient it takes, and is
    charged with it.
    """
    wrapped = pl.col("name").cat.starts_with(_NODE)
    nodes = operators.filter(wrapped | ((pl.col("forward_thread") > 0) & pl.col("sequence").is_not_null()))
    if not nodes.height:
        return nodes.select("row", "thread", "start_ns", "end_ns", forward_row=pl.lit(None, dtype=pl.Int64))
    linked = nodes.join(_forward(operators, nodes), on="row", how="left", maintain_order="left")
    accumulates = pl.col("name").cast(pl.String).str.contains(_ACCUMULATE, literal=True)
    known = pl.when(~accumulates).then(pl.col("forward_row").fill_null(_NONE)).otherwise("forward_row")
    charged = known.forward_fill().over("thread")
    return linked.select("row", "thread", "start_ns", "end_ns", forward_row=pl.when(charged != _NONE).then(charged))


def makes_node() -> pl.Expr:
    """Whether an operator made a node of the backward graph: it is forward work, even where no module says so."""
    return pl.col("sequence").is_not_null() & (pl.col("forward_thread").fill_null(0) == 0)


def _forward(operators: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """Columns row and forward_row: for each numbered node, the last forward operator of its number to begin."""
    numbered = nodes.filter(pl.col("sequence").is_not_null())
    forward = operators.filter(makes_node()).select("sequence", maker="thread", forward_row="row", begun_ns="start_ns")
    pairs = numbered.select("row", "sequence", "forward_thread", "start_ns").join(forward, on="sequence", how="inner")
    pairs = pairs.filter(pl.col("begun_ns") <= pl.col("start_ns"))
    # Threads count apart: of several with the same numbers, a forward thread is the one that most of its nodes match.
    votes = pairs.group_by("forward_thread", "maker").agg(matched=pl.col("row").n_unique())
    chosen = (
        votes.sort(["matched", "maker"], descending=[True, False])
        .group_by("forward_thread", maintain_order=True)
        .agg(maker=pl.col("maker").first())
    )
    return (
        pairs.join(chosen, on=["forward_thread", "maker"], how="semi", nulls_equal=True)
        .sort("begun_ns", "forward_row")
        .group_by("row", maintain_order=True)
        .agg(forward_row=pl.col("forward_row").last())
    )
