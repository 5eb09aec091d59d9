"""A trace as lanes of slices: whose each moment of a thread is, and how slices that overlap share out over lanes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from tracekit.components import PHASE_RANGE

from .events import Int64s
from .nest import sweep
from .ranges import find_ranges
from .trace import Trace


def owned(host: pl.DataFrame) -> pl.DataFrame:
    """The moments of each thread by the host event that owns them: thread, start_ns, end_ns, row (of `host`).

    In time within each thread; the pieces of an event sum to its self time, because both follow the rule of `nest`.
    """
    nesting = sweep(host)
    thread = np.concatenate((nesting.thread, nesting.thread))
    time = np.concatenate((nesting.start_ns, nesting.end_ns))
    order = np.lexsort((time, thread))
    thread, time = thread[order], time[order]
    piece = np.flatnonzero((thread[1:] == thread[:-1]) & (time[1:] > time[:-1]))
    owner = nesting.owner_at(thread[piece], time[piece])
    pieces = {"thread": thread[piece], "start_ns": time[piece], "end_ns": time[piece + 1], "row": owner}
    return pl.DataFrame(pieces).filter(pl.col("row") >= 0)


def merged(pieces: pl.DataFrame, keys: Sequence[str]) -> pl.DataFrame:
    """Pieces that touch and agree in `keys` as one: thread, start_ns, end_ns and the keys. In the order of `owned`."""
    same = ("thread", *keys)
    apart = pl.any_horizontal(*(pl.col(key).ne_missing(pl.col(key).shift(1)) for key in same))
    run = (apart | (pl.col("start_ns") != pl.col("end_ns").shift(1))).fill_null(True).cum_sum()
    firsts = [pl.col(key).first() for key in (*same, "start_ns")]
    table = pieces.group_by(run.alias("run"), maintain_order=True).agg(*firsts, pl.col("end_ns").last())
    return table.select("thread", "start_ns", "end_ns", *keys)


def marked(trace: Trace) -> pl.DataFrame:
    """The ranges that mark layers and components (see `ranges.Ranges`), in the order of `nest.sweep_order`."""
    host = trace.events.frames.host.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64))
    written = host.filter(pl.col("kind") == "annotation").with_columns(pl.col("name").cast(pl.String))
    found = find_ranges(host, written, trace.events.frames.modules, trace.rules)
    return found.frame.filter(pl.col("what") != PHASE_RANGE)


def overlapping(host: pl.DataFrame) -> pl.DataFrame:
    """The host events that end after the one they began in: viewers that draw nested slices may drop them."""
    return host[sweep(host).outliving()]


def lanes(start_ns: Int64s, end_ns: Int64s, *, nested: bool = False) -> Int64s:
    """The lane of each slice, the first that has room: slices of one lane never overlap, or, `nested`, only nest.

    `start_ns` ascends, and of slices that start together the longest comes first. A lane more is opened only where
    none has room: for slices that never overlap, the fewest lanes that there can be.
    """
    lane = np.zeros(len(start_ns), dtype=np.int64)
    if not nested and (start_ns[1:] >= np.maximum.accumulate(end_ns)[:-1]).all():
        return lane
    opened: list[list[int]] = []  # of each lane, the ends of the slices that are open, the innermost last
    for position, (start, end) in enumerate(zip(start_ns.tolist(), end_ns.tolist(), strict=True)):
        for number, ends in enumerate(opened):  # noqa: B007
            while ends and ends[-1] <= start:
                ends.pop()
            if not ends or (nested and end <= ends[-1]):
                break
        else:
            number, ends = len(opened), []
            opened.append(ends)
        ends.append(end)
        lane[position] = number
    return lane
