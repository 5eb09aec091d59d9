"""When a model is known well enough, and how the batch search ends; no clock is involved."""

from __future__ import annotations

import pytest

from tracekit.collect import throughput
from tracekit.collect.rounds import precision
from tracekit.points import Sample, Trial


def samples(*rounds: tuple[int, ...]) -> list[Sample]:
    return [Sample(wall_ns=w, cpu_ns=w, round=n) for n, walls in enumerate(rounds) for w in walls]


def test_precision_counts_rounds_not_samples() -> None:
    assert precision(samples((100,))) == float("inf")
    assert precision(samples((100,), (100,), (100,))) == 0
    few = precision(samples((90,), (100,), (110,), (120,)))
    assert few == pytest.approx((112.5 - 97.5) / 2 / 105 / 2)
    assert precision(samples((90, 90, 90), (100, 100, 100), (110, 110, 110), (120, 120, 120))) == pytest.approx(few)


def tried(seconds: dict[int, float]) -> tuple[list[int], str]:
    def trial(batch: int) -> Trial | None:
        return Trial(batch=batch, samples_ns=[int(seconds[batch] * 1e9)]) if batch in seconds else None

    trials, ended = throughput.search(1, trial)
    return [one.batch for one in trials], ended


def test_the_search_ends_when_nothing_is_gained() -> None:
    flat = {1: 1.0, 2: 1.0, 4: 1.5, 8: 3.0, 16: 6.0, 32: 12.0}
    assert tried(flat) == ([1, 2, 4, 8, 16], "no gain")


def test_the_search_ends_when_a_batch_does_not_fit_or_takes_too_long() -> None:
    assert tried({1: 1.0, 2: 1.0}) == ([1, 2], "memory")
    assert tried({1: 11.0, 2: 11.0}) == ([1], "time")
