"""By how much a cost changed, with an interval: two groups of captures, or two captures with rounds inside.

Method. Each capture counts once, by the median of its rounds, since processes differ by more than rounds tell (layout
of memory, placement of threads). Logs are compared by Student's t over the pooled variance. Deviations beyond three
robust standard deviations from their side's median are pulled in to there (Winsorized means; Tukey & McLaughlin 1963):
a single capture that met another process must not hide a change, nor make one. The interval is widened by `_PULLED_IN`
for that (benchmarks/compare.py --simulate counts how often it holds the true change).

Where the captures of both sides were taken in turns (base, new, base, new ...), each is compared with its neighbour,
and the differences are treated so: a machine that is slower for a minute is so for both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .measured import Measured, Metric

Floats = NDArray[np.float64]

_FAR = 3.0
_PULLED_IN = 1.15
_MAD = 1.4826  # of a normal distribution, the standard deviation over the median absolute deviation
_PAIRS, _PAIR_FAR = 5, 4.0  # how many there are to be, and from where their deviations are pulled in
_FEW = 8  # captures of both sides below which no deviation is told from any other
_MOST = 20.0  # log of a factor beyond all changes: Student's t of two captures has hardly any bounds
# By how much one process may differ from the next, a (robust) standard deviation, where a side has one: measured by
# benchmarks/compare.py, of costs over the fixed work of their round, and of costs as they are.
PROCESS_SPREAD = 0.04
PROCESS_SPREAD_RAW = 0.08


@dataclass(frozen=True)
class Change:
    """How a cost changed. `base`, `new`: costs as measured, medians over captures; `ratio` is new over base.

    `ratio` and its 95% interval `lo` to `hi` are free of the machine's drift where `paced`; `drift` is then by what
    factor the fixed work took longer beside the new captures. `repeats`: what the interval comes from, "processes"
    (several on both sides), "pairs" (the same, taken in turns), "rounds" (one on a side: by how much
    processes differ is assumed), "turns" (one on each, and the two took turns, so that drift hit both alike) or "exact"
    (a count).
    """

    base: float
    new: float
    ratio: float
    lo: float
    hi: float
    repeats: str
    paced: bool = False
    drift: float | None = None


def change(metric: Metric, base: Sequence[Measured], new: Sequence[Measured], alike: bool) -> Change:
    """The change of a metric between two groups of captures, each of one at least.

    `alike`: the machines are of one kind, so that the fixed work tells how fast each was just then.
    """
    series = {one.series for one in (*base, *new)}
    paced = alike and len(series) == 1 and all(one.paced for one in (*base, *new))
    ours, theirs = _medians(base, paced), _medians(new, paced)
    turns = _turns(base, new) if alike else np.array([])
    if metric.exact:
        repeats, (estimate, half) = "exact", _exact(ours, theirs)
    elif len(pairs := _pairs(base, new, ours, theirs)) >= _PAIRS:
        repeats, (estimate, half) = "pairs", mean_difference(pairs)
    elif min(len(ours), len(theirs)) > 1:
        repeats, (estimate, half) = "processes", difference(ours, theirs)
    elif len(turns) > 1:
        repeats, paced, (estimate, half) = "turns", False, _of_turns(turns)
    else:
        repeats, (estimate, half) = "rounds", _of_rounds(base, new, ours, theirs, paced)
    if repeats == "rounds" or not paced:  # else other work slowed the fixed work too, and what is left is scatter
        steady = paced or repeats in ("turns", "pairs")
        half = math.hypot(half, *(1.96 * _doubt(side, steady) for side in (base, new)))
    half = min(half, _MOST)
    return Change(
        statistics.median(one.cost for one in base),
        statistics.median(one.cost for one in new),
        math.exp(estimate),
        math.exp(estimate - half),
        math.exp(estimate + half),
        repeats,
        paced,
        _pace(new) / _pace(base) if paced else None,
    )


def _medians(side: Sequence[Measured], paced: bool) -> Floats:
    return np.array([statistics.median(one.paced if paced else one.rounds) for one in side])


def _doubt(side: Sequence[Measured], steady: bool) -> float:
    """By what log ratio a side may be off; `steady`: the machine's drift is out of it, or hit both sides alike."""
    return statistics.median(one.doubt + (0.0 if steady else one.drift) for one in side)


def _pace(side: Sequence[Measured]) -> float:
    return statistics.median(one.pace_ns or math.nan for one in side)


def difference(base: Floats, new: Floats) -> tuple[float, float]:
    """Estimate and half the width of the 95% interval of new less base; see the module. Two values a side at least."""
    freedom = len(base) + len(new) - 2
    far = len(base) + len(new) >= _FEW
    centres = np.median(base), np.median(new)
    off = base - centres[0], new - centres[1]
    limit = _FAR * _MAD * float(np.median(np.abs(np.concatenate(off)))) if far else math.inf
    if limit > 0:
        off = np.clip(off[0], -limit, limit), np.clip(off[1], -limit, limit)
    means = [centre + one.mean() for centre, one in zip(centres, off, strict=True)]
    squares = sum(float(((one - one.mean()) ** 2).sum()) for one in off)
    half = student(freedom) * math.sqrt(squares / freedom * (1 / len(base) + 1 / len(new)))
    estimate = float(means[1] - means[0])
    if far:
        return estimate, half * _PULLED_IN
    middle = float(centres[1] - centres[0])  # what is shown of few captures is their medians: the interval holds both
    return middle, half + abs(estimate - middle)


def _pairs(base: Sequence[Measured], new: Sequence[Measured], ours: Floats, theirs: Floats) -> Floats:
    """New less base of neighbours in time; none where the sides were not taken in turns."""
    sides = ((0, base, ours), (1, new, theirs))
    told = sorted((r.unix_s, side, log) for side, rs, logs in sides for r, log in zip(rs, logs, strict=True))
    turns = list(zip(told[::2], told[1::2], strict=False))
    if len(base) != len(new) or told[0][0] <= 0 or any(one[1] == other[1] for one, other in turns):
        return np.array([])
    return np.array([(other[2] - one[2]) * (other[1] - one[1]) for one, other in turns])


def mean_difference(pairs: Floats) -> tuple[float, float]:
    """Estimate and half the width of the 95% interval of the mean of differences; see the module."""
    off = pairs - np.median(pairs)
    limit = _PAIR_FAR * _MAD * float(np.median(np.abs(off)))
    off = np.clip(off, -limit, limit) if limit > 0 else off
    error = float(off.std(ddof=1)) / math.sqrt(len(pairs))
    return float(np.median(pairs) + off.mean()), student(len(pairs) - 1) * error * _PULLED_IN


def _exact(base: Floats, new: Floats) -> tuple[float, float]:
    """A count does not scatter; where captures of one side differ, so much is not known."""
    estimate = float(np.median(new) - np.median(base))
    return estimate, float(np.ptp(base) + np.ptp(new)) / 2


def _turns(base: Sequence[Measured], new: Sequence[Measured]) -> Floats:
    """The log ratio of each round in which one capture of either side took its turn."""
    if len(base) != 1 or len(new) != 1:
        return np.array([])
    ours = dict(zip(base[0].turns, base[0].rounds, strict=False))
    theirs = dict(zip(new[0].turns, new[0].rounds, strict=False))
    return np.array([theirs[turn] - log for turn, log in ours.items() if turn[0] and turn in theirs])


def _of_turns(turns: Floats) -> tuple[float, float]:
    inside = math.pi / 2 * float(np.var(turns, ddof=1)) / len(turns)
    return float(np.median(turns)), 1.96 * math.sqrt(inside + 2 * PROCESS_SPREAD**2)


def _of_rounds(
    base: Sequence[Measured], new: Sequence[Measured], ours: Floats, theirs: Floats, paced: bool
) -> tuple[float, float]:
    """Where a side is one capture: the scatter of its rounds, and how processes may differ, see `PROCESS_SPREAD`."""
    spread = PROCESS_SPREAD if paced else PROCESS_SPREAD_RAW
    variance = 0.0
    for side, medians in ((base, ours), (new, theirs)):
        if len(medians) > 1:
            # Few captures may agree by chance: no less than what is assumed of one.
            variance += max(float(np.var(medians, ddof=1)), spread**2) / len(medians)
            continue
        rounds = np.asarray(side[0].paced if paced else side[0].rounds)
        inside = math.pi / 2 * float(np.var(rounds, ddof=1)) / len(rounds) if len(rounds) > 1 else spread**2
        variance += inside + spread**2
    return float(np.median(theirs) - np.median(ours)), 1.96 * math.sqrt(variance)


def student(freedom: float) -> float:
    """The 97.5% quantile of Student's t, to 0.2% from three degrees of freedom on.

    Method: the expansion of Cornish & Fisher (Abramowitz & Stegun 1964, 26.7.5); exact for one and two.
    """
    if freedom < 2:
        return 12.7062
    if freedom == 2:
        return 4.3027
    z = 1.959964
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
