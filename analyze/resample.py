"""Two curves and what else they might have been: bootstrap draws of log cost at the lengths they have in common.

A cost is anything of which less is better: ns of a step, ns of one input, bytes. A length has rounds, a round samples;
the cost of a round is the median of its samples, that of a length the median of its rounds. Where the two models took
turns within the rounds (interleaved), drift of the machine hits both alike: the log ratio of a length is the median of
the rounds' log ratios, and a draw reweighs the rounds of both models jointly.

Method. Resampling 5 rounds with replacement understates their spread and knows few distinct medians. So we draw
smoothly: normal weights on the deviations of the rounds (a multiplier bootstrap; van der Vaart & Wellner 1996, section
2.9), times sqrt(pi / 2), what a median scatters more than a mean, over the root of chi-squared / degrees of freedom,
which makes the draws follow Student's t: the honest width for few rounds.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rounds = Sequence[Sequence[float]]

MEDIAN_SPREAD = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, of normal samples
FAR = 20.0  # log of a factor beyond all differences: with two rounds Student's t has no bounds, and exp would overflow
OUTLIER = 4.0  # standard deviations at which the deviation of a round is cut off


@dataclass(frozen=True)
class Curve:
    """One model: `rounds` by length, and the lengths at which it cannot run (out of memory)."""

    rounds: Mapping[float, Rounds]
    failed: frozenset[float] = frozenset()


@dataclass(frozen=True)
class Pair:
    """Two curves to compare.

    At the lengths in `shared` the rounds of both are aligned: equal in number, taken side by side. `doubt` is the log
    ratio by which the two may be off beyond what the rounds tell. `exact`: costs have no noise, one sample will do.
    """

    efficient: Curve
    baseline: Curve
    shared: frozenset[float] = frozenset()
    doubt: Mapping[float, float] = field(default_factory=dict)
    exact: bool = False


@dataclass(frozen=True)
class Draws:
    """Log costs, a column per length; row 0 is the estimate, the others are draws. A model that cannot run has +inf."""

    lengths: Floats
    baseline: Floats
    efficient: Floats
    exact: bool

    @property
    def log_ratio(self) -> Floats:
        """Log of baseline over efficient: above zero where the efficient model is better."""
        return self.baseline - self.efficient


def draw(pair: Pair, draws: int, seed: int) -> Draws:
    """`draws` draws of a pair. Lengths of one round have no known noise and are left out, unless the pair is exact."""
    count = 0 if pair.exact else draws
    least = 1 if pair.exact else 2
    lengths = [length for length in _common(pair) if _known(pair, length, least)]
    logs = {length: _round_logs(pair, length) for length in lengths}
    typical = _typical(logs)
    baseline, efficient = np.full((2, count + 1, len(lengths)), np.inf)
    for i, (length, parts) in enumerate(logs.items()):
        rng = np.random.default_rng([seed, i])
        drawn = [np.median(one, axis=0) + scatter(one, typical[k], count, rng) for k, one in parts.items()]
        if "both" in parts:  # level and log ratio
            baseline[:, i] = drawn[0][:, 0] + drawn[0][:, 1] / 2
            efficient[:, i] = drawn[0][:, 0] - drawn[0][:, 1] / 2
        else:
            for key, one in zip(parts, drawn, strict=True):
                (baseline if key == "baseline" else efficient)[:, i] = one[:, 0]
        baseline[1:, i] += pair.doubt.get(length, 0.0) * rng.standard_normal(count)
    return Draws(np.array(lengths, dtype=np.float64), baseline, efficient, pair.exact)


def draw_curve(
    curve: Curve, draws: int, seed: int, exact: bool = False, doubt: Mapping[float, float] | None = None
) -> tuple[Floats, Floats]:
    """`draws` draws of one curve alone: its lengths (L,), ascending, and log costs (1 + draws, L), row 0 the estimate.

    Lengths of one round have no known noise and are left out, unless costs are `exact`: then all rows are the same.
    `doubt` is by length a log ratio by which its cost may be off beyond that.
    """
    known = [length for length in sorted(curve.rounds) if len(curve.rounds[length]) >= (1 if exact else 2)]
    logs = {length: {"curve": _medians(curve.rounds[length])} for length in known}
    typical = _typical(logs)
    drawn = np.empty((draws + 1, len(known)))
    for i, (length, parts) in enumerate(logs.items()):
        one, rng = parts["curve"], np.random.default_rng([seed, i])
        drawn[:, i] = np.median(one) + (0.0 if exact else scatter(one, typical["curve"], draws, rng)[:, 0])
        drawn[1:, i] += (doubt or {}).get(length, 0.0) * rng.standard_normal(draws)
    return np.array(known, dtype=np.float64), drawn


def _common(pair: Pair) -> list[float]:
    """Lengths of which we know something of both, and at which at least one can run."""
    one, other = ({*c.rounds, *c.failed} for c in (pair.efficient, pair.baseline))
    return sorted((one & other) - (pair.efficient.failed & pair.baseline.failed))


def _known(pair: Pair, length: float, least: int) -> bool:
    return all(length in c.failed or len(c.rounds[length]) >= least for c in (pair.efficient, pair.baseline))


def _round_logs(pair: Pair, length: float) -> dict[str, Floats]:
    """The logs of the rounds' medians, a row per round: of either model, or of `both` mean and difference."""
    logs = {
        name: _medians(curve.rounds[length])
        for name, curve in (("baseline", pair.baseline), ("efficient", pair.efficient))
        if length not in curve.failed
    }
    if length not in pair.shared or len(logs) < 2:
        return logs
    first, second = logs.values()
    return {"both": np.hstack([(first + second) / 2, first - second])}


def _medians(rounds: Rounds) -> Floats:
    """The log of each round's median, a row per round."""
    logs: Floats = np.log([statistics.median(samples) for samples in rounds])[:, None]
    return logs


def _typical(logs: Mapping[float, Mapping[str, Floats]]) -> dict[str, Floats]:
    """The scatter of a round that is typical over the lengths, for each kind of rounds; see `scatter`."""
    kinds = {kind for parts in logs.values() for kind in parts}
    return {k: np.median([scale(parts[k]) for parts in logs.values() if k in parts], axis=0) for k in sorted(kinds)}


def scale(logs: Floats) -> Floats:
    """The standard deviation by the median absolute deviation, which outliers leave alone, per column."""
    return 1.4826 * np.median(np.abs(logs - np.median(logs, axis=0)), axis=0)


def scatter(logs: Floats, typical: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """What a draw adds to the estimate: (1 + draws, columns), the first row zero. `logs` has a row per round.

    A round further off than OUTLIER typical deviations moves a median no more than one that is just that far.
    """
    rounds = len(logs)
    added = np.zeros((draws + 1, logs.shape[1]))
    if rounds > 1 and draws:
        freedom = rounds - 1
        limit = OUTLIER * np.maximum(typical, scale(logs))
        off = logs - np.median(logs, axis=0)
        off = np.where(limit > 0, np.clip(off, -limit, limit), off)
        weights = rng.standard_normal((draws, rounds)) / np.sqrt(rng.chisquare(freedom, (draws, 1)) / freedom)
        scattered = MEDIAN_SPREAD / math.sqrt(rounds * freedom) * (weights @ (off - off.mean(axis=0)))
        added[1:] = np.clip(scattered, -FAR, FAR)
    return added
