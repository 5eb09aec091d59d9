"""Make a large trace of a real one: the same events over and over, later each time, with ids of their own.

Usage: python benchmarks/enlarge.py TRACE OUT.json[.gz] --copies 16
       python benchmarks/enlarge.py TRACE OUT.json[.gz] --size 1e9       (bytes of JSON, before compression)

Times are shifted by whole microseconds, so that every copy has the same durations, self times and links as the
original; ids (External id, correlation, Ev Idx, Sequence number, Python ids, flows) are moved apart, and the steps go
on counting. The layout is kineto's: one key a line.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import msgspec

IDS = (
    *("External id", "correlation", "Ev Idx", "Record function id", "Sequence number"),
    *("Python id", "Python parent id", "wait_on_cuda_event_record_corr_id"),
)
_STEP = re.compile(r"(ProfilerStep#)(\d+)")


def read(path: Path) -> dict[str, Any]:
    """The whole document."""
    data = path.read_bytes()
    return cast(dict[str, Any], msgspec.json.decode(gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data))


def span_us(events: list[dict[str, Any]]) -> int:
    """Microseconds from the first event to the end of the last, rounded up to a thousand."""
    timed = [e for e in events if e.get("ph") == "X"]
    begin = min(e["ts"] for e in timed)
    return int(max(e["ts"] + e["dur"] for e in timed) - begin) // 1000 * 1000 + 2000


def copies(events: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The events, then the same later with other ids, for ever. What holds for the whole file comes once."""
    span = span_us(events)
    highest = {key: max((e["args"].get(key) or 0 for e in events if "args" in e), default=0) + 1 for key in IDS}
    flows = max((e["id"] for e in events if isinstance(e.get("id"), int)), default=0) + 1
    steps = sum(bool(_STEP.match(str(e["name"]))) for e in events if e.get("cat") == "user_annotation")
    yield events
    recurring = [e for e in events if "cat" in e and e["cat"] != "Trace"]
    for number in itertools.count(1):
        batch = []
        for event in recurring:
            later = {**event, "ts": round(event["ts"] + number * span, 3)}
            if "args" in event:
                args = event["args"]
                moved = {k: args[k] + number * highest[k] for k in IDS if isinstance(args.get(k), int) and args[k] > 0}
                later["args"] = {**args, **moved}
            if isinstance(event.get("id"), int):
                later["id"] = event["id"] + number * flows
            if steps and (step := _STEP.match(event["name"])):
                later["name"] = f"{step[1]}{int(step[2]) + number * steps}"
            batch.append(later)
        yield batch


def write(document: dict[str, Any], out: IO[bytes], size: float, limit: int) -> int:
    """Write copies until `size` bytes or `limit` copies are reached; returns the number of events."""
    header = {key: value for key, value in document.items() if key != "traceEvents"}
    out.write(msgspec.json.format(msgspec.json.encode(header), indent=2)[:-2] + b',\n  "traceEvents": [\n    ')
    written = count = 0
    for batch in itertools.islice(copies(document["traceEvents"]), limit):
        for event in batch:
            text = msgspec.json.format(msgspec.json.encode(event), indent=2).replace(b"\n", b"\n    ")
            out.write((b",\n    " if count else b"") + text)
            written += len(text) + 6
            count += 1
        if written >= size:
            break
    out.write(b"\n  ]\n}\n")
    return count


def main() -> None:
    """Read, enlarge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--copies", type=int, default=1 << 30, help="how many times the original, itself included")
    parser.add_argument("--size", type=float, default=float("inf"), help="stop after this many bytes of JSON")
    args = parser.parse_args()
    if args.copies == 1 << 30 and args.size == float("inf"):
        parser.error("give --copies or --size")
    document = read(args.trace)
    with args.out.open("wb") as file:
        zipped = gzip.GzipFile(fileobj=file, mode="wb", compresslevel=1) if args.out.suffix == ".gz" else None
        count = write(document, cast(IO[bytes], zipped or file), args.size, args.copies)
        if zipped:
            zipped.close()
    print(f"{count:,} events in {args.out}")


if __name__ == "__main__":
    main()
