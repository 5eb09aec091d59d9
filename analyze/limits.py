"""The length beyond which a curve does not fit in memory: measured peaks, extrapolated to the machine's memory.

A step needs what was measured (`predict`), and on the host what the process holds beside it: libraries, and what they
allocate past torch. What other processes hold, limits of a control group and fragmentation are not known here; a point
that ended out of memory has met all of them, and so bounds the interval.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .crossing import TAIL
from .predict import predict
from .resample import Floats
from .tipping import METRICS, Series, curve_draws

_DOUBLINGS, _PLACES = 20, 16  # how far beyond the longest measured length we look, and in how many steps a doubling


@dataclass(frozen=True)
class Limit:
    """Lengths in the curve's unit; None: not known, of `hi` and `at` also where it is too far to say.

    fits_until with its 95% interval lo, hi: it ran at lo or below; at hi it ran out of memory where `observed`.
    usable_bytes: limit_bytes less what the process holds beside the step.
    """

    limit_bytes: int | None
    usable_bytes: int | None
    fits_until: float | None
    lo: float | None
    hi: float | None
    observed: bool

    def fits(self, length: float) -> bool | None:
        """Whether a length fits; None within the interval."""
        if self.lo is not None and length <= self.lo:
            return True
        return False if self.hi is not None and length >= self.hi else None


def memory_limit(series: Series, draws: int = 200, seed: int = 0) -> Limit | None:
    """Up to which length a curve fits; None where neither its memory nor a failure tells.

    With memory known at one length only, and no failure, there is nothing to extrapolate: None too.
    """
    ran = max((point.length for point in series.points if point.ok), default=0.0)
    failed = min((p.length for p in series.points if p.status == "oom" and p.length > ran), default=math.inf)
    limit = _limit_bytes(series)
    usable = None if limit is None else max(limit - _beside(series), 0)
    lengths, logs = curve_draws(series, METRICS["memory"], draws, seed)
    if usable and len(lengths) > 1:
        at, low, high = _reached(lengths, logs, math.log(usable), parameter_bytes(series), seed)
    elif failed < math.inf:
        at = math.inf
    else:
        return None
    if math.inf > failed <= at:  # more was needed than we know of: what was measured is all that is sure
        at, low, high = math.inf, ran, failed
    return Limit(limit, usable, _finite(at), _finite(max(low, ran)), _finite(min(high, failed)), failed < math.inf)


def parameter_bytes(series: Series) -> float:
    """What its parameters take at every length; the least that its points say, for a model may grow with length."""
    return float(min((p.memory.parameter_bytes for p in series.points if p.ok and p.memory), default=0))


def _finite(length: float) -> float | None:
    return length if 0 < length < math.inf else None


def _limit_bytes(series: Series) -> int | None:
    key = "memory_bytes" if series.identity.device.startswith("cpu") else "gpu_memory_bytes"
    found = [value for point in series.points if isinstance(value := point.environment.get(key), int) and value > 0]
    return min(found, default=None)


def _beside(series: Series) -> int:
    """What the process held beside the step, at the longest length that tells; nothing on a device."""
    if not series.identity.device.startswith("cpu"):
        return 0
    told = [(point.length, point.memory) for point in series.points if point.ok and point.memory]
    beside = [(length, m.resident_peak_bytes - m.bytes) for length, m in told if m.resident_peak_bytes]
    return max(0, max(beside, default=(0.0, 0))[1])


def _reached(lengths: Floats, logs: Floats, bound: float, constant: float, seed: int) -> tuple[float, float, float]:
    """Where the memory reaches `bound` (a log): by the estimate, and the 95% interval; inf: not within _DOUBLINGS."""
    places = lengths[-1] * 2.0 ** (np.arange(_DOUBLINGS * _PLACES + 1) / _PLACES)
    drawn = predict(lengths, logs, places, seed, constant).draws
    over = drawn > bound
    first = np.argmax(over, axis=1)
    rows = np.arange(len(drawn))
    before, after = drawn[rows, np.maximum(first - 1, 0)], drawn[rows, first]
    part = np.where(after > before, (bound - before) / np.where(after > before, after - before, 1.0), 1.0)
    at = places[np.maximum(first - 1, 0)] * 2.0 ** (np.clip(part, 0, 1) / _PLACES)
    at = np.where(over.any(axis=1), np.where(first == 0, places[0], at), np.inf)
    low = float(np.quantile(at[1:], TAIL, method="lower"))
    high = float(np.quantile(at[1:], 1 - TAIL, method="higher"))
    return float(at[0]), min(low, float(at[0])), max(high, float(at[0]))
