"""Device work: several devices and streams, launches that are missing, shared or too late, times that cannot be."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from tests import oracle
from tests.oracle import Event

from .base import BASE, GPU, GPU_TRUTH, Events, changed, each, inserted, with_device_work
from .case import HTA, KINETO, TORCH, Case, of_events
from .text import Raw

_KERNELS = [i for i, e in enumerate(GPU) if e.get("cat") == "kernel"]


def cases() -> Iterator[Case]:
    yield of_events(
        "gpu_2x2",
        with_device_work(BASE, stream=lambda n: 7 + n % 2, device=lambda n: n // 2 % 2),
        "2 GPUs x 2 streams: busy is a union per device, not a sum",
    )
    yield from _launches()
    yield from _times()
    yield from _not_work()


def _kernels(change: Callable[[int, Event], dict[str, Any]], events: Events = GPU) -> Events:
    """With more arguments for every kernel."""
    return each(events, "kernel", lambda n, e: {**e, "args": {**e["args"], **change(n, e)}})


def _launches() -> Iterator[Case]:
    yield of_events(
        "corr_zero",
        with_device_work(BASE, correlation=lambda n: 0),
        "all correlation 0: unlinked, not all linked to one launch",
        warn=True,
        link=KINETO + "pull/1001",
    )
    shared = with_device_work(BASE, correlation=lambda n: 1001 + n // 2)
    yield of_events(
        "corr_duplicate",
        shared,
        "each id on two launches and two kernels: link in order or not at all, never a cross product",
        {**oracle.facts(shared), "n_linked": None, "gpu_linked_ns": None},
        warn=True,
        link=KINETO + "pull/1567",
        invariants=("self_nonneg", "self_sum_eq_busy", "linked_le_gpu_sum"),
    )
    yield of_events(
        "corr_2_53",
        with_device_work(BASE, correlation=lambda n: 2**53 + n),
        "ids 2^53 and 2^53+1 are different ids",
        link=HTA + "pull/324",
    )
    ids = (2**63, 2**64 + 5, 10**30)
    yield of_events(
        "ids_over_64_bit",
        _kernels(lambda n, e: {"Comms Id": Raw(ids[n % 3])}),
        "Comms Id > int64/uint64",
        link=HTA + "pull/324",
    )
    graph = _kernels(lambda n, e: {"correlation": 1001, "graph id": 5, "graph node id": n})
    yield of_events(
        "cuda_graph",
        each(graph, "cuda_runtime", lambda n, e: {**e, "name": "cudaGraphLaunch"}),
        "one launch, many kernels: each kernel counted once",
        GPU_TRUTH,
    )
    yield of_events(
        "gpu_only",
        [e for e in GPU if e.get("cat") == "kernel" or e["ph"] == "M"],
        "kernels but no CPU ops (activities=[CUDA])",
        warn=None,
    )
    yield of_events(
        "no_runtime",
        [e for e in GPU if e.get("cat") not in ("cuda_runtime", "ac2g")],
        "kernels without launches",
        warn=True,
        link=HTA + "issues/16",
    )


def _times() -> Iterator[Case]:
    yield of_events(
        "kernel_before_launch",
        [{**e, "ts": e["ts"] - 50000} if e.get("cat") in ("kernel", "ac2g") and e["ph"] in "Xf" else e for e in GPU],
        "GPU clock 50 us behind: negative launch delay is reported, not clamped away",
        warn=True,
        link=TORCH + "issues/192021",
    )
    yield of_events(
        "kernel_ts_zero",
        changed(GPU, _KERNELS[0], ts=0, dur=0),
        "kernel with ts 0 dur 0: the wall time must not become 53 days",
        warn=True,
        link=KINETO + "issues/109",
    )
    at, after = _KERNELS[3:5]
    yield of_events(
        "gpu_dur_overflow",
        changed(GPU, at, dur=1600000000),
        "ROCm: one kernel 'runs' 1.6 s across its successors on the same stream; sum and busy explode unless clipped "
        "or at least said",
        warn=True,
        or_truth=oracle.facts(changed(GPU, at, dur=GPU[after]["ts"] - GPU[at]["ts"])),
        link="https://github.com/AMD-AGI/TraceLens/issues/669",
    )


def _not_work() -> Iterator[Case]:
    first, last = (GPU[i] for i in (_KERNELS[0], _KERNELS[-1]))
    begin, end = first["ts"], last["ts"] + last["dur"]
    stream = {"pid": 0, "tid": 7}
    cover = {"ph": "X", "cat": "gpu_user_annotation", "name": "ProfilerStep#1", **stream}
    yield of_events(
        "gpu_annotation",
        inserted(GPU, -1, {**cover, "ts": begin - 1, "dur": end - begin + 2, "args": {}}),
        "gpu_user_annotation covers kernels: not GPU busy time",
        GPU_TRUTH,
    )
    wait = {"ph": "X", "cat": "cuda_sync", "name": "Stream Sync", **stream}
    yield of_events(
        "gpu_sync_overlap",
        inserted(GPU, -1, {**wait, "ts": begin, "dur": last["ts"] - begin, "args": {"stream": 7, "device": 0}}),
        "cuda_sync rows overlap kernels on the stream: not busy time",
        GPU_TRUTH,
    )
