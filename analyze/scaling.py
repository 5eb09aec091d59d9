"""How cost grows with length: exponents of each curve and component, predictions at any length, limits of memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tracekit.errors import UsageError
from tracekit.safety import sanitize

from . import curves
from .component_costs import component_draws
from .composition import step_costs
from .crossing import TAIL, padding
from .limits import memory_limit, parameter_bytes
from .polynomials import nonnegative_fits
from .predict import exponents, predict
from .resample import Floats
from .tipping import METRICS, Series, curve_draws, series_of

if TYPE_CHECKING:
    from .study import Study

At = Sequence[float] | Mapping[str, Sequence[float]]  # lengths for every curve, or by the unit of its length

_CURVE: dict[str, Any] = {
    name: kind for name, kind in curves.IDENTITY.items() if name not in ("length", "length_unit", "tokens")
} | {"length_unit": pl.String}
_COST: dict[str, Any] = {**_CURVE, "metric": pl.String, "component": pl.String}
SCALING: dict[str, Any] = {
    **_COST,
    "lengths": pl.Int64,
    **dict.fromkeys(("range_lo", "range_hi", "exponent", "lo", "hi"), pl.Float64),
    **dict.fromkeys(("last_exponent", "last_lo", "last_hi", "padded_to"), pl.Float64),
    **dict.fromkeys(("constant", "per_length", "per_length2"), pl.Float64),
    **dict.fromkeys(("constant_share", "linear_share", "square_share"), pl.Float64),
}
PREDICTIONS: dict[str, Any] = {
    **_COST,
    "length": pl.Float64,
    "kind": pl.String,
    **dict.fromkeys(("value", "lo", "hi"), pl.Float64),
    "fits": pl.Boolean,
}
LIMITS: dict[str, Any] = {
    **_CURVE,
    **dict.fromkeys(("limit_bytes", "usable_bytes"), pl.Int64),
    **dict.fromkeys(("fits_until", "lo", "hi"), pl.Float64),
    "observed": pl.Boolean,
}
_LEAST_FIT = 3  # lengths: as many as the polynomial has coefficients


def scaling(study: Study, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """A row per curve, metric and component (null: the whole) that is known at two lengths; see docs/tables.md."""
    rows = [
        {**cost.names, **_growth(cost.lengths, cost.logs)}
        for cost in costs(study, draws, seed)
        if len(cost.lengths) > 1
    ]
    return pl.DataFrame(rows, schema=SCALING)


def predictions(study: Study, at: At, draws: int = 1000, seed: int = 0) -> pl.DataFrame:
    """The cost of every curve and component at the lengths `at`, with its 95% interval; see docs/tables.md.

    Raises UsageError for a length that is none.
    """
    limits = {one.label: memory_limit(one, seed=seed) for one in series_of(study)}
    rows: list[dict[str, Any]] = []
    for cost in costs(study, draws, seed):
        asked = _asked(at, cost.names["length_unit"])
        found = predict(cost.lengths, cost.logs, asked, seed, cost.constant)
        limit = limits[cost.names["series"]]
        for i, length in enumerate(asked.tolist()):
            values = {"value": found.estimate[i], "lo": found.lo[i], "hi": found.hi[i]}
            known = {key: float(value) if math.isfinite(value) else None for key, value in values.items()}
            fits = limit.fits(length) if limit else None
            rows.append({**cost.names, "length": length, "kind": str(found.kind[i]), **known, "fits": fits})
    return pl.DataFrame(rows, schema=PREDICTIONS)


def memory_limits(study: Study, seed: int = 0) -> pl.DataFrame:
    """Up to which length each curve fits in memory; see `limits.memory_limit` and docs/tables.md."""
    found = ((one, memory_limit(one, seed=seed)) for one in series_of(study))
    return pl.DataFrame([{**_names(one), **asdict(limit)} for one, limit in found if limit], schema=LIMITS)


def _names(series: Series) -> dict[str, Any]:
    named = curves.identity(series.points[0], series.label)
    return {name: named[name] for name in _CURVE}


@dataclass(frozen=True)
class Cost:
    """One cost against length: `names` what it is of; lengths (L,); logs (1 + draws, L) of ns or bytes, row 0 the
    estimate; `constant` the part that is known not to grow.
    """

    names: dict[str, Any]
    lengths: Floats
    logs: Floats
    constant: float = 0.0


def costs(study: Study, draws: int, seed: int) -> Iterator[Cost]:
    """Every cost of every curve that is known at a length at least: by metric, then latency by component."""
    steps = step_costs(study.component_steps())
    for one in series_of(study):
        names = _names(one)
        for name, metric in METRICS.items():
            lengths, logs = curve_draws(one, metric, draws, seed)
            if len(lengths):
                constant = parameter_bytes(one) if name == "memory" else 0.0
                yield Cost({**names, "metric": name, "component": None}, lengths, logs, constant)
        for label, (lengths, logs) in component_draws(one, steps, draws, seed).items():
            yield Cost({**names, "metric": "latency", "component": label}, lengths, logs)


def _asked(at: At, unit: str) -> Floats:
    asked = at.get(unit, ()) if isinstance(at, Mapping) else at
    for length in asked:
        if not 0 < length < math.inf:
            raise UsageError(f"{sanitize(length)} is no length")
    return np.unique(np.array(asked, dtype=np.float64))


def _growth(lengths: Floats, logs: Floats) -> dict[str, Any]:
    """The columns of SCALING that the draws of one curve tell."""
    every, last = exponents(lengths, logs), exponents(lengths[-2:], logs[:, -2:])
    row = {"lengths": len(lengths), "range_lo": lengths[0], "range_hi": lengths[-1]}
    for names, found in ((("exponent", "lo", "hi"), every), (("last_exponent", "last_lo", "last_hi"), last)):
        low, high = np.quantile(found[1:], [TAIL, 1 - TAIL])
        row |= dict(zip(names, map(float, (found[0], min(low, found[0]), max(high, found[0]))), strict=True))
    padded = padding(lengths, logs, 1 - TAIL) if len(lengths) > 2 else 0.0
    return {**row, "padded_to": padded or None, **_terms(lengths, logs[:1])}


def _terms(lengths: Floats, logs: Floats) -> dict[str, float]:
    """The fit a + b n + c n^2 of the estimate, and each term's share of the longest length's cost."""
    if len(lengths) < _LEAST_FIT:
        return {}
    longest, unit = lengths[-1], logs.max()
    fit = nonnegative_fits(lengths / longest, np.exp(logs - unit), 2)[0]
    raw = fit * math.exp(unit) / longest ** np.arange(3)
    names = ("constant", "per_length", "per_length2", "constant_share", "linear_share", "square_share")
    return dict(zip(names, [*raw.tolist(), *(fit / fit.sum()).tolist()], strict=True))
