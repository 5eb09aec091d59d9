"""Who runs when: exact self time and nesting of the events of one thread, or of many.

The rule: at each instant a thread's time belongs to the open event that started last; of events that start together,
to the one that ends first, then the later by the profiler's own index, then by name. So self time is never negative,
it sums to the union of the busy intervals, and on properly nested events it is the duration less the children's.
Partial overlaps (kineto makes them with Python frames) need no special case.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from .events import Int64s

THREAD = ("pid", "tid")


@dataclass(frozen=True)
class Nesting:
    """How time divides among intervals that were swept together; rows are the intervals' positions.

    The segments are disjoint, sorted by thread and time: row `owner[i]` owned [start_ns[i], end_ns[i]).
    `parent` is, for each interval, the one that owned its thread when it started (-1: none).
    """

    thread: Int64s
    start_ns: Int64s
    end_ns: Int64s
    owner: Int64s
    parent: Int64s

    def self_ns(self) -> Int64s:
        """Self time of every interval, in ns."""
        total = np.zeros(len(self.parent), dtype=np.int64)
        np.add.at(total, self.owner, self.end_ns - self.start_ns)
        return total

    def owner_at(self, thread: Int64s, time_ns: Int64s) -> Int64s:
        """The interval that owns each moment of a thread, or -1 where none is open."""
        found = np.full(len(time_ns), -1, dtype=np.int64)
        for number in np.unique(thread):
            low, high = np.searchsorted(self.thread, [number, number + 1])
            if low == high:
                continue
            rows = np.flatnonzero(thread == number)
            at = low + np.searchsorted(self.start_ns[low:high], time_ns[rows], side="right") - 1
            inside = (at >= low) & (time_ns[rows] < self.end_ns[at])
            found[rows[inside]] = self.owner[at[inside]]
        return found


def ordered(host: pl.DataFrame) -> pl.DataFrame:
    """Host events in the order that `sweep` needs, with `end_ns` and a dense `thread` number added."""
    return (
        host.with_columns(
            end_ns=pl.col("start_ns") + pl.col("dur_ns"),
            thread=pl.struct(THREAD).rank("dense").cast(pl.Int64) - 1,
        )
        .sort(
            ["thread", "start_ns", "end_ns", pl.col("ev_idx").fill_null(-1), "name"],
            descending=[False, False, True, False, False],
        )
        .rechunk()
    )


def sweep(events: pl.DataFrame) -> Nesting:
    """Divide each thread's time among its events (`thread`, `start_ns`, `end_ns`, in the order of `ordered`)."""
    threads = events["thread"].to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(threads)) + 1), len(threads)]
    parts = [
        _sweep_thread(events["start_ns"][low:high].to_list(), events["end_ns"][low:high].to_list(), low)
        for low, high in itertools.pairwise(bounds)
        if low < high
    ]
    parent, owner, start, end = (
        np.array(list(itertools.chain.from_iterable(part[i] for part in parts)), dtype=np.int64) for i in range(4)
    )
    return Nesting(threads[owner], start, end, owner, parent)


def _sweep_thread(starts: list[int], ends: list[int], first: int) -> tuple[list[int], ...]:
    """Parents, and segments as (owner, start, end), of one thread whose rows begin at `first`.

    The house's one Python loop over events: a stack of open events, popped lazily when they surface after their end.
    """
    parents: list[int] = []
    owners: list[int] = []
    begins: list[int] = []
    stops: list[int] = []
    stack: list[int] = []
    clock = 0
    for i, now in enumerate([*starts, _NEVER]):
        while stack:
            top = stack[-1]
            stop = min(ends[top], now)
            if stop > clock:
                owners.append(first + top)
                begins.append(clock)
                stops.append(stop)
                clock = stop
            if ends[top] > now:
                break
            stack.pop()
        clock = now
        parents.append(first + stack[-1] if stack else -1)
        stack.append(i)
    return parents[:-1], owners, begins, stops


_NEVER = 1 << 63  # later than any int64 time
