"""Self time against its definition, instant by instant, and the laws it must keep."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze import nest
from tracekit.analyze.nest import sweep, sweep_order
from tracekit.analyze.tables import union_ns


class Interval(NamedTuple):
    tid: int
    start: int
    dur: int
    ev_idx: int
    name: str


def intervals(longest: int = 12) -> st.SearchStrategy[list[Interval]]:
    one = st.builds(
        Interval,
        st.integers(0, 1),
        st.integers(0, 25),
        st.integers(0, longest),
        st.integers(0, 3),
        st.sampled_from("ab"),
    )
    # Events equal in everything are the same event to any rule: keep them apart by name.
    return st.lists(one, max_size=12, unique=True)


def ordered(frame: pl.DataFrame) -> pl.DataFrame:
    return frame[sweep_order(frame)]


def frame(events: list[Interval], shift: int = 0, scale: int = 1) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "thread": [e.tid for e in events],
            "start_ns": [e.start * scale + shift for e in events],
            "dur_ns": [e.dur * scale for e in events],
            "end_ns": [(e.start + e.dur) * scale + shift for e in events],
            "ev_idx": [e.ev_idx for e in events],
            "name": [e.name for e in events],
        },
        schema={
            "thread": pl.Int64,
            "start_ns": pl.Int64,
            "dur_ns": pl.Int64,
            "end_ns": pl.Int64,
            "ev_idx": pl.Int64,
            "name": pl.String,
        },
    )


def self_times(events: list[Interval], shift: int = 0, scale: int = 1) -> dict[Interval, int]:
    host = ordered(frame(events, shift, scale))
    keys = [
        Interval(tid, (start - shift) // scale, dur // scale, idx, name)
        for tid, start, dur, idx, name in host.select("thread", "start_ns", "dur_ns", "ev_idx", "name").iter_rows()
    ]
    return dict(zip(keys, sweep(host).self_ns().tolist(), strict=True))


def by_definition(events: list[Interval]) -> dict[Interval, int]:
    """At each instant the time belongs to the open event that started last; ties: ends first, later index, later name."""
    owned = dict.fromkeys(events, 0)
    for tid in (0, 1):
        for instant in range(60):
            running = [e for e in events if e.tid == tid and e.start <= instant < e.start + e.dur]
            if running:
                owned[max(running, key=lambda e: (e.start, -e.dur, e.ev_idx, e.name))] += 1
    return owned


@given(intervals())
def test_equals_the_definition(events: list[Interval]) -> None:
    assert self_times(events) == by_definition(events)


@given(intervals())
def test_never_negative_and_sums_to_the_union(events: list[Interval]) -> None:
    owned = self_times(events)
    assert all(value >= 0 for value in owned.values())
    assert sum(owned.values()) == union_ns(frame(events), ("thread",))


@given(intervals(), st.integers(-(10**15), 10**15), st.integers(1, 1000))
def test_shift_and_scale(events: list[Interval], shift: int, scale: int) -> None:
    plain = self_times(events)
    assert self_times(events, shift, scale) == {e: value * scale for e, value in plain.items()}


@given(intervals().flatmap(lambda events: st.tuples(st.just(events), st.permutations(events))))
def test_order_in_the_file_does_not_matter(pair: tuple[list[Interval], list[Interval]]) -> None:
    assert self_times(pair[0]) == self_times(pair[1])


@given(intervals(), st.integers(1, 5))
def test_splitting_a_leaf_moves_nothing_else(events: list[Interval], cut: int) -> None:
    leaf = Interval(0, 30, 10, 0, "leaf")
    halves = [Interval(0, 30, cut, 0, "leaf"), Interval(0, 30 + cut, 10 - cut, 1, "leaf")]
    whole, split = self_times([*events, leaf]), self_times([*events, *halves])
    assert sum(split[half] for half in halves) == whole[leaf]
    assert all(split[e] == whole[e] for e in events)


@given(intervals(), st.lists(st.tuples(st.integers(0, 1), st.integers(-2, 45)), max_size=20))
def test_owner_at_is_who_owns_the_instant(events: list[Interval], moments: list[tuple[int, int]]) -> None:
    host = ordered(frame(events))
    if not host.height:
        return
    asked = [(tid, t) for tid, t in moments if tid in host["thread"]]
    owners = sweep(host).owner_at(
        pl.Series([tid for tid, _ in asked], dtype=pl.Int64).to_numpy(),
        pl.Series([t for _, t in asked], dtype=pl.Int64).to_numpy(),
    )
    for (tid, t), owner in zip(asked, owners.tolist(), strict=True):
        running = [e for e in events if e.tid == tid and e.start <= t < e.start + e.dur]
        expected = max(running, key=lambda e: (e.start, -e.dur, e.ev_idx, e.name)) if running else None
        got = host.row(owner, named=True) if owner >= 0 else None
        found = Interval(got["thread"], got["start_ns"], got["dur_ns"], got["ev_idx"], got["name"]) if got else None
        assert found == expected


def test_deep_recursion_is_no_recursion_here() -> None:
    depth = 100_000
    host = ordered(frame([Interval(0, i, 2 * (depth - i), 0, "a") for i in range(depth)]))
    assert sweep(host).self_ns().sum() == 2 * depth
    assert sweep(host).parent.tolist() == list(range(-1, depth - 1))


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_and_one(count: int) -> None:
    owned = self_times([Interval(0, 5, 3, 0, "a")][:count])
    assert list(owned.values()) == [3][:count]


@pytest.mark.parametrize("climb", [0, 1, 64])
@given(intervals(), st.lists(st.integers(-2, 45), max_size=20))
def test_climbing_and_sweeping_agree(climb: int, events: list[Interval], moments: list[int]) -> None:
    host = ordered(frame(events))
    nesting = sweep(host)
    threads = np.array([m % 2 for m in moments], dtype=np.int64)
    times = np.array(moments, dtype=np.int64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nest, "_CLIMB", climb)
        owners = nesting.owner_at(threads, times)
    assert owners.tolist() == nesting.owner_at(threads, times).tolist()


def test_a_hundred_thousand_levels() -> None:
    depth = 100_000
    start = np.arange(depth)
    host = pl.DataFrame({"thread": np.zeros(depth, dtype=np.int64), "start_ns": start, "end_ns": 4 * depth - start})
    nesting = sweep(host)
    assert nesting.parent.tolist() == list(range(-1, depth - 1))
    assert nesting.self_ns().tolist() == [2] * (depth - 1) + [2 * depth + 2]
    moments = np.linspace(0, 5 * depth, 50_000).astype(np.int64)
    owners = nesting.owner_at(np.zeros(len(moments), dtype=np.int64), moments)
    expected = np.where(moments < depth, moments, np.minimum(4 * depth - moments - 1, depth - 1))
    assert owners.tolist() == np.maximum(expected, -1).tolist()
