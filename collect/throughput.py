"""The batch size with the most inputs a second: doubled until nothing is gained, or time or memory says stop.

The search runs in the collector, each trial in a worker, so that a batch that does not fit ends the search and no more.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

from tracekit.points import Trial

TRIAL_SAMPLES = 3
_LONGEST_STEP_S = 20.0
_GAIN = 1.03  # two doublings that gain less than this together end the search
_MOST_BATCH = 1 << 16


def search(first: int, trial: Callable[[int], Trial | None]) -> tuple[list[Trial], str]:
    """The trials of batches `first`, 2 `first`, ..., and why there are no more: memory, time, no gain, size.

    `trial` gives None where a batch does not fit.
    """
    trials: list[Trial] = []
    batch = first
    while batch <= _MOST_BATCH:
        made = trial(batch)
        if made is None:
            return trials, "memory"
        trials.append(made)
        if _gained_nothing(trials):
            return trials, "no gain"
        if _seconds(made) * 2 > _LONGEST_STEP_S:
            return trials, "time"
        batch *= 2
    return trials, "size"


def _seconds(trial: Trial) -> float:
    return statistics.median(trial.samples_ns) / 1e9


def _rate(trial: Trial) -> float:
    return trial.batch / _seconds(trial)


def _gained_nothing(trials: list[Trial]) -> bool:
    return len(trials) >= 3 and max(_rate(trials[-1]), _rate(trials[-2])) < _rate(trials[-3]) * _GAIN
