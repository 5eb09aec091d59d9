"""The contract between collect and analyze: what a trace file says of itself.

One point is one model at one length (and batch, mode, attention, dtype, device), and one file that says everything
about itself: a Chrome trace whose *first* top-level key is `"tracekit"`, holding the JSON of a `Point`. There is no
manifest; the folder is the manifest. A point that failed leaves `<same stem>.failed.json` with the same identity.

Times are integer nanoseconds, sizes bytes, `length` is in `length_unit`, `tokens` is what attention sees.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Annotated, Any, cast

import msgspec

from tracekit.errors import TraceError
from tracekit.safety import safe_filename, sanitize

SCHEMA = 1
UNKNOWN = "unknown"  # a setting of a trace that somebody else collected
TRACE_SUFFIX = ".pt.trace.json.gz"
FAILED_SUFFIX = ".failed.json"
# The fixed work of `Calibration`, part of this contract: the product of two square float32 matrices of this side, and a
# copy of this many bytes.
CALIBRATION_SIDE = 512
CALIBRATION_BYTES = 16 << 20
_HEADER_KEY = re.compile(rb'\s*\{\s*"tracekit"\s*:\s*')
_HEADER_LIMIT = 16 << 20  # bytes of inflated text read in search of the header's end
_SNIFF_BYTES = 256 << 10

# Numbers of a header that tables can hold: a stranger's may be any.
Whole = Annotated[int, msgspec.Meta(ge=-(1 << 62), le=1 << 62)]
Positive = Annotated[int, msgspec.Meta(ge=1, le=1 << 62)]


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that makes a point this point and no other. Two files with equal identities are repeats."""

    model: str  # the user's label for it; the registered name unless two variants of one model are told apart
    length: float
    length_unit: str = "tokens"
    architecture: str = ""
    batch: Positive = 1
    mode: str = "inference"
    attention: str = "default"
    dtype: str = "float32"
    device: str = "cpu"
    preset: str = "base"
    overrides: dict[str, Any] = {}
    annotate: str = "components"
    compile: str = "none"
    checkpointing: bool = False
    optimizer: str = ""  # in training
    pretrained: bool = False
    trust_remote_code: bool = False
    isolation: str = "process"  # or none: measured in the collector, among the traces of other points
    threads: Whole = 0
    machine: str = ""

    def digest(self) -> str:
        """Eight hex digits over the whole identity, stable over processes and key order."""
        text = json.dumps(msgspec.to_builtins(self), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:8]

    def path(self, root: Path, suffix: str = TRACE_SUFFIX) -> Path:
        """Where the file of this point lives below `root`."""
        group = safe_filename(f"{self.mode}-{self.attention}-{self.dtype}-{self.device}")
        return root / safe_filename(self.model) / group / f"b{self.batch}-n{self.length:g}-{self.digest()}{suffix}"

    def series(self) -> Identity:
        """The identity without its length: points of one curve share it."""
        return msgspec.structs.replace(self, length=0.0)


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One unprofiled latency measurement of one step. `run_delay_ns`: time spent runnable but waiting for a core."""

    wall_ns: Whole
    cpu_ns: Whole | None
    run_delay_ns: Whole | None = None
    sweep: str = ""
    round: Whole = 0
    unix_s: float = 0.0


class Calibration(msgspec.Struct, frozen=True, kw_only=True):
    """The fixed work timed once a round: its drift is the machine's, not the model's. Its sizes: `CALIBRATION_*`.

    Both times are of one product and one copy, means of series of them; `series`: of how many products.
    """

    round: Whole
    unix_s: float
    matmul_ns: Whole
    copy_ns: Whole
    series: Whole = 1


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One batch size of the throughput search; `samples_ns` are wall times of one step of `batch` inputs each."""

    batch: Positive
    samples_ns: list[Whole]


class PeakMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Peak memory of one step. `bytes` includes parameters and inputs; `method` says how it was measured."""

    bytes: Whole
    method: str
    parameter_bytes: Whole = 0
    input_bytes: Whole = 0
    held_bytes: Whole = 0  # what a step keeps for the next: optimizer state, a cache
    resident_peak_bytes: Whole | None = None


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """How the trace was taken. `wall_ns` covers the profiled steps and is never a latency."""

    steps: Whole
    warmup: Whole
    wall_ns: Whole
    record_shapes: bool = True
    profile_memory: bool = True
    with_stack: bool = False
    exporter: str = "native"


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One measured configuration; see the module's docstring. `status`: ok, oom, error, timeout or killed."""

    identity: Identity
    schema: Whole = SCHEMA
    status: str = "ok"
    reason: str = ""
    family: str = ""
    modality: str = "text"
    baseline: str | None = None
    model_class: str = ""
    parameters: Whole = 0
    config: dict[str, Any] = {}
    source: str = ""
    tokens: Whole | None = None
    seed: Whole = 0
    notes: list[str] = []  # what a reader must know to take the numbers for what they are
    first_step_s: float | None = None  # with torch.compile, mostly the compiler's time
    samples: list[Sample] = []
    first_token: list[Sample] = []  # in decode mode, where `samples` are of one token: the time to the first
    calibration: list[Calibration] = []
    throughput: list[Trial] = []
    throughput_ended: str = ""  # why no larger batch was tried: memory, time, no gain, size
    memory: PeakMemory | None = None
    profile: Profile | None = None
    environment: dict[str, Any] = {}
    versions: dict[str, str] = {}
    command: list[str] = []
    created_unix_s: float = 0.0

    @property
    def model(self) -> str:
        """The label of its model."""
        return self.identity.model

    @property
    def length(self) -> float:
        """The input length, in `identity.length_unit`."""
        return self.identity.length

    @property
    def ok(self) -> bool:
        """Whether the point finished."""
        return self.status == "ok"


def encode(point: Point) -> bytes:
    """The point as one line of JSON (no line break can stand inside it)."""
    return msgspec.json.encode(point)


def decode(data: bytes) -> Point:
    """The point in `data`; unknown keys are ignored, older schemas get defaults.

    Raises TraceError when a known field has the wrong type.
    """
    try:
        return msgspec.json.decode(data, type=Point)
    except RecursionError:
        raise TraceError("the tracekit header is damaged: nested too deeply") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise TraceError(f"the tracekit header is damaged: {sanitize(error)}") from None


def header(point: Point) -> bytes:
    """The first line of a point's trace file: the opening brace, our key, and the comma before the profiler's keys."""
    return b'{"tracekit": ' + encode(point) + b",\n"


def open_text(path: Path) -> IO[bytes]:
    """Open a plain or gzipped file for reading bytes; the magic number decides, not the suffix."""
    with path.open("rb") as file:
        magic = file.read(2)
    return cast("IO[bytes]", gzip.open(path)) if magic == b"\x1f\x8b" else path.open("rb")


def read_point(path: Path) -> Point | None:
    """The point that `path` says it is, read from its first few KB; None when it is not one of our files.

    Raises TraceError when the file claims to be ours and its header is damaged, OSError when it cannot be opened.
    """
    try:
        with open_text(path) as file:
            data = file.read(64 << 10)
            match = _HEADER_KEY.match(data)
            if not match:
                return None
            while True:
                point = _header_value(data[match.end() :])
                if point is not None:
                    return decode(point)
                more = file.read(len(data))
                if not more or len(data) > _HEADER_LIMIT:
                    raise TraceError(f"{sanitize(path)}: the tracekit header does not end")
                data += more
    except (EOFError, gzip.BadGzipFile, gzip.zlib.error):  # type: ignore[attr-defined]
        return None


def _header_value(data: bytes) -> bytes | None:
    """The JSON object that `data` begins with, or None while it is incomplete."""
    text = data.decode("utf-8", "ignore")
    try:
        _, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return text[:end].encode()


def looks_like_trace(path: Path) -> bool:
    """Whether the first few hundred KB of a file hold what only profiler traces hold."""
    try:
        with open_text(path) as file:
            data = file.read(_SNIFF_BYTES)
    except (OSError, EOFError, gzip.zlib.error):  # type: ignore[attr-defined]
        return False
    return b'"traceEvents"' in data or (b'"ph"' in data and b'"ts"' in data)


def find_files(folder: Path) -> Iterator[Path]:
    """Every `.json`, `.json.gz` below `folder` that is not hidden or half-written, in a stable order."""
    for path in sorted(folder.rglob("*.json*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name.endswith((".json", ".json.gz")) and not hidden and path.is_file():
            yield path


def read_failed(path: Path) -> Point:
    """The point in a `.failed.json` file. Raises TraceError when it is damaged."""
    try:
        with path.open("rb") as file:
            return decode(file.read(_HEADER_LIMIT))
    except TraceError as error:
        raise TraceError(f"{sanitize(path)}: {error}") from None
