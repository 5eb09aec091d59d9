"""About how long a point takes and how large its file is: for the plan that is shown before a sweep, for nothing else.

FLOPs by formula over what a matrix product reaches here, and the fixed costs of a point as measured on two cores.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from tracekit.points import Identity

from .models.entry import ModelEntry

FIRST_START_S = 8.0  # the server that holds torch and transformers
_START_S = 2.0  # two processes, profiler and export
_BUILD_S_PER_MFLOAT = 0.025  # random weights, twice
_TIMED_STEPS = 3 + 12  # warm-up, samples
_PROFILED_STEPS = 1 + 1 + 3  # first step, profiler's warm-up, profiled
_LONGEST_TIMING_S = 20.0
_EFFICIENCY = 0.5  # of a bare matrix product that a transformer's forward reaches
_TRACE_BYTES_PER_LAYER = 15_000
_LAYERS, _PARAMETERS = 12, 90e6  # of a model that does not say
_FLOPS_OF_MODE = {"inference": 1.0, "training": 3.5, "decode": 1.0}  # backward is twice the forward, and the optimizer
_EAGER_FACTOR = 2.5  # models without a fused attention record that much more


def flops_per_second(threads: int) -> float:
    """What a forward reaches on `threads` cores here, roughly, from a small matrix product on one or all of them."""
    a = np.ones((768, 768), dtype=np.float32)
    best = float("inf")
    for _ in range(8):  # the best of them, as others may be at work
        begin, cpu = time.perf_counter(), time.process_time()
        a @ a
        wall = time.perf_counter() - begin
        used = max(1.0, (time.process_time() - cpu) / wall)  # cores that numpy's BLAS took
        best = min(best, wall * used)
    return _EFFICIENCY * 2 * 768**3 / best * min(threads, os.cpu_count() or 1)


def seconds(entry: ModelEntry, identity: Identity, rate: float) -> float:
    """About how long a point takes, both its processes, at `rate` FLOP/s; of a model of unknown cost: at least."""
    flops = entry.flops(identity.preset, identity.length, identity.overrides) or 0.0
    step = flops * _FLOPS_OF_MODE[identity.mode] * identity.batch / rate
    timing = min(_TIMED_STEPS * step, _LONGEST_TIMING_S + 3 * step)
    return _START_S + _BUILD_S_PER_MFLOAT * _parameters(entry, identity) / 1e6 + timing + _PROFILED_STEPS * step


def disk_bytes(entry: ModelEntry, identity: Identity) -> int:
    """About how large a point's file is: it grows with the number of operators, not with the length."""
    layers = _size(_settings(entry, identity), "num_hidden_layers", _LAYERS)
    factor = _EAGER_FACTOR if "sdpa" not in entry.attention else 1.0
    return 10_000 + int(layers * _TRACE_BYTES_PER_LAYER * factor)


def _settings(entry: ModelEntry, identity: Identity) -> dict[str, Any]:
    return entry.settings(identity.preset, identity.length, identity.overrides)


def _size(settings: Mapping[str, Any], name: str, otherwise: int) -> int:
    """A setting where it is a whole number; a stranger's config may hold a list, or nothing."""
    value = settings.get(name)
    return value if isinstance(value, int) and value > 0 else otherwise


def _parameters(entry: ModelEntry, identity: Identity) -> float:
    settings = _settings(entry, identity)
    hidden = _size(settings, "hidden_size", 0)
    if not hidden:
        return _PARAMETERS
    ffn = _size(settings, "intermediate_size", 4 * hidden)
    vocabulary = 30_000
    return (
        float(_size(settings, "num_hidden_layers", _LAYERS)) * (4 * hidden**2 + 2 * hidden * ffn) + vocabulary * hidden
    )
