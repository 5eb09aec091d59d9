"""Latency, without profiler and without hooks; and the fixed work whose drift is the machine's.

A sample is one step: wall time, CPU time of the process, and the time its threads were runnable but waited for a core
(second field of `/proc/self/task/*/schedstat`), which tells a busy machine from a slow model.
"""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import torch

from tracekit.points import CALIBRATION_BYTES, CALIBRATION_SIDE, Calibration, Sample

from . import device

Step = Callable[[], object]
# How often the fixed work is done in a row, at each end of a turn. Where cores are shared out in slices of a few ms,
# a shorter run falls into one slice or between two, and says nothing of the machine that a model's step meets. How much
# the rounds still scatter over it is printed by benchmarks/compare.py.
_PRODUCTS, _COPIES = 16, 4
_TURN_S = 0.2  # quick models are sampled for this long in one turn, so that a turn is more than its beginning


def run_delay_ns() -> int | None:
    """Nanoseconds that this process's live threads have waited for a core since they began; None where unknown."""
    total = 0
    try:
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread may end while we look
                total += int((task / "schedstat").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return total


def timed(step: Step, where: str, sweep: str = "", number: int = 0) -> Sample:
    """One sample of `step` on device `where`, in the round `number` of `sweep`."""
    device.synchronize(where)
    delay = run_delay_ns()
    unix = time.time()
    cpu = time.process_time_ns()
    wall = time.perf_counter_ns()
    step()
    device.synchronize(where)
    wall = time.perf_counter_ns() - wall
    cpu = time.process_time_ns() - cpu
    after = run_delay_ns()
    waited = None if delay is None or after is None else max(0, after - delay)
    return Sample(wall_ns=wall, cpu_ns=cpu, run_delay_ns=waited, sweep=sweep, round=number, unix_s=unix)


def turn(step: Step, where: str, sweep: str, number: int, most: int) -> list[Sample]:
    """The samples of one model's turn in a round: one, and more of a quick model, `most` at most.

    Since other models had their turns, caches are cold and threads asleep: the first step is not measured unless it is
    so long that this does not matter.
    """
    with _no_garbage_collection():
        first = timed(step, where, sweep, number)
        if first.wall_ns > _TURN_S * 1e9:
            return [first]
        begun = time.monotonic()
        samples = [timed(step, where, sweep, number)]
        while len(samples) < most and time.monotonic() - begun < _TURN_S:
            samples.append(timed(step, where, sweep, number))
        return samples


@contextlib.contextmanager
def _no_garbage_collection() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Calibrator:
    """The fixed work: matrix products and copies on the device, a series of each timed once a round."""

    def __init__(self, where: str) -> None:
        self._where = where
        self._a = torch.ones(CALIBRATION_SIDE, CALIBRATION_SIDE, device=where)
        self._from = torch.ones(CALIBRATION_BYTES // 4, device=where)
        self._to = torch.empty_like(self._from)
        self.measure(-1)  # first touches of memory and kernels are not the machine's drift

    def measure(self, number: int) -> Calibration:
        """Time a series of both, in ns of wall time of one."""
        matmul = timed(lambda: [torch.mm(self._a, self._a) for _ in range(_PRODUCTS)], self._where)
        copy = timed(lambda: [self._to.copy_(self._from) for _ in range(_COPIES)], self._where)
        return Calibration(
            round=number,
            unix_s=matmul.unix_s,
            matmul_ns=matmul.wall_ns // _PRODUCTS,
            copy_ns=copy.wall_ns // _COPIES,
            series=_PRODUCTS,
        )


def around(before: Calibration, after: Calibration) -> Calibration:
    """What the fixed work took at both ends of a turn, as one: the mean."""
    return msgspec.structs.replace(
        before,
        matmul_ns=(before.matmul_ns + after.matmul_ns) // 2,
        copy_ns=(before.copy_ns + after.copy_ns) // 2,
        series=before.series + after.series,
    )
