"""The gate: which changes are too large, beyond what noise can explain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tracekit.errors import UsageError
from tracekit.safety import sanitize

from .interval import Change
from .measured import METRICS, Metric

_LIMIT = re.compile(r"(?:([a-z_]+):)?\s*(\d+(?:\.\d+)?)\s*%?")

EXCEEDED = "exceeded"  # worse by more than the limit, whatever noise there is
HELD = "held"  # not worse by more than the limit, whatever noise there is
UNCLEAR = "unclear"  # the interval holds the limit: more captures would tell
_ROUNDING = 1e-9  # a change of just the limit is within it, whatever logs make of it
SLOWER, FASTER, SAME = "worse", "better", "no change"


@dataclass(frozen=True)
class Limit:
    """By how much a metric may get worse, as a share of the base; `metric` "": the one that is compared."""

    metric: str
    share: float

    @classmethod
    def parse(cls, text: str) -> Limit:
        """From `5%` or `memory:3%`. Raises UsageError."""
        match = _LIMIT.fullmatch(text.strip())
        if match is None:
            raise UsageError(f"--fail-on {sanitize(text)}: write PERCENT or METRIC:PERCENT, as in 5% or memory:3%")
        name = match.group(1) or ""
        if name and name not in METRICS:
            raise UsageError(f"--fail-on {sanitize(text)}: no metric {sanitize(name)}; there are {', '.join(METRICS)}")
        return cls(name, float(match.group(2)) / 100)


def worse(metric: Metric, change: Change) -> tuple[float, float, float]:
    """By what share the metric got worse, with its interval: of a rate by what share it fell, else the cost rose."""
    if metric.rate:
        return 1 - 1 / change.ratio, 1 - 1 / change.lo, 1 - 1 / change.hi
    return change.ratio - 1, change.lo - 1, change.hi - 1


def direction(metric: Metric, change: Change) -> str:
    """Whether it changed beyond noise, and for the worse or the better."""
    _, low, high = worse(metric, change)
    return SLOWER if low > 0 else FASTER if high < 0 else SAME


def verdict(metric: Metric, change: Change, limit: float) -> str:
    """Whether a limit was exceeded, held, or cannot be told from noise."""
    _, low, high = worse(metric, change)
    most = limit + _ROUNDING
    return EXCEEDED if low > most else HELD if high <= most else UNCLEAR


def limit_of(metric: str, limits: Sequence[Limit], default: Sequence[str]) -> float | None:
    """The limit of a metric: its own, else the one without a name where the metric is among `default`."""
    own = [one.share for one in limits if one.metric == metric]
    unnamed = [one.share for one in limits if not one.metric] if metric in default else []
    found = own or unnamed
    return found[-1] if found else None
