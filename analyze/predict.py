"""What a curve costs at any length: what was measured, what lies between, and, labelled as such, what lies beyond.

Method. A draw of the bootstrap is one possible curve. Noise is in the draws already (`resample`); how the curve goes on
where nothing was measured is not, so each draw also takes one of the possible ways at random, and the quantiles over
the draws hold both. (Bayesian model averaging with equal weights: Hoeting et al. 1999; no way is preferred, since the
measured lengths cannot tell them apart.) All draws but the estimate:

between     the line in log-log, moved by a random share of BEYOND times the way to the parabola through either
            neighbour; where the curve looks padded to whole windows (`crossing.padding`), by a window more or less
beyond      from the last cost on, a third each: as a + b n + c n^2 (non-negative) of the last three lengths, as that
            of all, as the power law of the last two
below       from the first cost down: as the polynomial of the first three, as the power law of the first two, or flat,
            for overhead does not shrink
with two    beyond them as a + b n, as their power law, or as a + c n^2, which two lengths cannot tell apart; between
            them from the line towards the first or the last of these

And everywhere but at the measured lengths RESIDUE, which makes no exponent surer than to 0.03.

Beyond and below, costs that fall with length are noise, and levelled first (isotonic regression, per draw).

The estimate is the line, and outside the range the polynomial of the three lengths nearest: the work of a transformer
is such a sum. Something that begins to matter only beyond the measured range is in no interval.
benchmarks/extrapolation.py measures how often the interval holds the truth, and chose the ways.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .crossing import TAIL, WITHIN, padding
from .polynomials import nonnegative_fits
from .resample import Floats

MEASURED, INTERPOLATED, EXTRAPOLATED, UNKNOWN = "measured", "interpolated", "extrapolated", "unknown"
STEEPEST = 2.5  # exponent: no part of a model grows faster than n^2, but where a cache overflows it may look so
BEYOND = 2.0  # how far off the line, by the parabola's distance from it: a kink may be three times as far
RESIDUE = 0.02  # standard deviation of what no way knows, per doubling: other kernels, blocks, places in memory
SAME = 1e-9  # relative difference of two lengths that are one
_BLOCK = 2048  # lengths worked on at once: bounds the memory beside the result

# From lengths (L,) and log costs (R, L) to what the log cost has grown by at `to` (R or 1, K) since the last length.
Way = Callable[[Floats, Floats, Floats], Floats]


@dataclass(frozen=True)
class Prediction:
    """Costs at K lengths, in the curve's unit (ns, bytes), with their 95% interval.

    draws (1 + D, K) are log costs, row 0 the estimate; a row is one possible curve. kind (K,) is `measured`,
    `interpolated`, `extrapolated`, or `unknown` (one measured length tells nothing of others: estimate and interval
    are NaN there).
    """

    estimate: Floats
    lo: Floats
    hi: Floats
    draws: Floats
    kind: NDArray[np.str_]


def predict(lengths: Floats, logs: Floats, at: Floats, seed: int = 0, constant: float = 0.0) -> Prediction:
    """The cost at each length of `at` (K,).

    `constant` is a part of the cost known not to grow (the bytes of parameters): the ways are those of the rest.

    lengths (L,) ascend; logs (1 + D, L) are log costs, row 0 the estimate, the others draws (D >= 1; of an exact curve
    they are all the same: `resample.draw_curve`). Raises ValueError on other shapes.
    """
    if not len(lengths) or logs.ndim != 2 or logs.shape[1] != len(lengths) or len(logs) < 2:
        raise ValueError("predict: logs are (1 + draws, lengths), with at least one length and one draw")
    at = np.asarray(at, dtype=np.float64)
    if 0 < constant < np.exp(logs.min()):
        logs = logs + np.log1p(-constant * np.exp(-logs))
    else:
        constant = 0.0
    order = np.argsort(at, kind="stable")
    drawn = np.empty((len(at), len(logs))).T  # a length's draws lie side by side
    lo, hi = np.empty((2, len(at)))
    chance = _Chance.draw(len(logs), seed)
    flat = padding(lengths, logs) if len(lengths) > 2 else 0.0
    for start in range(0, len(at), _BLOCK):
        part = order[start : start + _BLOCK]
        block = np.ascontiguousarray(_block(lengths, logs, at[part], chance, flat).T)
        if constant:
            np.logaddexp(block, np.log(constant), out=block)
        low, high = np.quantile(block[:, 1:], [TAIL, 1 - TAIL], axis=1)
        lo[part], hi[part] = np.fmin(low, block[:, 0]), np.fmax(high, block[:, 0])
        drawn.T[part] = block
    with np.errstate(over="ignore"):
        return Prediction(np.exp(drawn[0]), np.exp(lo), np.exp(hi), drawn, kinds(lengths, at))


def kinds(lengths: Floats, at: Floats) -> NDArray[np.str_]:
    """What each length of `at` would be: measured, interpolated, extrapolated or unknown."""
    near = _nearest(lengths, at)
    inside = (at > lengths[0]) & (at < lengths[-1])
    found = np.where(inside, INTERPOLATED, EXTRAPOLATED if len(lengths) > 1 else UNKNOWN)
    return np.where(np.abs(near - at) <= SAME * at, MEASURED, found)


def _nearest(lengths: Floats, at: Floats) -> Floats:
    """The measured length nearest to each of `at`, by their ratio."""
    near: Floats = lengths[np.argmin(np.abs(np.log(lengths)[None] - np.log(at)[:, None]), axis=1)]
    return near


@dataclass(frozen=True)
class _Chance:
    """What each draw takes by chance, the same for all lengths: row 0, the estimate, takes none."""

    way: NDArray[np.int64]  # (R,) which way
    share: Floats  # (R,) 0..1: how far towards it
    shift: Floats  # (R,) -1..1: part of a window
    residue: Floats  # (R,) standard normal

    @classmethod
    def draw(cls, rows: int, seed: int) -> _Chance:
        rng = np.random.default_rng([seed, rows])
        way = rng.permutation(np.arange(rows - 1) % 6)  # two ways between, three outside
        share, shift = rng.uniform(0, 1, rows), rng.uniform(-1, 1, rows)
        residue = rng.standard_normal(rows)
        share[0] = shift[0] = residue[0] = 0.0
        return cls(np.concatenate([[-1], way]), share, shift, residue)


def _block(lengths: Floats, logs: Floats, at: Floats, chance: _Chance, flat: float) -> Floats:
    """Log costs (R, K) at ascending lengths."""
    if len(lengths) == 1:
        return np.where(kinds(lengths, at) == MEASURED, logs, np.nan)
    outside = (kinds(lengths, at) == EXTRAPOLATED).astype(np.int64) * np.sign(at - lengths[0]).astype(np.int64)
    below, inside, above = (at[outside == side] for side in (-1, 0, 1))
    parts = []
    if len(below):
        parts.append(_outside(lengths[::-1], logs[:, ::-1], below[None], chance, _DOWN))
    if len(inside):
        parts.append(_between(lengths, logs, np.clip(inside, lengths[0], lengths[-1]), chance, flat))
    if len(above):
        moved = above + chance.shift[:, None] * WITHIN * flat if flat else above[None]
        ways = _UP if len(lengths) > 2 else _UP_OF_TWO
        parts.append(_outside(lengths, logs, np.maximum(moved, lengths[-1]), chance, ways))
    away = np.abs(np.log2(at / _nearest(lengths, at)))
    return np.hstack(parts) + RESIDUE * chance.residue[:, None] * away


def _between(lengths: Floats, logs: Floats, at: Floats, chance: _Chance, flat: float) -> Floats:
    """Log costs within the range: at the measured lengths, as measured."""
    left = np.clip(np.searchsorted(lengths, at, side="right") - 1, 0, len(lengths) - 2)
    line = _through(lengths, at, left, None)
    found = logs @ line.T
    for number, third in enumerate((-1, 2)):
        rows = chance.way % 2 == number
        if len(lengths) == 2:
            off_line = _straight(lengths, logs[rows], at, number + 1) - found[rows]
            found[rows] += chance.share[rows, None] * off_line
            continue
        off = BEYOND * (_through(lengths, at, left, third) - line)
        found[rows] += chance.share[rows, None] * (logs[rows] @ off.T)
    padded = (lengths[left] >= flat) if flat else np.zeros(len(at), dtype=np.bool_)
    if padded.any():
        found[1:, padded] = _stepped(lengths, logs[1:], at[padded], left[padded], chance.shift[1:] * WITHIN * flat)
    return found


def _through(lengths: Floats, at: Floats, left: NDArray[np.intp], third: int | None) -> Floats:
    """A matrix (K, L) from log costs to those at `at`: through the two neighbours in log-log and, as a parabola, the
    one `third` from the left one; where there is none, the line.
    """
    x, places = np.log(lengths), np.log(at)
    beyond = np.full(len(at), -1) if third is None else left + third
    there = (beyond >= 0) & (beyond < len(lengths))
    beyond = np.where(there, beyond, left)
    nodes = np.stack([left, left + 1, beyond])
    matrix = np.zeros((len(at), len(lengths)))
    for i, node in enumerate(nodes[: 3 if there.any() else 2]):
        weight = np.ones(len(at))
        for j, other in enumerate(nodes):
            if i != j:
                counts = there if 2 in (i, j) else np.ones_like(there)
                gap = np.where(counts, x[node] - x[other], 1.0)
                weight *= np.where(counts, (places - x[other]) / gap, 0.0 if i == 2 else 1.0)
        matrix[np.arange(len(at)), node] += weight
    return matrix


def _straight(lengths: Floats, logs: Floats, at: Floats, power: int) -> Floats:
    """Between two lengths as a + b n^power."""
    low, high = lengths**power
    part = (at**power - low) / (high - low)
    with np.errstate(divide="ignore"):
        found: Floats = np.logaddexp(logs[:, :1] + np.log(1 - part), logs[:, 1:] + np.log(part))
    return found


def _stepped(lengths: Floats, logs: Floats, at: Floats, left: NDArray[np.intp], shift: Floats) -> Floats:
    """The line, read `shift` (per row) further on, but within the two neighbours; measured lengths stay."""
    low, high = lengths[left], lengths[left + 1]
    part = np.log(np.clip(at + shift[:, None], low, high) / low) / np.log(high / low)
    part = np.where(np.abs(at - low) <= SAME * at, 0.0, np.where(np.abs(at - high) <= SAME * at, 1.0, part))
    return logs[:, left] + (logs[:, left + 1] - logs[:, left]) * part


def _outside(lengths: Floats, logs: Floats, to: Floats, chance: _Chance, ways: Sequence[Way]) -> Floats:
    """Log costs beyond the last of `lengths`: each draw by the way that it took, the estimate by the first of them."""
    logs = _rising(logs) if lengths[-1] > lengths[0] else -_rising(-logs)
    found = np.empty((len(logs), to.shape[1]))
    for number, way in enumerate(ways):
        rows = chance.way % len(ways) == number
        found[rows] = way(lengths, logs[rows], to[rows] if len(to) > 1 else to)
    found[0] = ways[0](lengths, logs[:1], to[:1])[0]
    return logs[:, -1:] + found


def _rising(logs: Floats) -> Floats:
    """Each row as it is nearest to one that never falls: costs do not, so what falls is noise.

    Isotonic regression by the minimax formula (Robertson, Wright & Dykstra 1988, section 1.4).
    """
    if (np.diff(logs, axis=1) >= 0).all():
        return logs
    count = logs.shape[1]
    sums = np.cumsum(np.pad(logs, ((0, 0), (1, 0))), axis=1)
    means = {(i, k): (sums[:, k + 1] - sums[:, i]) / (k + 1 - i) for i in range(count) for k in range(i, count)}
    least = {(i, j): np.min([means[i, k] for k in range(j, count)], axis=0) for i, j in means}
    return np.stack([np.max([least[i, j] for i in range(j + 1)], axis=0) for j in range(count)], axis=1)


def _polynomial(count: int = 0) -> Way:
    """As a + b n + c n^2, fitted to the last `count` lengths (0: to all); what counts is its growth from the last on.

    Of two lengths as a + b n, and as their power law where that is steeper.
    """

    def way(lengths: Floats, logs: Floats, to: Floats) -> Floats:
        lengths, logs = lengths[-count:], logs[:, -count:]
        scale = lengths.max()
        costs = np.exp(logs - logs.max(axis=1, keepdims=True))
        fits = nonnegative_fits(lengths / scale, costs, min(2, len(lengths) - 1))
        last, then = (_value(fits, n / scale) for n in (lengths[-1:], to))
        growth: Floats = np.log(np.maximum(then, 1e-300)) - np.log(np.maximum(last, 1e-300))
        if len(lengths) == 2:
            steep = exponents(lengths, logs)[:, None] > 1
            return np.where(steep, _law(2)(lengths, logs, to), growth)
        return growth

    return way


def _value(fits: Floats, n: Floats) -> Floats:
    """The polynomials of some coefficients (rows, constant first) at `n`."""
    found = fits[:, -1:]
    for k in range(fits.shape[1] - 2, -1, -1):
        found = found * n + fits[:, [k]]
    return found


def _late_square(lengths: Floats, logs: Floats, to: Floats) -> Floats:
    """As a + c n^2 through the last two lengths: what two lengths cannot rule out."""
    costs = np.exp(np.clip(logs[:, -2:] - logs[:, -1:], -STEEPEST * np.log(lengths[-1] / lengths[-2]), 0))
    square = (costs[:, [1]] - costs[:, [0]]) / (1 - (lengths[-2] / lengths[-1]) ** 2)
    growth: Floats = np.log(np.maximum(1 + square * ((to / lengths[-1]) ** 2 - 1), 1e-300))
    return growth


def _law(count: int) -> Way:
    """As the power law of the last `count` lengths; costs are taken never to fall with length."""

    def way(lengths: Floats, logs: Floats, to: Floats) -> Floats:
        exponent = np.clip(exponents(lengths[-count:], logs[:, -count:]), 0, STEEPEST)
        growth: Floats = exponent[:, None] * np.log(to / lengths[-1])
        return growth

    return way


def _flat(lengths: Floats, logs: Floats, to: Floats) -> Floats:
    return np.zeros((len(logs), to.shape[1]))


# The first way is the estimate's.
_UP: tuple[Way, ...] = (_polynomial(3), _law(2), _polynomial())
_UP_OF_TWO: tuple[Way, ...] = (_polynomial(), _law(2), _late_square)
_DOWN: tuple[Way, ...] = (_polynomial(3), _law(2), _flat)


def exponents(lengths: Floats, logs: Floats) -> Floats:
    """The least-squares slope of log cost against log length, per row of `logs` (R, L); two lengths at least."""
    x = np.log(lengths)
    x = x - x.mean()
    slopes: Floats = logs @ x / (x @ x)
    return slopes
