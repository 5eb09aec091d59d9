"""The tipping point of two curves: the smallest length from which one is better at all longer measured lengths.

It lies between the last measured length at which the efficient model is not better and the next. In between, the log
ratio is interpolated linearly against log length. What the curve does between two measured lengths is not in the
noise, so each draw of the bootstrap gives not one crossing but the range of several ways to interpolate: the line, the
parabolas through either neighbour, and where a curve looks padded to whole windows, its steps. The interval is the 2.5%
quantile of the ranges' low ends and the 97.5% quantile of their high ends.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, product

import numpy as np
from numpy.typing import NDArray

from .polynomials import fitted_crossings
from .resample import Draws, Floats, Pair, draw

TAIL = 0.025  # on either side of a 95% interval
WIDEST = 4.0  # hi / lo above which an interval says nothing
MANY = 0.25  # share of draws with several crossings above which there is no one tipping point
STEPS = 32  # places looked at between two measured lengths
PADDED = 0.6  # share of draws in which a curve rises more sharply than a parabola that makes it look padded
WITHIN = 1.5  # the window of a padded curve over the length up to which it was seen to be flat
BEYOND = 1.5  # how far the truth may be off the line, by the parabola's distance from it
ROUNDING = 0.02  # how much sharper than a parabola does not matter


@dataclass(frozen=True)
class Tipping:
    """A verdict on two curves. Lengths in the curves' unit; None where there is none or the interval is open.

    verdict: `always`, `never` (at the measured lengths), `from` at on, `between` at and until (better only there; at is
    None where that begins at or below the shortest length), `not_resolved`; `reason` says why. With no noise (`exact`),
    and where a model cannot run, lo and hi are the measured lengths around the crossing.
    """

    verdict: str
    reason: str = ""
    at: float | None = None
    lo: float | None = None
    hi: float | None = None
    until: float | None = None
    until_lo: float | None = None
    until_hi: float | None = None
    fit_at: float | None = None
    fit_lo: float | None = None
    fit_hi: float | None = None
    range_lo: float | None = None
    range_hi: float | None = None
    ratio_lo_end: float | None = None
    ratio_hi_end: float | None = None


@dataclass(frozen=True)
class Interval:
    """An estimate and its 95% interval; -inf: below the shortest measured length; +inf: above the longest."""

    at: float
    lo: float
    hi: float


def tipping_point(pair: Pair, draws: int = 1000, seed: int = 0) -> Tipping:
    """The tipping point of a pair, with a verdict; the same for the same seed."""
    drawn = draw(pair, draws, seed)
    if not len(drawn.lengths):
        return Tipping("not_resolved", "no length has both curves, in two rounds or more")
    ratios = np.exp(drawn.log_ratio[0])
    fit = _fit(drawn)
    return replace(
        _verdict(drawn),
        fit_at=fit[0],
        fit_lo=fit[1],
        fit_hi=fit[2],
        range_lo=float(drawn.lengths[0]),
        range_hi=float(drawn.lengths[-1]),
        ratio_lo_end=float(ratios[0]) if 0 < ratios[0] < math.inf else None,
        ratio_hi_end=float(ratios[-1]) if 0 < ratios[-1] < math.inf else None,
    )


def _verdict(drawn: Draws) -> Tipping:
    signs = _sure_signs(drawn.log_ratio)
    runs = [sign for sign, _ in groupby(signs[signs != 0].tolist())]
    found = up_crossing(drawn)
    if not runs:
        return Tipping("not_resolved", "the difference is below the noise at all lengths")
    if runs in ([1, -1], [-1, 1, -1]):
        return _between(drawn, signs, first=runs[0] == -1)
    if len(runs) > 2:
        return _with(found, Tipping("not_resolved", "several crossings"))
    if found.hi == -math.inf:
        return Tipping("always")
    if found.lo == math.inf:
        better = (drawn.log_ratio[0] > 0).any()
        return (
            Tipping("not_resolved", "better at some measured lengths, but not surely") if better else Tipping("never")
        )
    return _from(drawn, found)


def _from(drawn: Draws, found: Interval) -> Tipping:
    """One crossing, or draws that disagree whether there is one."""
    if found.at == -math.inf:
        reason = "better at all measured lengths, but not surely at the shortest"
    elif found.at == math.inf:
        reason = "not better at the longest measured length, but not surely so"
    elif _several(drawn.log_ratio) > MANY:
        reason = "draws disagree: many cross more than once"
    else:
        reason = _too_wide(drawn, found)
    return _with(found, Tipping("not_resolved" if reason else "from", reason or _cannot_run(drawn)))


def _too_wide(drawn: Draws, found: Interval) -> str:
    low, high = max(found.lo, drawn.lengths[0]), min(found.hi, drawn.lengths[-1])
    if math.isinf(found.lo) and math.isinf(found.hi):
        return "draws disagree: the interval is open at both ends"
    return "the interval spans more than fourfold" if high / low > WIDEST and not drawn.exact else ""


def _between(drawn: Draws, signs: NDArray[np.int64], first: bool) -> Tipping:
    """Better at some lengths and worse at longer ones: where that ends, and where it begins if the range shows it."""
    last = int(np.flatnonzero(signs == 1)[-1])
    mirrored = Draws(drawn.lengths, drawn.efficient, drawn.baseline, drawn.exact)
    until = up_crossing(mirrored)
    begins = up_crossing(_cut(drawn, last + 1)) if first else Interval(-math.inf, -math.inf, -math.inf)
    result = _with(begins, Tipping("between"))
    result = replace(result, until=_inside(until.at), until_lo=_inside(until.lo), until_hi=_inside(until.hi))
    wide = next((why for one in (begins, until) if (why := _wide_part(drawn, one))), "")
    return replace(result, verdict="not_resolved", reason=wide) if wide else result


def _wide_part(drawn: Draws, part: Interval) -> str:
    return "" if part.hi == -math.inf else _too_wide(drawn, part)


def _cut(drawn: Draws, count: int) -> Draws:
    return Draws(drawn.lengths[:count], drawn.baseline[:, :count], drawn.efficient[:, :count], drawn.exact)


def _with(found: Interval, tipping: Tipping) -> Tipping:
    return replace(tipping, at=_inside(found.at), lo=_inside(found.lo), hi=_inside(found.hi))


def _inside(length: float) -> float | None:
    return None if math.isinf(length) else float(length)


def _cannot_run(drawn: Draws) -> str:
    failed = drawn.lengths[np.isposinf(drawn.log_ratio[0])]
    return f"the baseline cannot run at {failed[0]:g}" if len(failed) else ""


def _sure_signs(log_ratio: Floats) -> NDArray[np.int64]:
    """Per length 1 (surely better), -1 (surely not) or 0."""
    better = (log_ratio[1:] if len(log_ratio) > 1 else log_ratio) > 0
    share = better.mean(axis=0)
    return np.where(share >= 1 - TAIL, 1, np.where(share <= TAIL, -1, 0)).astype(np.int64)


def _several(log_ratio: Floats) -> float:
    """The share of draws whose sign changes more than once over the measured lengths."""
    better = log_ratio > 0
    return float(((better[:, 1:] != better[:, :-1]).sum(axis=1) > 1).mean())


def up_crossing(drawn: Draws) -> Interval:
    """Where the efficient model becomes better for good, over all draws."""
    ratio = drawn.log_ratio
    worse = ~(ratio > 0)
    last = np.where(worse.any(axis=1), len(drawn.lengths) - 1 - np.argmax(worse[:, ::-1], axis=1), -1)
    inner = (last >= 0) & (last < len(drawn.lengths) - 1)
    at = np.where(last < 0, -np.inf, np.inf)
    lo, hi = at.copy(), at.copy()
    if inner.any():
        at[inner], lo[inner], hi[inner] = _brackets(drawn, inner, last[inner])
    rows = slice(1, None) if len(ratio) > 1 else slice(None)
    low = np.quantile(lo[rows], TAIL, method="lower")
    high = np.quantile(hi[rows], 1 - TAIL, method="higher")
    return Interval(float(at[0]), min(float(low), float(lo[0])), max(float(high), float(hi[0])))


def _brackets(drawn: Draws, rows: NDArray[np.bool_], last: NDArray[np.intp]) -> tuple[Floats, Floats, Floats]:
    """The crossings of `rows`, after measured lengths `last`: by the line, the least, the greatest."""
    left, right = drawn.lengths[last], drawn.lengths[last + 1]
    ratio, every = drawn.log_ratio[rows], np.arange(len(last))
    unknown = ~(np.isfinite(ratio[every, last]) & np.isfinite(ratio[every, last + 1]))
    at, least, greatest = np.empty((3, len(last)))
    ways = _Ways.of(drawn)
    for bracket in np.unique(last):
        these = last == bracket
        found = [_last_upward(inside) for inside in ways.interpolations(np.flatnonzero(rows)[these], int(bracket))]
        at[these], least[these], greatest[these] = found[0], np.min(found, axis=0), np.max(found, axis=0)
    at, least, greatest = (left * (right / left) ** part for part in (at, least, greatest))
    blind = unknown | drawn.exact
    return np.where(unknown, right, at), np.where(blind, left, least), np.where(blind, right, greatest)


def _last_upward(inside: Floats) -> Floats:
    """Where, as a share of the window, a row turns positive for the last time; it begins below and ends above zero."""
    below = ~(inside[:, :-1] > 0)
    below[:, 0] = True
    place = STEPS - 1 - np.argmax(below[:, ::-1], axis=1)
    rows = np.arange(len(inside))
    before, after = inside[rows, place], inside[rows, place + 1]
    with np.errstate(divide="ignore", invalid="ignore"):
        part = np.where(after > before, -before / (after - before), 1.0)
    found: Floats = (place + np.clip(part, 0, 1)) / STEPS
    return found


@dataclass(frozen=True)
class _Ways:
    """Log costs and the ways to interpolate them on a fine grid, STEPS places to a bracket.

    smooth: matrices from lengths to the grid, the line first. flat: up to where either curve looks padded; 0: nowhere.
    """

    lengths: Floats
    baseline: Floats
    efficient: Floats
    smooth: Sequence[Floats]
    flat: tuple[float, float]

    @classmethod
    def of(cls, drawn: Draws) -> _Ways:
        finite = np.isfinite(drawn.log_ratio[0])
        baseline, efficient = (np.where(finite, one, 0.0) for one in (drawn.baseline, drawn.efficient))
        line, *parabolas = _operators(np.log(drawn.lengths), finite)
        flat = [padding(drawn.lengths[finite], one[:, finite]) for one in (drawn.baseline, drawn.efficient)]
        return cls(drawn.lengths, baseline, efficient, _beyond(line, parabolas), (flat[0], flat[1]))

    def interpolations(self, rows: NDArray[np.intp], bracket: int) -> list[Floats]:
        """The log ratio (rows, STEPS + 1) within one bracket in every possible way; the line first."""
        baseline, efficient = self.baseline[rows], self.efficient[rows]
        ratio = baseline - efficient
        window = slice(bracket * STEPS, (bracket + 1) * STEPS + 1)
        found = [ratio @ one[window].T for one in self.smooth]
        if any(self.flat):
            for way, smooth in product((1, -1), self.smooth):
                stepped = (
                    _stepped(values, self.lengths, self.smooth[0], upto, way * sign, bracket)
                    if upto
                    else values @ smooth[window].T
                    for values, upto, sign in ((baseline, self.flat[0], 1), (efficient, self.flat[1], -1))
                )
                found.append(next(stepped) - next(stepped))
        return found


def _beyond(line: Floats, parabolas: Sequence[Floats]) -> list[Floats]:
    """The line, and as far beyond each parabola as we take for possible."""
    return [line, *(line + BEYOND * (one - line) for one in parabolas)]


def _operators(logs: Floats, usable: NDArray[np.bool_]) -> tuple[Floats, Floats, Floats]:
    """Matrices from lengths to the fine grid: the line, the parabolas with the left and the right neighbour.

    Where there is no such neighbour the parabola is the line.
    """
    count = len(logs)
    shape = ((count - 1) * STEPS + 1, count)
    result = (np.zeros(shape), np.zeros(shape), np.zeros(shape))
    for i in range(count - 1):
        rows = slice(i * STEPS, (i + 1) * STEPS + 1)
        places = logs[i] + (logs[i + 1] - logs[i]) * np.arange(STEPS + 1) / STEPS
        for matrix, third in zip(result, (-1, i - 1, i + 2), strict=True):
            nodes = sorted({i, i + 1, *([third] if 0 <= third < count and usable[third] else [])})
            matrix[rows] = 0.0
            for node in nodes:
                others = [logs[k] for k in nodes if k != node]
                matrix[rows, node] = np.prod([(places - o) / (logs[node] - o) for o in others], axis=0)
    return result


def padding(lengths: Floats, logs: Floats, share: float = PADDED) -> float:
    """The length up to which a padded curve is flat, from draws (rows) of log costs; 0 if it does not look padded.

    Of a + b n + c n^2 with non-negative coefficients, a rise over one bracket is to the one before at most as of n^2. A
    curve that rises more sharply, in a `share` of the draws, computes whole windows, of at least the length up to
    which it was flat and at most the next measured one (we take WITHIN), or is bound by something else from there on.
    """
    costs = np.exp(logs - logs[0].max())
    rises, most = np.diff(costs, axis=1), np.diff(lengths**2)
    sharp = rises[:, 1:] * most[:-1] > rises[:, :-1] * most[1:] * (1 + ROUNDING) + ROUNDING * costs[:, 1:-1] * most[:-1]
    bends = np.flatnonzero(sharp.mean(axis=0) > share)
    return float(lengths[bends[-1] + 1]) if len(bends) else 0.0


def _stepped(values: Floats, lengths: Floats, line: Floats, flat: float, way: int, bracket: int) -> Floats:
    """Values on the fine grid of a bracket, as if the cost at n were that a window longer (way 1) or shorter (-1).

    It stays within the measured values on both sides of n, and below `flat` the curve is as it was measured.
    """
    window = slice(bracket * STEPS, (bracket + 1) * STEPS + 1)
    plain = values @ line[window].T
    logs = np.interp(np.arange(len(line)) / STEPS, np.arange(len(lengths)), np.log(lengths))
    inside = np.exp(logs[window])
    moved = np.clip(inside + way * WITHIN * flat, lengths[0], lengths[-1])
    place = np.interp(np.log(moved), logs, np.arange(len(logs)))
    whole = np.minimum(place.astype(np.int64), len(logs) - 2)
    before, after = values @ line[whole].T, values @ line[whole + 1].T
    found = before + (after - before) * (place - whole)
    left = np.minimum(np.arange(window.start, window.stop) // STEPS, len(lengths) - 2)
    ends = values[:, left], values[:, left + 1]
    found = np.clip(found, np.minimum(*ends), np.maximum(*ends))
    return np.where(inside > flat * (1 + 1e-9), found, plain)


def _fit(drawn: Draws) -> tuple[float | None, float | None, float | None]:
    """The crossing of the fitted curves and its interval; see `polynomials`."""
    found = fitted_crossings(drawn)
    if found is None:
        return None, None, None
    draws = found[1:] if len(found) > 1 else np.array([np.inf])
    low = float(np.quantile(draws, TAIL, method="lower"))
    high = float(np.quantile(draws, 1 - TAIL, method="higher"))
    return _inside(float(found[0])), _inside(low), _inside(high)
