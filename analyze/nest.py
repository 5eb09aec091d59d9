"""Who runs when: exact self time and nesting of the events of one thread, or of many.

The rule: at each instant a thread's time belongs to the open event that started last; of events that start together,
to the one that ends first, then the later by the profiler's own index, then by name. So self time is never negative,
it sums to the union of the busy intervals, and on properly nested events it is the duration less the children's.
Partial overlaps (kineto makes them with Python frames) are no special case of the rule.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import polars as pl

from .events import Int64s


@dataclass(frozen=True)
class Nesting:
    """Intervals in the order of `sweep_order`, and for each the one that owned its thread when it began (-1: none)."""

    thread: Int64s
    start_ns: Int64s
    end_ns: Int64s
    parent: Int64s

    def self_ns(self) -> Int64s:
        """Self time of every interval, in ns.

        What children take of their parent: they never overlap one another, since each began when the parent owned the
        thread. One that outlives its parent goes on to take from what is beneath.
        """
        taken = np.zeros(len(self.parent) + 1, dtype=np.int64)  # the last stands for no parent
        ends = np.append(self.end_ns, _NEVER)
        np.add.at(taken, self.parent, np.minimum(self.end_ns, ends[self.parent]) - self.start_ns)
        for row in self.outliving().tolist():
            clock, above = ends[self.parent[row]], self.parent[self.parent[row]]
            while clock < ends[row]:
                until = min(ends[row], ends[above])
                taken[above] += max(0, until - clock)
                clock, above = max(clock, until), self.parent[above] if above >= 0 else -1
        return self.end_ns - self.start_ns - taken[:-1]

    def outliving(self) -> Int64s:
        """Positions of the intervals that end after the one they began in."""
        found: Int64s = np.flatnonzero((self.parent >= 0) & (self.end_ns > self.end_ns[self.parent]))
        return found

    def owner_at(self, thread: Int64s, time_ns: Int64s) -> Int64s:
        """The interval that owns each moment of a thread, or -1 where none is open."""
        owner = np.full(len(time_ns), -1, dtype=np.int64)
        for number in np.unique(self.thread):
            low, high = np.searchsorted(self.thread, [number, number + 1])
            mine = thread == number
            rows = slice(None) if mine.all() else np.flatnonzero(mine)
            last = low + np.searchsorted(self.start_ns[low:high], time_ns[rows], side="right") - 1
            owner[rows] = np.where(last >= low, last, -1)
        # The last to start, or, where that has ended, what it began in, and so on.
        asked = np.flatnonzero(owner >= 0)
        for _ in range(_CLIMB):
            asked = asked[self.end_ns[owner[asked]] <= time_ns[asked]]
            if not asked.size:
                return owner
            owner[asked] = self.parent[owner[asked]]
            asked = asked[owner[asked] >= 0]
        owner[asked] = self._merged(thread[asked], time_ns[asked])
        return owner

    def _merged(self, thread: Int64s, time_ns: Int64s) -> Int64s:
        """As `owner_at`, for nests too deep to climb: the moments are swept along, as events of no length."""
        count = len(self.parent)
        threads, starts, ends = (
            np.concatenate(pair) for pair in ((self.thread, thread), (self.start_ns, time_ns), (self.end_ns, time_ns))
        )
        order = np.lexsort((np.arange(len(threads)) >= count, starts, threads))  # a moment after what starts at it
        parent = _swept(threads[order], starts[order], ends[order])
        above = np.empty(len(order), dtype=np.int64)
        above[order] = np.where(parent >= 0, order[parent], -1)
        return above[count:]


def sweep_order(events: pl.DataFrame) -> Int64s:
    """The order of rows that `sweep` needs: by thread, start_ns, end_ns (latest first), ev_idx and name.

    By index, and by few columns first: sorting a frame by many of them takes several times its memory.
    """
    thread, start = events["thread"].to_numpy(), events["start_ns"].to_numpy()
    order: Int64s = np.argsort(start, kind="stable")
    order = order[np.argsort(thread[order], kind="stable")]
    thread, start = thread[order], start[order]
    same = (thread[1:] == thread[:-1]) & (start[1:] == start[:-1])
    if same.any():
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        rows = events.select(pl.col("end_ns", "ev_idx", "name").gather(order[tied])).with_columns(
            pl.col("name").cast(pl.String), group=np.cumsum(~np.append(False, same))[tied], row=order[tied]
        )
        keys = ("group", "end_ns", "ev_idx", "name")  # of those that are the same in all, the order is that of `events`
        rows = rows.sort(keys, descending=[False, True, False, False], maintain_order=True)
        order[tied] = rows["row"].to_numpy()
    return order


def sweep(events: pl.DataFrame) -> Nesting:
    """The nesting of each thread's events (`thread`, `start_ns`, `end_ns`, in the order of `sweep_order`)."""
    thread, start, end = (events[column].to_numpy() for column in ("thread", "start_ns", "end_ns"))
    return Nesting(thread, start, end, _swept(thread, start, end))


def _swept(thread: Int64s, start: Int64s, end: Int64s) -> Int64s:
    parent = np.full(len(thread), -1, dtype=np.int64)
    bounds = [0, *(np.flatnonzero(np.diff(thread)) + 1).tolist(), len(thread)]
    for low, high in itertools.pairwise(bounds):
        stack = [(_NEVER, -1)]
        for first in range(low, high, _PIECE):
            stop = min(first + _PIECE, high)
            starts = [*start[first : min(stop + 1, high)].tolist(), _NEVER]  # and when the event after them starts
            parent[first:stop] = _parents(starts, end[first:stop].tolist(), first, stack)
    return parent


def _parents(starts: list[int], ends: list[int], first: int, stack: list[tuple[int, int]]) -> list[int]:
    """Parents of a thread's next events, whose rows begin at `first`; `starts` has at least one more than `ends`.

    The house's one Python loop over events. `stack` holds the open events as (end, row), popped lazily when they
    surface after their end; at its bottom is one that never ends. What ends before the next starts is nobody's parent.
    """
    parents = []
    until, owner = stack[-1]
    for row, (now, end, after) in enumerate(zip(starts, ends, starts[1:], strict=False), first):
        while until <= now:
            stack.pop()
            until, owner = stack[-1]
        parents.append(owner)
        if end > after:
            stack.append((end, row))
            until, owner = end, row
    return parents


_NEVER = (1 << 63) - 1
_CLIMB = 64  # levels to climb before sweeping is quicker
_PIECE = 1 << 17  # events at a time: bounds the Python objects alive
