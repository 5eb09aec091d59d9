"""Two curves and what else they might have been: bootstrap draws of log cost at every length that both were measured at.

A cost is anything of which less is better: ns of a step, ns of one input, bytes. A length has rounds, a round samples;
the cost of a round is the median of its samples, that of a length the median of its rounds. Where the two models took
turns within the rounds (interleaved), drift of the machine hits both alike: the log ratio of a length is the median of
the rounds' log ratios, and a draw reweighs the rounds of both models jointly.

Method. Resampling 5 rounds with replacement understates their spread and knows few distinct medians. So we draw smoothly:
normal weights on the deviations of the rounds (a multiplier bootstrap; van der Vaart & Wellner 1996, section 2.9), times
sqrt(pi / 2), what a median scatters more than a mean, over the root of chi-squared / degrees of freedom, which makes the
draws follow Student's t: the honest width for few rounds.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rounds = Sequence[Sequence[float]]

MEDIAN_SPREAD = math.sqrt(math.pi / 2)  # standard error of a median over that of a mean, of normal samples


@dataclass(frozen=True)
class Curve:
    """One model: `rounds` by length, and the lengths at which it cannot run (out of memory)."""

    rounds: Mapping[float, Rounds]
    failed: frozenset[float] = frozenset()


@dataclass(frozen=True)
class Pair:
    """Two curves to compare.

    At the lengths in `shared` the rounds of both are aligned: equal in number, taken side by side. `drift` is, at the
    others, a log ratio of machine speeds by which the two may be off. `exact`: costs have no noise, one sample will do.
    """

    efficient: Curve
    baseline: Curve
    shared: frozenset[float] = frozenset()
    drift: Mapping[float, float] = field(default_factory=dict)
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
    columns = [_length(pair, length, count, np.random.default_rng([seed, i])) for i, length in enumerate(lengths)]
    shape = (count + 1, len(lengths))
    baseline = np.stack([b for b, _ in columns], axis=1) if columns else np.empty(shape)
    efficient = np.stack([e for _, e in columns], axis=1) if columns else np.empty(shape)
    return Draws(np.array(lengths, dtype=np.float64), baseline, efficient, pair.exact)


def _common(pair: Pair) -> list[float]:
    """Lengths of which we know something of both, and at which at least one can run."""
    one, other = ({*c.rounds, *c.failed} for c in (pair.efficient, pair.baseline))
    return sorted((one & other) - (pair.efficient.failed & pair.baseline.failed))


def _known(pair: Pair, length: float, least: int) -> bool:
    return all(length in c.failed or len(c.rounds[length]) >= least for c in (pair.efficient, pair.baseline))


def _length(pair: Pair, length: float, draws: int, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """The baseline's and the efficient model's log cost at one length: the estimate, then draws."""
    logs = [_round_logs(curve, length) for curve in (pair.baseline, pair.efficient)]
    if length in pair.shared and all(one is not None for one in logs):
        both = np.stack([one for one in logs if one is not None], axis=1)
        level, ratio = np.median(both.mean(axis=1)), np.median(both[:, 0] - both[:, 1])
        drawn = np.array([level + ratio / 2, level - ratio / 2]) + _scatter(both, draws, rng)
        return drawn[:, 0], drawn[:, 1]
    base, own = (
        np.full(draws + 1, np.inf) if one is None else np.median(one) + _scatter(one[:, None], draws, rng)[:, 0]
        for one in logs
    )
    slow = pair.drift.get(length, 0.0) * np.concatenate([[0.0], rng.standard_normal(draws)])
    return base + slow, own


def _round_logs(curve: Curve, length: float) -> Floats | None:
    """The log of each round's median; None where the model cannot run."""
    if length in curve.failed:
        return None
    return np.log([float(np.median(samples)) for samples in curve.rounds[length]])


def _scatter(logs: Floats, draws: int, rng: np.random.Generator) -> Floats:
    """What a draw adds to the estimate: (1 + draws, columns), the first row zero. `logs` has a row per round."""
    rounds = len(logs)
    added = np.zeros((draws + 1, logs.shape[1]))
    if rounds > 1 and draws:
        freedom = rounds - 1
        weights = rng.standard_normal((draws, rounds)) / np.sqrt(rng.chisquare(freedom, (draws, 1)) / freedom)
        added[1:] = MEDIAN_SPREAD / math.sqrt(rounds * freedom) * (weights @ (logs - logs.mean(axis=0)))
    return added
