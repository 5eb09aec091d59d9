"""Draws of many curves at once, so that any two of them, and sums of them, can be compared.

As `resample.draw`, for more than two: where curves took turns within the rounds of a length, the mean of a round over
these curves and each one's distance from it are drawn with the same weights, so that drift of the machine, which hits
all alike, cancels in every difference.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .resample import Floats, scale, scatter

Key = tuple[str, int]  # sweep and round; a sweep without a name has no other curve in it
Samples = Mapping[float, Mapping[Key, Sequence[float]]]  # of one curve, by length and round
Doubt = Callable[[int, float, bool], float]  # log ratio by which a curve may be off at a length; whether it took turns
Drift = Callable[[int, int, float], float]  # log ratio of machine speeds by which two curves are off at a length


@dataclass(frozen=True)
class Drawn:
    """One curve: its lengths (L,), ascending, and log costs (1 + draws, L), row 0 the estimate.

    `noisy`: the draws hold the noise; False where every length has a single sample, and nothing tells of it.
    `apart`: at some length it took no turns with any other curve.
    """

    lengths: Floats
    logs: Floats
    noisy: bool
    apart: bool


@dataclass(frozen=True)
class _Group:
    """The curves that took turns at a length: log costs by round, one curve's own, or the mean and the distances."""

    length: float
    members: tuple[int, ...]
    logs: Floats


def draw_jointly(
    curves: Sequence[Samples],
    draws: int,
    seed: int,
    doubt: Doubt | None = None,
    drift: Drift | None = None,
    exact: bool = False,
) -> list[Drawn]:
    """`draws` draws of each curve. `exact`: costs have no noise, and all rows are the same.

    `doubt` is beyond what the rounds tell, and a draw moves all lengths of a curve by it alike, so that sums do not
    average it out. Curves that took turns share the doubt of the first of them, and differ by the rest.

    A length of a single sample has no known noise and is left out, unless the curve has no others.
    """
    noisy = [not exact and any(len(_rounds(by)) > 1 for by in curve.values()) for curve in curves]
    lengths = sorted({length for curve in curves for length in curve})
    groups = [g for length in lengths for g in _groups(curves, length) if len(g.logs) > 1 or not noisy[g.members[0]]]
    found: list[dict[float, Floats]] = [{} for _ in curves]
    typical = _typical(groups)
    leaders: dict[float, int] = {}
    chance = np.random.default_rng([seed, len(curves)]).standard_normal((len(curves), draws))
    for number, group in enumerate(groups):
        length, first = group.length, group.members[0]
        drawn = np.repeat(np.median(group.logs, axis=0)[None], draws + 1, axis=0)
        if noisy[first]:
            drawn += scatter(group.logs, typical[group.members], draws, np.random.default_rng([seed, number]))
        for column, member in enumerate(group.members, 1):
            found[member][length] = drawn[:, 0] + (drawn[:, column] if len(group.members) > 1 else 0.0)
        if not exact:
            turns = len(group.members) > 1
            doubts = [doubt(member, length, turns) if doubt else 0.0 for member in group.members]
            leader = leaders.setdefault(length, first)
            level = math.hypot(doubts[0], drift(leader, first, length) if drift and leader != first else 0.0)
            for one, member in zip(doubts, group.members, strict=True):
                found[member][length][1:] += level * chance[first] + (one - doubts[0]) * chance[member]
    alone = {group.members[0] for group in groups if len(group.members) == 1}
    return [_drawn(one, draws, noisy[k], k in alone) for k, one in enumerate(found)]


def _drawn(by_length: Mapping[float, Floats], draws: int, noisy: bool, apart: bool) -> Drawn:
    logs = np.stack([*by_length.values()], axis=1) if by_length else np.empty((draws + 1, 0))
    return Drawn(np.array([*by_length], dtype=np.float64), logs, noisy, apart)


def _groups(curves: Sequence[Samples], length: float) -> Iterator[_Group]:
    """Curves with two rounds or more in common belong together; who has none stands alone."""
    left = [k for k, curve in enumerate(curves) if length in curve]
    while left:
        first, *others = left
        members, common = [first], _named(curves[first][length])
        for other in others:
            both = common & _named(curves[other][length])
            if len(both) > 1:
                members, common = [*members, other], both
        left = [k for k in left if k not in members]
        if len(members) == 1:
            yield _Group(length, (first,), _logs(_rounds(curves[first][length])))
            continue
        own = np.hstack([_logs([curves[k][length][key] for key in sorted(common)]) for k in members])
        level = own.mean(axis=1, keepdims=True)
        yield _Group(length, tuple(members), np.hstack([level, own - level]))


def _named(by: Mapping[Key, Sequence[float]]) -> set[Key]:
    return {key for key in by if key[0]}


def _rounds(by: Mapping[Key, Sequence[float]]) -> list[Sequence[float]]:
    """Samples of one round are rounds of their own, since nothing else tells of noise."""
    return [[sample] for samples in by.values() for sample in samples] if len(by) == 1 else list(by.values())


def _logs(rounds: Sequence[Sequence[float]]) -> Floats:
    logs: Floats = np.log([statistics.median(samples) for samples in rounds])[:, None]
    return logs


def _typical(groups: Sequence[_Group]) -> dict[tuple[int, ...], Floats]:
    """The scatter of a round that is typical over the lengths, for the same curves side by side."""
    scales: dict[tuple[int, ...], list[Floats]] = {}
    for group in groups:
        scales.setdefault(group.members, []).append(scale(group.logs))
    return {members: np.median(found, axis=0) for members, found in scales.items()}
