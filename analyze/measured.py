"""What one capture says of each metric: a cost with its scatter, and the machine's speed while it was measured.

A cost is anything of which less is better: ns of a step, ns of one input, bytes. What is compared are logs of costs.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from tracekit.points import Calibration, Point, Sample

from . import curves, doubts
from .attribute import OUTSIDE
from .matching import Capture


@dataclass(frozen=True)
class Measured:
    """A metric of one capture.

    `cost` as measured; `rounds`: logs of it, one for each round, step or trial; `turns`: which rounds these were, by
    sweep and number, where models may have taken turns; `paced`: the same over the time of the fixed work of the same
    round, where a series of it was timed; `pace_ns`: that time, a median; `series`: how long a series (see
    `points.Calibration`); `doubt`: by what log ratio the cost may be off beyond its scatter; `drift`: by what more if
    the machine's drift is in it; `unix_s`: when it was measured, 0.0 where nobody says.
    """

    cost: float
    rounds: Sequence[float]
    turns: Sequence[tuple[str, int]] = ()
    paced: Sequence[float] = ()
    pace_ns: float | None = None
    doubt: float = 0.0
    drift: float = 0.0
    series: int = 0
    unix_s: float = 0.0


@dataclass(frozen=True)
class Metric:
    """A number to compare. `read` gives a capture's reading of it, or None.

    `unit`: of the cost, `ns` or `bytes`. `exact`: a count, which has no noise within a capture. `rate`: shown as how
    many inputs a second, of which more is better; its cost is the ns of one. `profiled`: of a run under the profiler,
    so no latency.
    """

    name: str
    title: str
    unit: str
    read: Callable[[Capture], Measured | None]
    exact: bool = False
    rate: bool = False
    profiled: bool = False

    def shown(self, cost: float) -> float:
        """What is shown of a cost: ns, bytes, or, of a rate, how many inputs a second."""
        return 1e9 / cost if self.rate else cost

    @property
    def shown_unit(self) -> str:
        """The unit of that."""
        return "1/s" if self.rate else self.unit


def _latency(capture: Capture) -> Measured | None:
    return _timed(capture.point, "latency", capture.point.samples) if capture.point is not None else None


def _first_token(capture: Capture) -> Measured | None:
    return _timed(capture.point, "first_token", capture.point.first_token) if capture.point is not None else None


def _timed(point: Point, metric: str, samples: Sequence[Sample]) -> Measured | None:
    """The median of the rounds; each over the fixed work of its round, so that the machine's drift cancels."""
    rounds: dict[tuple[str, int], list[int]] = {}
    for sample in samples:
        if sample.wall_ns > 0:
            rounds.setdefault((sample.sweep, sample.round), []).append(sample.wall_ns)
    if not rounds:
        return None
    walls = [(turn, float(statistics.median(each))) for turn, each in rounds.items()]
    if len(rounds) == 1:  # samples of one round are rounds of their own, since nothing else tells of noise
        walls = [(turn, float(wall)) for turn, each in rounds.items() for wall in each]
    series, paces = _paces(point.calibration)
    paced = series > 1 and all(number in paces for (_, number), _ in walls)
    doubt = doubts.doubt_size(point, metric, interleaved=True)
    return Measured(
        statistics.median(wall for _, wall in walls),
        [math.log(wall) for _, wall in walls],
        [turn for turn, _ in walls],
        [math.log(wall / paces[number]) for (_, number), wall in walls] if paced else (),
        statistics.median(paces[number] for (_, number), _ in walls) if paced else None,
        doubt,
        doubts.doubt_size(point, metric) - doubt,
        series if paced else 0,
        samples[0].unix_s,
    )


def _paces(works: Sequence[Calibration]) -> tuple[int, dict[int, float]]:
    """How long a series of fixed work was timed (0: not always the same), and what one of it took in each round.

    A single piece of it, as older points have, tells more of itself than of the machine.
    """
    lengths = {work.series for work in works}
    return lengths.pop() if len(lengths) == 1 else 0, {w.round: float(w.matmul_ns) for w in works if w.matmul_ns > 0}


def _throughput(capture: Capture) -> Measured | None:
    """Of the best batch: ns of one input."""
    best = curves.throughput(capture.point) if capture.point is not None else None
    if capture.point is None or best is None:
        return None
    batch = best["best_batch"]
    trials = [ns / batch for t in capture.point.throughput if t.batch == batch for ns in t.samples_ns if ns > 0]
    cost = 1e9 / best["samples_per_s"]
    series, paces = _paces(capture.point.calibration)
    pace = statistics.median(paces.values()) if series > 1 and paces else None  # of the rounds before the trials
    logs = [math.log(ns) for ns in trials]
    paced = [log - math.log(pace) for log in logs] if pace else []
    doubt = doubts.doubt_size(capture.point, "throughput")
    return Measured(cost, logs, (), paced, pace, doubt, series=series if pace else 0)


def _memory(capture: Capture) -> Measured | None:
    memory = capture.point.memory if capture.point is not None else None
    if memory is None or memory.bytes <= 0:
        return None
    return Measured(float(memory.bytes), [math.log(memory.bytes)])


def _busy(column: str, capture: Capture) -> Measured | None:
    """Host or device time of a profiled step, added up over its components; of the whole trace where it has none."""
    if capture.trace is None:
        return None
    table = capture.trace.component_steps()
    if not table.height:
        table = capture.trace.components().filter(pl.col("phase") != OUTSIDE).with_columns(step=pl.lit(0))
    steps = [float(ns) for ns in table.group_by("step").agg(pl.col(column).sum())[column] if ns > 0]
    if not steps:
        return None
    return Measured(statistics.median(steps), np.log(steps).tolist())


METRICS = {
    metric.name: metric
    for metric in (
        Metric("latency", "latency", "ns", _latency),
        Metric("first_token", "time to the first token", "ns", _first_token),
        Metric("throughput", "throughput", "ns", _throughput, rate=True),
        Metric("memory", "peak memory", "bytes", _memory, exact=True),
        Metric("host", "host time of a profiled step", "ns", partial(_busy, "host_ns"), profiled=True),
        Metric("device", "device time of a profiled step", "ns", partial(_busy, "device_ns"), profiled=True),
    )
}
