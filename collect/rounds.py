"""Latency in interleaved rounds: the models of one length live side by side and take turns.

So drift of the machine hits all of them alike. Rounds go on until every model is known well enough, or time is up.
"""

from __future__ import annotations

import statistics
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from tracekit.points import Calibration, Sample

from .plan import Planned
from .worker import PointFailedError, Worker

_LEAST_ROUNDS = 5
_LEAST_ROUNDS_LATE = 3  # when time is up
_MOST_ROUNDS = 30
_SAMPLES_PER_TURN = 5
COMPARED = 30  # rounds of one sample each: as many as make a capture that comparisons can use


@dataclass(frozen=True)
class Effort:
    """How hard to measure. Rounds go on until each median is known to `precision` (see `precision`).

    `repeats` fixes the number of samples of a point instead. `seconds` bounds the rounds of one length for each model,
    `timeout` one request to a worker. `throughput` searches for the best batch too: each trial costs twice the last.
    """

    repeats: int | None = None
    precision: float = 0.01
    seconds: float = 20.0
    timeout: float = 1800.0
    throughput: bool = False
    profiled_steps: int = 3


@dataclass
class Timed:
    """A point being measured: its worker, what it says of itself, its samples, and why it failed if it did."""

    planned: Planned
    worker: Worker
    facts: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    first_token: list[Sample] = field(default_factory=list)
    calibration: list[Calibration] = field(default_factory=list)
    failure: PointFailedError | None = None


def take_turns(group: Sequence[Timed], effort: Effort, said: Callable[[str], None]) -> None:
    """Fill in the samples of `group`; who fails keeps what it has and its `failure`, and the others go on."""
    sweep = uuid.uuid4().hex[:8]
    begun = time.monotonic()
    number = 0
    while active := [one for one in group if one.failure is None]:
        if number and _enough(active, effort, number, time.monotonic() - begun):
            return
        for one in active:
            said(f"timing {one.planned.title}, round {number + 1}")
            _turn(one, sweep, number, 1 if effort.repeats else _SAMPLES_PER_TURN)
        number += 1


def _turn(one: Timed, sweep: str, number: int, most: int) -> None:
    try:
        turned = one.worker.request("latency", sweep=sweep, number=number, most=most)
    except PointFailedError as failure:
        one.failure = failure
        return
    one.calibration += msgspec.convert(turned["calibration"], list[Calibration])
    one.samples += msgspec.convert(turned["samples"], list[Sample])
    one.first_token += msgspec.convert(turned.get("first_token", []), list[Sample])


def _enough(active: Sequence[Timed], effort: Effort, rounds: int, elapsed_s: float) -> bool:
    """Whether another round would tell nothing new, or there is no time for it."""
    if effort.repeats is not None:
        return rounds >= effort.repeats
    if rounds >= _MOST_ROUNDS or (elapsed_s > effort.seconds * len(active) and rounds >= _LEAST_ROUNDS_LATE):
        return True
    return rounds >= _LEAST_ROUNDS and all(precision(one.samples) <= effort.precision for one in active)


def precision(samples: Sequence[Sample]) -> float:
    """How well the median is known, relative to it: half the interquartile range over the root of the count.

    Samples of one turn are not independent, so that each round counts once, by its median. Infinite below two rounds.
    """
    rounds: dict[tuple[str, int], list[int]] = {}
    for sample in samples:
        rounds.setdefault((sample.sweep, sample.round), []).append(sample.wall_ns)
    medians = [statistics.median(walls) for walls in rounds.values()]
    if len(medians) < 2:
        return float("inf")
    low, middle, high = statistics.quantiles(medians, n=4, method="inclusive")
    return float((high - low) / 2 / middle / len(medians) ** 0.5)
