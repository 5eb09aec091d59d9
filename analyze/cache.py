"""Parsed events on disk: the second look at a trace does not parse it again.

One folder per file content and tool version in the user's cache directory (TRACEKIT_CACHE_DIR, else the system's
place), written aside and moved into place whole, so that two writers cannot meet; the longest unused go first when all
exceed LIMIT_BYTES. It may be deleted at any time. Nothing of it is trusted to be there or to be sound, and what anybody
else could have written is not read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from dataclasses import asdict, fields
from pathlib import Path

import platformdirs
import polars as pl

import tracekit
from tracekit.errors import TraceError
from tracekit.safety import is_private

from .decode import Frames
from .quality import Finding
from .read import Events, read_events
from .stream import Stamp, open_regular, stamp

FORMAT = 4  # of the frames and findings: raise it with any change of the reader that tracekit's version does not tell
LIMIT_BYTES = 4 << 30
_SMALLEST = 64 << 10  # smaller files are parsed in less time than it takes to look
_ABOUT = "about.json"


def directory() -> Path:
    """Where the cache is, or would be."""
    return Path(os.environ.get("TRACEKIT_CACHE_DIR") or platformdirs.user_cache_dir("tracekit")) / "events"


def load_events(path: Path, cache: bool = True) -> Events:
    """As `read_events`, from the cache where it has this content, and into it where not."""
    known = _entry(path) if cache else None
    if known is None:
        return read_events(path)
    entry, seen = known
    found = _read(entry, path)
    if found is None:
        found = read_events(path)
        with contextlib.suppress(
            OSError, ValueError, RecursionError, pl.exceptions.PolarsError
        ):  # a full disk: without
            if stamp(path.stat()) == seen:  # else these may be events of another content
                _write(entry, found)
                _evict(entry)
    return found


def _entry(path: Path) -> tuple[Path, Stamp] | None:
    """The folder for this content, and the file's stamp; None for what is not cached: small, special or unreadable."""
    try:
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size < _SMALLEST:
                return None
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except (OSError, TraceError):
        return None
    return directory() / f"{tracekit.__version__}-{FORMAT}-{digest}", stamp(status)


def _read(entry: Path, path: Path) -> Events | None:
    if not is_private(entry):
        return None
    try:
        about = json.loads((entry / _ABOUT).read_bytes())
        frames = Frames(**{f.name: pl.read_parquet(entry / f"{f.name}.parquet", glob=False) for f in fields(Frames)})
        findings = [Finding(**one) for one in about["findings"]]
        arrays = tuple((begin, end) for begin, end in about["arrays"])
        events = Events(path, about["header"], frames, findings, about["window_end_ns"], arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, pl.exceptions.PolarsError):
        shutil.rmtree(entry, ignore_errors=True)
        return None
    with contextlib.suppress(OSError):
        os.utime(entry)  # its last use
    return events


def _write(entry: Path, events: Events) -> None:
    entry.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=".", suffix=".tmp", dir=entry.parent))
    try:
        for f in fields(Frames):
            getattr(events.frames, f.name).write_parquet(
                aside / f"{f.name}.parquet", compression="lz4", statistics=False
            )
        findings = [asdict(one) for one in events.findings]
        about = {name: getattr(events, name) for name in ("header", "window_end_ns", "arrays")} | {"findings": findings}
        (aside / _ABOUT).write_text(json.dumps(about))
        aside.rename(entry)
    except OSError:
        if not entry.is_dir():  # else another writer was first
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _evict(newest: Path) -> None:
    """Remove the longest unused entries, and leftovers of writers that died, until the rest fits."""
    room = LIMIT_BYTES - _size(newest)
    others = sorted((p for p in newest.parent.iterdir() if p != newest), key=lambda p: p.stat().st_mtime, reverse=True)
    for entry in others:
        room -= _size(entry)
        if room < 0:
            shutil.rmtree(entry, ignore_errors=True)


def _size(entry: Path) -> int:
    return sum(file.stat().st_size for file in entry.iterdir())
