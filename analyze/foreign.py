"""What the user says of traces that tracekit did not collect, in a `points.toml` or by file names; and ranks.

A `points.toml` describes the files beside or below it; what follows `length` is optional, and `latency_ms` are
unprofiled times (a profiled one is never taken for a latency):

    [[point]]
    file = "bert-512.json.gz"
    model = "bert"
    length = 512
    length_unit = "tokens"
    batch = 1
    mode = "inference"
    attention = "sdpa"
    dtype = "float32"
    device = "cuda"
    tokens = 512
    latency_ms = [12.1, 12.4]
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from tracekit.errors import TraceError, UsageError
from tracekit.points import UNKNOWN, Identity, Point, Positive, Sample, Whole
from tracekit.safety import sanitize

POINTS_FILE = "points.toml"
_LONGEST_MS = 30 * 86_400_000
_SUFFIXES = re.compile(r"(\.pt)?(\.trace)?\.json(\.gz)?$")
_RANK_IN_NAME = re.compile(r"rank[-_.]?(\d+)", re.IGNORECASE)


class Entry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One `[[point]]` of a points.toml; see the module's docstring."""

    file: str
    model: str
    length: float
    length_unit: str = "tokens"
    batch: Positive = 1
    mode: str = UNKNOWN
    attention: str = UNKNOWN
    dtype: str = UNKNOWN
    device: str = UNKNOWN
    tokens: Whole | None = None
    latency_ms: list[float] = []

    def point(self) -> Point:
        """The point that this entry describes."""
        settings = {name: getattr(self, name) for name in ("mode", "attention", "dtype", "device", "batch")}
        samples = [Sample(wall_ns=round(ms * 1e6), cpu_ns=None) for ms in self.latency_ms]
        identity = Identity(
            model=self.model, length=self.length, length_unit=self.length_unit, preset=UNKNOWN, **settings
        )
        return Point(identity=identity, samples=samples, tokens=self.tokens, modality=UNKNOWN)


def described(folder: Path) -> dict[Path, Point]:
    """What the `points.toml` in `folder` says: file -> point; empty where there is none. Raises UsageError."""
    path = folder / POINTS_FILE
    if not path.is_file():
        return {}
    where = sanitize(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
        entries = msgspec.convert(document, dict[str, list[Entry]])
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise UsageError(f"{where}: {sanitize(error)}") from None
    except RecursionError:
        raise UsageError(f"{where}: nested too deeply") from None
    if set(entries) - {"point"}:
        raise UsageError(f"{where}: points are tables named [[point]], and nothing else")
    found: dict[Path, Point] = {}
    for entry in entries.get("point", []):
        if not all(0 < number < math.inf for number in (entry.length, *entry.latency_ms)):
            raise UsageError(f"{where}: {sanitize(entry.file)}: length and latency_ms must be numbers above 0")
        if max(entry.latency_ms, default=0.0) > _LONGEST_MS:
            raise UsageError(f"{where}: {sanitize(entry.file)}: a latency of more than 30 days is none")
        if Path(entry.file).is_absolute() or ".." in Path(entry.file).parts:
            raise UsageError(f"{where}: {sanitize(entry.file)}: name files beside or below the {POINTS_FILE}")
        file = folder / entry.file
        if not file.is_file():
            raise UsageError(f"{where}: no such file: {sanitize(entry.file)}")
        found[file] = entry.point()
    return found


def length_pattern(text: str) -> re.Pattern[str]:
    """The pattern of `--length-from`: one group, or groups named `length` and perhaps `model`. Raises UsageError."""
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise UsageError(f"--length-from is no regular expression: {sanitize(error)}") from None
    if "length" not in pattern.groupindex and pattern.groups != 1:
        raise UsageError(
            r"--length-from needs one group around the length, e.g. '_(\d+)\.json', or one named (?P<length>...)"
        )
    return pattern


def named(file: str, pattern: re.Pattern[str], device: str) -> Point | None:
    """The point that a file name (its path below the folder) stands for, or None where it has no length.

    Without a group `model` the model is the name without its length.
    """
    match = pattern.search(file)
    if not match:
        return None
    text = match["length"] if "length" in pattern.groupindex else match[1]
    try:
        length = float(text)
    except (TypeError, ValueError):
        length = math.nan
    if not 0 <= length < math.inf:
        raise UsageError(f"--length-from finds no number in {sanitize(file)}: {sanitize(text)!r}")
    rest = file[: match.start()] + file[match.end() :]
    model = match["model"] if "model" in pattern.groupindex else _SUFFIXES.sub("", rest).strip("-_./ ") or "model"
    unknown: dict[str, Any] = dict.fromkeys(("mode", "attention", "dtype", "preset"), UNKNOWN)
    identity = Identity(model=model, length=length, length_unit="units", device=device, **unknown)
    return Point(identity=identity, modality=UNKNOWN)


def rank_of(path: Path, header: Mapping[str, Any]) -> int | None:
    """Which rank of a distributed job a file is: as it says, else as its name says; None where it is no such thing."""
    job = header.get("distributedInfo")
    rank = job.get("rank") if isinstance(job, dict) else None
    if isinstance(rank, int):
        return rank if (job or {}).get("world_size") != 1 else None
    match = _RANK_IN_NAME.search(path.name)
    return int(match[1]) if match and len(match[1]) < 10 else None


def check_lengths(lengths: list[tuple[float, int | None]]) -> None:
    """Raise TraceError where what was taken for lengths (with the rank of each file) are the ranks of one job, or 0."""
    if len(lengths) > 1 and all(length == rank for length, rank in lengths):
        raise TraceError(
            "--length-from finds the ranks of a distributed job, not lengths; leave it out, or name its group"
        )
    if any(length == 0 for length, _ in lengths):
        raise TraceError("--length-from finds a length of 0; make its group match the length alone")
