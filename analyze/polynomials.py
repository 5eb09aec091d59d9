"""A parametric second opinion on a crossing: a + b n + c n^2 for the baseline against a + b n for the efficient model.

Coefficients are non-negative (work, not savings) and fitted in relative error. With at most three columns, non-negative
least squares is done by trying every set of columns (Lawson & Hanson 1974, chapter 23: the optimum is the plain
least-squares solution on its own support), for all draws at once.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from .resample import Draws, Floats

LEAST_LENGTHS = 4  # one more than the baseline has coefficients


def nonnegative_fits(lengths: Floats, costs: Floats, degree: int) -> Floats:
    """Coefficients (rows of `costs`, degree + 1), constant first, that are least in squared relative error and >= 0."""
    columns = lengths[:, None] ** np.arange(degree + 1)
    design = columns[None] / costs[:, :, None]  # relative: the target is one everywhere
    best = np.zeros((len(costs), degree + 1))
    least = np.full(len(costs), np.inf)
    for size in range(1, degree + 2):
        for chosen in combinations(range(degree + 1), size):
            part = design[:, :, chosen]
            normal = np.swapaxes(part, 1, 2) @ part
            # draws of two rounds may differ so much between lengths that one of them alone decides: no plain inverse
            solved = (np.linalg.pinv(normal, hermitian=True) @ part.sum(axis=1)[:, :, None])[:, :, 0]
            error = ((part @ solved[:, :, None])[:, :, 0] - 1) ** 2
            better = (solved >= 0).all(axis=1) & (error.sum(axis=1) < least)
            least[better] = error.sum(axis=1)[better]
            best[better] = 0.0
            best[np.ix_(better, chosen)] = solved[better]
    return best


def fitted_crossings(draws: Draws) -> Floats | None:
    """Per draw, the length from which the fitted efficient curve is the lower one for good.

    -inf where it is so from zero on, +inf where it never is; outside the measured range it is an extrapolation. None
    with fewer than LEAST_LENGTHS lengths at which both can run.
    """
    finite = np.isfinite(draws.log_ratio[0])
    if finite.sum() < LEAST_LENGTHS:
        return None
    scale = draws.lengths[finite].max()
    lengths = draws.lengths[finite] / scale
    unit = draws.baseline[0, finite].max()  # keeps exp() near one
    baseline = nonnegative_fits(lengths, np.exp(draws.baseline[:, finite] - unit), 2)
    efficient = nonnegative_fits(lengths, np.exp(draws.efficient[:, finite] - unit), 1)
    constant, linear = (baseline[:, :2] - efficient).T
    found: Floats = scale * _last_root(constant, linear, baseline[:, 2])
    return found


def _last_root(constant: Floats, linear: Floats, square: Floats) -> Floats:
    """The largest n > 0 at which constant + linear n + square n^2 (square >= 0) turns positive."""
    curved: NDArray[np.bool_] = square > 1e-9 * (np.abs(linear) + np.abs(constant))
    with np.errstate(divide="ignore", invalid="ignore"):
        below = linear**2 - 4 * square * constant
        root = np.where(below < 0, -np.inf, (-linear + np.sqrt(np.maximum(below, 0))) / (2 * square))
        straight = np.where(linear > 0, -constant / linear, np.where((linear == 0) & (constant > 0), -np.inf, np.inf))
    found = np.where(curved, root, straight)
    return np.where(found <= 0, -np.inf, found)
