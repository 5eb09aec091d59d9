"""Whether an analyzer did right by a case: what it printed against what the manifest says."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

_ADDRESSES = 4 << 30  # bytes: more is refused to the analyzer
_PATIENCE = 3  # times the seconds of a case: the machine may be busy
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Ended:
    """How an analyzer ended: exit code (negative: by that signal; None: it did not), what it printed, MiB at most."""

    code: int | None
    out: str
    err: str
    rss_mb: int = 0


def complaints(entry: dict[str, Any], ended: Ended) -> list[str]:
    """What is wrong; nothing where the case passes.

    On exit 0 an analyzer prints one JSON object with the keys of the truth, at its top or under `facts`, and
    `warnings`; else one line on stderr.
    """
    if ended.code is None or ended.code < 0:
        return ["no end in time" if ended.code is None else f"killed by signal {-ended.code}"]
    if "Traceback (most recent call last)" in ended.err:
        return [f"traceback: {ended.err.strip().splitlines()[-1]}"]
    found = ["control characters on stderr"] if _CONTROL.search(ended.err) else []
    if ended.rss_mb > entry["limits"]["rss_mb"]:
        found.append(f"{ended.rss_mb} MiB > {entry['limits']['rss_mb']}")
    return [*found, *(_rejection if ended.code else _recovery)(entry, ended)]


def _rejection(entry: dict[str, Any], ended: Ended) -> Iterator[str]:
    if entry["outcome"] == "recover":
        yield f"rejected: {ended.err.strip()}"
        return
    if ended.code != 2:
        yield f"exit code {ended.code}, not 2"
    if len(ended.err.strip().splitlines()) != 1:
        yield f"{len(ended.err.strip().splitlines())} lines on stderr, not 1"
    for pattern in entry["error_re"]:
        if not re.search(pattern, ended.err):
            yield f"the error does not match {pattern}: {ended.err.strip()}"


def _recovery(entry: dict[str, Any], ended: Ended) -> Iterator[str]:
    if entry["outcome"] == "reject":
        yield f"accepted: {ended.out[:80]}"
        return
    document = json.loads(ended.out)
    told = {**document, **document.get("facts", {})}
    truths = [truth for truth in (entry.get("truth"), *entry.get("truth_alt", [])) if truth]
    wrong = [
        [
            f"{key} {told[key]} is not {value}"
            for key, value in truth.items()
            if value is not None and told[key] != value
        ]
        for truth in truths
    ]
    yield from min(wrong, key=len, default=[])
    if entry["warn"] is not None and entry["warn"] != bool(told["warnings"]):
        yield "no warning" if entry["warn"] else f"false warnings {list(told['warnings'])}"


def run(command: Sequence[str], path: Path, limits: dict[str, int]) -> Ended:
    """Run an analyzer, in whose `command` `{}` stands for the file, within the limits of a case."""
    words = [str(path) if word == "{}" else word for word in command]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True)
        resource.prlimit(process.pid, resource.RLIMIT_AS, (_ADDRESSES, _ADDRESSES))
        rss_mb, end = 0, time.monotonic() + _PATIENCE * limits["seconds"]
        while process.poll() is None and time.monotonic() < end:
            rss_mb = max(rss_mb, _peak_mb(process.pid))
            time.sleep(0.01)
        ended = process.returncode
        if ended is None:
            process.kill()
            process.wait()
        return Ended(ended, _text(out), _text(err), rss_mb)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode("utf-8", "replace")


def _peak_mb(pid: int) -> int:
    """The most memory that a process had so far. What `getrusage` says of a child counts its parent's as well."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(found[1]) >> 10 if found else 0


def skipped(entry: dict[str, Any]) -> bool:
    """Whether a case tells nothing here: root may read any file."""
    return entry["case"] == "env_noperm.json" and os.geteuid() == 0
