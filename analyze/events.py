"""The kinds of events we decode, and the columns they become.

Decoding is typed: one struct per category with only the keys somebody uses, so that no event of the fast path becomes a
dict. Times arrive in microseconds and leave as int64 nanoseconds; ids are int64 and never pass through floats.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import polars as pl
from numpy.typing import NDArray

Int64s = NDArray[np.int64]
Int32s = NDArray[np.int32]
_RAW_NONE = msgspec.Raw(b"")


class HostArgs(msgspec.Struct, frozen=True, gc=False, rename={"ev_idx": "Ev Idx", "module_id": "Python module id"}):
    """Arguments of annotations and Python frames."""

    ev_idx: int | None = None
    module_id: int | None = None


class OpArgs(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={
        "ev_idx": "Ev Idx",
        "external_id": "External id",
        "sequence": "Sequence number",
        "forward_thread": "Fwd thread id",
        "shapes": "Input Dims",
        "dtypes": "Input type",
        "concrete": "Concrete Inputs",
    },
):
    """Arguments of an operator; shapes, dtypes and values stay JSON text, few distinct ones exist in a trace."""

    ev_idx: int | None = None
    external_id: int | None = None
    sequence: int | None = None
    forward_thread: int | None = None
    shapes: msgspec.Raw = _RAW_NONE
    dtypes: msgspec.Raw = _RAW_NONE
    concrete: msgspec.Raw = _RAW_NONE


class LaunchArgs(msgspec.Struct, frozen=True, gc=False):
    """Arguments of a runtime or driver call."""

    correlation: int | None = None


class DeviceArgs(msgspec.Struct, frozen=True, gc=False, rename={"external_id": "External id", "size": "bytes"}):
    """Arguments of a kernel, memcpy or memset."""

    device: int | None = None
    stream: int | None = None
    correlation: int | None = None
    external_id: int | None = None
    size: int | None = None


class MemoryArgs(
    msgspec.Struct,
    frozen=True,
    gc=False,
    rename={
        "address": "Addr",
        "size": "Bytes",
        "device_type": "Device Type",
        "device_id": "Device Id",
        "total": "Total Allocated",
        "ev_idx": "Ev Idx",
    },
):
    """Arguments of a `[memory]` instant: `size` is negative for a free."""

    address: int = 0
    size: int = 0
    device_type: int = 0
    device_id: int = -1
    total: int | None = None
    ev_idx: int | None = None


class Event(msgspec.Struct, gc=False, kw_only=True, tag_field="cat"):
    """What every event has. `ts` is in microseconds of whatever era; see `to_ns`."""

    ts: float
    name: str = ""
    pid: int = 0
    tid: int = 0


class Span(Event, gc=False, kw_only=True):
    """A complete event; `dur` in microseconds. Other phases are refused by the decoder and read one by one."""

    ph: Literal["X"]
    dur: float


class Instant(Event, gc=False, kw_only=True):
    """A moment; the Python exporter writes it as a span of duration 0."""

    ph: Literal["i", "I", "X"] = "i"
    dur: float | None = None


class Skipped(msgspec.Struct, gc=False, kw_only=True, tag_field="cat"):
    """What nothing reads; its times are kept so that the times of a block can be counted.

    A begin or an end is refused: it may stand between two of those that are read.
    """

    ph: Literal["X", "s", "t", "f", "i", "b", "n", "e", "C"] = "X"
    ts: float
    dur: float | None = None


# Category in the file -> kind, the word of every table. A category of a new device is one more line here.
HOST_KINDS = {
    "cpu_op": "operator",
    "user_annotation": "annotation",
    "python_function": "python",
    "cuda_runtime": "runtime",  # ROCm writes its calls under the same category
    "cuda_driver": "runtime",
    "xpu_runtime": "runtime",
    "privateuse1_runtime": "runtime",
    "privateuse1_driver": "runtime",
}
DEVICE_KINDS = {"kernel": "kernel", "gpu_memcpy": "memcpy", "gpu_memset": "memset"}
MEMORY = "cpu_instant_event"
OVERLAY = "tracekit"  # what `tracekit open` added: lanes made of the rest
SKIPPED = ("ac2g", "fwdbwd", "gpu_user_annotation", "overhead", "cuda_sync", "cuda_event", OVERLAY)
KINDS = pl.Enum([*dict.fromkeys(HOST_KINDS.values()), *DEVICE_KINDS.values()])
_ARGS: dict[str, type[msgspec.Struct]] = {
    **{category: LaunchArgs if kind == "runtime" else HostArgs for category, kind in HOST_KINDS.items()},
    **dict.fromkeys(DEVICE_KINDS, DeviceArgs),
    "cpu_op": OpArgs,
    MEMORY: MemoryArgs,
}


def _struct(category: str, base: type[msgspec.Struct], args: type[msgspec.Struct] | None) -> Any:
    """One struct type for one category; a struct of exact fields is what makes decoding fast."""
    fields = [("args", args, args())] if args else []
    return msgspec.defstruct(category, fields, bases=(base,), tag=category, gc=False, kw_only=True)


STRUCTS: dict[str, Any] = {
    category: _struct(category, Instant if category == MEMORY else Span, args) for category, args in _ARGS.items()
}
# The type of any event the strict decoder accepts.
Known: Any = functools.reduce(operator.or_, [*STRUCTS.values(), *(_struct(c, Skipped, None) for c in SKIPPED)])


def category(event: Any) -> str:
    """The category that a decoded event was written under."""
    return str(event.__struct_config__.tag)


FLOAT_EXACT_US = float(1 << 43)  # below this, a double holds microseconds with three decimals to the nanosecond

_NEVER_US = float(1 << 53)  # 285 years

# Every host event has the first of these; what only one kind of event has becomes a frame of its own, joined by `row`.
# Names recur, so they are dictionary-encoded.
_HOST: dict[str, Any] = {"name": pl.Categorical, "start_ns": pl.Int64, "dur_ns": pl.Int64, "thread": pl.Int32}
HOST_SCHEMAS: dict[str, dict[str, Any]] = {
    "operator": {
        **_HOST,
        "ev_idx": pl.Int64,
        "external_id": pl.Int64,
        "sequence": pl.Int64,
        "forward_thread": pl.Int64,
        "shapes": pl.Categorical,
        "dtypes": pl.Categorical,
        "concrete": pl.Categorical,
    },
    "annotation": {**_HOST, "ev_idx": pl.Int64},
    "python": {**_HOST, "ev_idx": pl.Int64, "module_id": pl.Int64},
    "runtime": {**_HOST, "correlation": pl.Int64},
}
DEVICE_SCHEMA: dict[str, Any] = {
    "kind": KINDS,
    "name": pl.Categorical,
    "start_ns": pl.Int64,
    "dur_ns": pl.Int64,
    "device": pl.Int64,
    "stream": pl.Int64,
    "correlation": pl.Int64,
    "external_id": pl.Int64,
    "bytes": pl.Int64,
}
MEMORY_SCHEMA: dict[str, Any] = {
    "time_ns": pl.Int64,
    "pid": pl.Int64,
    "tid": pl.Int64,
    "address": pl.UInt64,
    "bytes": pl.Int64,
    "device_type": pl.Int64,
    "device_id": pl.Int64,
    "total_bytes": pl.Int64,
    "ev_idx": pl.Int64,
}


def to_ns(us: Sequence[float] | NDArray[np.float64]) -> Int64s:
    """Microseconds as doubles (|us| < 2^43, at most three decimals) to exact int64 nanoseconds.

    Whole and fraction are converted apart, before anything is added: sums of doubles misplace touching siblings. What
    no clock tells stays too large, where int64 would wrap around.
    """
    values = np.clip(np.asarray(us, dtype=np.float64), -_NEVER_US, _NEVER_US)
    whole = np.floor(values)
    return whole.astype(np.int64) * 1000 + np.rint((values - whole) * 1000).astype(np.int64)


Columns = dict[str, Any]  # values by column, lists or arrays, of one length


def host_columns(
    events: list[Any], kind: str, start: Int64s, dur: Int64s, threads: dict[tuple[int, int], int]
) -> Columns:
    """Columns of HOST_SCHEMAS of host events of one kind; `start` and `dur` in nanoseconds, aligned with `events`.

    `threads` numbers the (pid, tid) pairs, and learns new ones.
    """
    args = [e.args for e in events]
    columns = {
        "name": [e.name for e in events],
        "start_ns": start,
        "dur_ns": dur,
        "thread": _threads([e.pid for e in events], [e.tid for e in events], threads),
    }
    if kind == "runtime":
        return columns | {"correlation": [a.correlation for a in args]}
    columns["ev_idx"] = [a.ev_idx for a in args]
    if kind == "python":
        return columns | {"module_id": [a.module_id for a in args]}
    return columns | _operator_columns(events, args) if kind == "operator" else columns


def _threads(pids: list[int], tids: list[int], threads: dict[tuple[int, int], int]) -> list[int]:
    if len(set(tids)) == 1 and len(set(pids)) == 1:  # as in most blocks
        return [threads.setdefault((pids[0], tids[0]), len(threads))] * len(pids)
    return [threads.setdefault(pair, len(threads)) for pair in zip(pids, tids, strict=True)]


def _operator_columns(events: list[Any], args: list[Any]) -> Columns:
    return {
        "external_id": [a.external_id for a in args],
        "sequence": [a.sequence for a in args],
        "forward_thread": [a.forward_thread for a in args],
        "shapes": [_compact(bytes(a.shapes)) for a in args],
        "dtypes": [_compact(bytes(a.dtypes)) for a in args],
        # Only the cost of convolutions and Fourier transforms depends on values (stride, groups, dimensions).
        "concrete": [_compact(bytes(e.args.concrete)) if "conv" in e.name or "fft" in e.name else None for e in events],
    }


@functools.lru_cache(maxsize=1 << 16)
def _compact(raw: bytes) -> str | None:
    """One spelling of a JSON value however the file was laid out; few distinct ones exist in a trace."""
    try:
        return msgspec.json.format(raw, indent=-1).decode("utf-8", "replace") if raw else None
    except (RecursionError, msgspec.MsgspecError):  # nested beyond all shapes; half a block must not be taken twice
        return None


def device_columns(events: list[Any], kind: str, start: Int64s, dur: Int64s) -> Columns:
    """Columns of DEVICE_SCHEMA of device work of one kind. Where args name no device, the pid is the device."""
    args = [e.args for e in events]
    return {
        "kind": [kind] * len(events),
        "name": [e.name for e in events],
        "start_ns": start,
        "dur_ns": dur,
        "device": [e.pid if e.args.device is None else e.args.device for e in events],
        "stream": [e.tid if e.args.stream is None else e.args.stream for e in events],
        "correlation": [a.correlation for a in args],
        "external_id": [a.external_id for a in args],
        "bytes": [a.size for a in args],
    }


def memory_columns(events: list[Any], start: Int64s) -> Columns:
    """Columns of MEMORY_SCHEMA of `[memory]` instants."""
    args = [e.args for e in events]
    return {
        "time_ns": start,
        "pid": [e.pid for e in events],
        "tid": [e.tid for e in events],
        "address": [a.address for a in args],
        "bytes": [a.size for a in args],
        "device_type": [a.device_type for a in args],
        "device_id": [a.device_id for a in args],
        "total_bytes": [a.total for a in args],
        "ev_idx": [a.ev_idx for a in args],
    }


def kinds(kind: str, count: int) -> pl.Series:
    """A column that says one kind throughout."""
    return pl.Series([kind], dtype=KINDS).new_from_index(0, count)
