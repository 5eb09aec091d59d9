"""The user's own inputs as a distribution of lengths."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tracekit.errors import UsageError

QUANTILES = (0.05, 0.5, 0.95)


@dataclass(frozen=True, eq=False)
class Dataset:
    """Distinct input lengths, ascending, and how many inputs have each.

    `unit` is what the user says a length is (None: not told), `measured` how it was found, in words. `text`: lengths of
    text, measured here. `dropped` inputs had no length, or none above zero.
    """

    name: str
    lengths: NDArray[np.float64]
    counts: NDArray[np.int64]
    measured: str = "lengths"
    unit: str | None = None
    text: bool = False
    dropped: int = 0

    @property
    def size(self) -> int:
        """How many inputs there are."""
        return int(self.counts.sum())

    @property
    def total(self) -> float:
        """The sum of all lengths."""
        return float(self.lengths @ self.counts)

    def quantile(self, share: float) -> float:
        """The smallest length that at least `share` of the inputs do not exceed."""
        reached = np.cumsum(self.counts) >= share * self.size * (1 - 1e-12)
        return float(self.lengths[np.argmax(reached)])

    def quantiles(self) -> dict[str, float]:
        """The lengths that 5%, 50% and 95% of the inputs do not exceed, and the longest."""
        return {**{f"{share:.0%}": self.quantile(share) for share in QUANTILES}, "longest": float(self.lengths[-1])}

    def share(self, low: float = -math.inf, high: float = math.inf) -> float:
        """The share of inputs with low <= length < high."""
        return float(self.counts[(self.lengths >= low) & (self.lengths < high)].sum() / self.size)

    def length_share(self, low: float = -math.inf, high: float = math.inf) -> float:
        """The share that these inputs have in the sum of all lengths."""
        inside = (self.lengths >= low) & (self.lengths < high)
        return float(self.lengths[inside] @ self.counts[inside] / self.total)

    def thinned(self, most: int) -> Dataset:
        """At most `most` distinct lengths: neighbours within bins of one ratio become their mean, so sums stay."""
        if len(self.lengths) <= most or most < 2:
            return self
        logs = np.log(self.lengths)
        parts = (logs - logs[0]) / (logs[-1] - logs[0]) * (most - 1)
        place: NDArray[np.int64] = np.minimum(parts.astype(np.int64), most - 2)
        place[-1] = most - 1  # the longest stays what it is: peak memory hangs on it
        counts = np.bincount(place, self.counts, most)
        sums = np.bincount(place, self.lengths * self.counts, most)
        full = counts > 0
        lengths = sums[full] / counts[full]
        return replace(self, lengths=lengths, counts=counts[full].astype(np.int64))

    def facts(self) -> dict[str, Any]:
        """What `--json` says of it."""
        names = ("name", "measured", "unit", "text", "dropped")
        sums = {"inputs": self.size, "distinct": len(self.lengths), "total": self.total}
        return {**{name: getattr(self, name) for name in names}, **sums, "quantiles": self.quantiles()}


def of_lengths(lengths: Iterable[float], name: str = "lengths", unit: str | None = None) -> Dataset:
    """A dataset of lengths at hand. Raises UsageError when one is not above zero, or there is none."""
    values = np.asarray(list(lengths), dtype=np.float64)
    if not len(values) or not np.isfinite(values).all() or values.min() <= 0:
        raise UsageError("lengths are numbers above zero")
    distinct, counts = np.unique(values, return_counts=True)
    return Dataset(name, distinct, counts.astype(np.int64), unit=unit)
