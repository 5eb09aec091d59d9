"""Who runs when: exact self time and nesting of the events of one thread, or of many.

The rule: at each instant a thread's time belongs to the open event that started last; of events that start together,
to the one that ends first, then the later by the profiler's own index, then by name. So self time is never negative,
it sums to the union of the busy intervals, and on properly nested events it is the duration less the children's.
Partial overlaps (kineto makes them with Python frames) need no special case.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl

from .events import Int64s


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


def sweep_order(events: pl.DataFrame) -> Int64s:
    """The order of rows that `sweep` needs: by thread, start_ns, end_ns (latest first), ev_idx and name.

    An index sort: sorting the frame itself by many columns takes several times its memory.
    """
    keys = [events[column].to_numpy() for column in ("thread", "start_ns", "end_ns", "ev_idx")]
    keys[2] = -keys[2]
    order = np.lexsort(keys[::-1])
    same = np.logical_and.reduce([key[order[1:]] == key[order[:-1]] for key in keys])
    if same.any():  # few: equal in all but name
        tied = np.flatnonzero(np.append(same, False) | np.append(False, same))
        group = np.cumsum(~np.append(False, same))[tied]
        names = pl.DataFrame({"group": group, "name": events["name"][order[tied]].cast(pl.String), "at": order[tied]})
        order[tied] = names.sort("group", "name")["at"].to_numpy()
    return order


def sweep(events: pl.DataFrame) -> Nesting:
    """Divide each thread's time among its events (`thread`, `start_ns`, `end_ns`, in the order of `sweep_order`)."""
    pieces = [*_pieces(events), (_NOTHING,) * 4]
    parent, owner, start, end = (np.concatenate([piece[i] for piece in pieces]) for i in range(4))
    return Nesting(events["thread"].to_numpy()[owner], start, end, owner, parent)


def self_times(events: pl.DataFrame) -> tuple[Int64s, Int64s]:
    """Self time in ns and parent of every event, as `sweep` would say, without keeping the segments."""
    total = np.zeros(events.height, dtype=np.int64)
    parents = [_NOTHING]
    for parent, owner, start, end in _pieces(events):
        np.add.at(total, owner, end - start)
        parents.append(parent)
    return total, np.concatenate(parents)


def _pieces(events: pl.DataFrame) -> Iterator[tuple[Int64s, ...]]:
    """Parents of the next events and the next segments (owner, start, end), a bounded number at a time."""
    threads = events["thread"].to_numpy()
    bounds = [0, *(np.flatnonzero(np.diff(threads)) + 1).tolist(), len(threads)]
    for low, high in itertools.pairwise(bounds):
        stack: list[tuple[int, int]] = []
        clock = 0
        for first in range(low, high, _PIECE):
            rows = slice(first, min(first + _PIECE, high))
            starts, ends = (events[column][rows].to_list() for column in ("start_ns", "end_ns"))
            lists = _sweep_piece(starts, ends, first, stack, clock)
            yield tuple(np.array(one, dtype=np.int64) for one in lists)
            clock = starts[-1]
        _, *segments = _sweep_piece([_NEVER], [_NEVER], -1, stack, clock)  # runs the stack empty
        yield _NOTHING, *(np.array(one, dtype=np.int64) for one in segments)


def _sweep_piece(
    starts: list[int], ends: list[int], first: int, stack: list[tuple[int, int]], clock: int
) -> tuple[list[int], ...]:
    """Parents, and segments as (owner, start, end), of a thread's next events, whose rows begin at `first`.

    The house's one Python loop over events. `stack` holds the open events as (end, row), popped lazily when they
    surface after their end; `clock` is the time up to which the thread has been divided.
    """
    parents: list[int] = []
    owners: list[int] = []
    begins: list[int] = []
    stops: list[int] = []
    for row, (now, until) in enumerate(zip(starts, ends, strict=True), first):
        while stack:
            end, top = stack[-1]
            stop = end if end < now else now
            if stop > clock:
                owners.append(top)
                begins.append(clock)
                stops.append(stop)
                clock = stop
            if end > now:
                break
            stack.pop()
        clock = now
        parents.append(stack[-1][1] if stack else -1)
        stack.append((until, row))
    return parents, owners, begins, stops


_NEVER = 1 << 62  # later than any time
_PIECE = 1 << 17  # events at a time: bounds the Python objects alive
_NOTHING = np.zeros(0, dtype=np.int64)
