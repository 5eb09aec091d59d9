"""The differential fuzzer: broken traces against a strict reader and the oracle.

Usage: python -m tests.fuzz [--mutants 10000] [--seed 0] [--only K] [--cli 300] [--traces FOLDER] [--keep FOLDER] [--prefixes]

Where a strict reader accepts a mutant, every number must be the oracle's, and what it must drop must be said. Where it
does not, the trace is recovered with a warning, or rejected in one line that names the file. Nothing else, ever: no
other exception, no hang, no wrong number, no silent loss. Mutant K of a seed is the same every time (`--only K`). What
fails is written to `--keep`, as it is and made small. `--traces` takes real traces as bases in place of our own.
"""

from __future__ import annotations

import argparse
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

from tests import bases as traces
from tests import mutate, oracle, strict
from tracekit.analyze import read as reader
from tracekit.analyze import stream
from tracekit.analyze.facts import facts
from tracekit.analyze.quality import warning_counts
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError

SECONDS = 20  # for one mutant; a sound one takes 0.05
BLOCKS = (64, 777, 5000, stream.BLOCK, stream.BLOCK)  # small ones cut small files as large ones are cut
_ORACLE = ("calls", "total_ns", "self_ns", "calls_raw", "total_raw_ns")


@dataclass(frozen=True)
class Outcome:
    """`kind`: equal, recovered, rejected or failed; of a failure `what` went wrong, in a line."""

    kind: str
    what: str = ""


@contextmanager
def alarm(seconds: int = SECONDS) -> Iterator[None]:
    """Raise TimeoutError in what takes longer."""

    def ring(*_: Any) -> None:
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def blocks(size: int) -> Iterator[None]:
    """Read in blocks of `size` bytes."""
    with patch.multiple(reader, BLOCK=size, _HEADER_BLOCK=min(size, 64 << 10)):
        yield


def judged(data: bytes, path: Path, block: int = stream.BLOCK) -> Outcome:
    """Read `data` from a file at `path`, in blocks of `block` bytes, and hold it to the rules."""
    path.write_bytes(data)
    try:
        with alarm(), blocks(block):
            trace = Trace(path, cache=False)
            found, operators = facts(trace), told(trace)
            warned = bool(warning_counts(trace.findings))
    except TraceError as error:
        line = str(error)
        if "\n" in line or path.name not in line or re.search("[\x00-\x1f\x7f-\x9f\ud800-\udfff]", line):
            return Outcome("failed", f"not one line with the file: {line!r}")
        return Outcome("failed", f"a sound trace was rejected: {line}") if strict.read(data) else Outcome("rejected")
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic in polars is no Exception
        return Outcome("failed", f"{type(error).__name__}: {str(error).splitlines()[:1]}")
    broken = _laws(trace, found, operators)
    if broken:
        return Outcome("failed", broken)
    if reading := strict.read(data):
        different = _difference(reading, found, operators, warned)
        return Outcome("failed", different) if different else Outcome("equal")
    if warned:
        return Outcome("recovered")
    reading = strict.read(data, relaxed=True)  # what is read over in silence must cost nothing
    different = _difference(reading, found, operators, warned) if reading else "no JSON at all"
    return Outcome("failed", f"recovered in silence: {different}") if different else Outcome("recovered")


def told(trace: Trace) -> dict[tuple[str, str], list[int]]:
    """The operators table, as the oracle tells it."""
    table = trace.operators().select("name", "kind", *_ORACLE)
    return {(name, kind): list(numbers) for name, kind, *numbers in table.iter_rows()}


def expected(reading: strict.Reading) -> tuple[dict[str, Any], dict[tuple[str, str], list[int]]]:
    """What the oracle says of a reading: facts and the operators table."""
    return {**oracle.facts(reading.events), **oracle.further(reading.events)}, oracle.operators(reading.events)


def _laws(trace: Trace, found: dict[str, Any], operators: dict[tuple[str, str], list[int]]) -> str:
    """What holds for any trace, broken or not; empty where it does."""
    busy = found["cpu_busy_ns"]
    if sum(row[2] for row in operators.values()) != busy or any(min(row) < 0 for row in operators.values()):
        return "self times of operators do not sum to the busy time"
    if int(trace.components()["host_ns"].sum()) != busy:
        return "components do not sum to the busy time"
    return ""


def _difference(reading: strict.Reading, found: dict[str, Any], operators: dict[Any, list[int]], warned: bool) -> str:
    """Where numbers are not those of a reading; empty where all are."""
    wanted, rows = expected(reading)
    if reading.lossy and not warned:
        return "a loss is not said"
    if not reading.exact:  # digits below a nanosecond are rounded; what is counted must be right all the same
        wanted = {key: value for key, value in wanted.items() if key.startswith("n_")}
        rows = operators
    for key, value in wanted.items():
        if found[key] != value:
            return f"{key} is {found[key]}, not {value}"
    for row in {**rows, **operators}:
        if rows.get(row) != operators.get(row):
            return f"operator {row!r} is {operators.get(row)}, not {rows.get(row)}"
    return ""


# -- small reproductions


def shrunk(data: bytes, fails: Callable[[bytes], bool], tries: int = 150) -> bytes:
    """A smaller file that fails too: without as many of its pieces, then of its bytes, as `tries` allow."""
    for pattern in (rb"(?<=[}\]]),|(?<=\[)(?=\s*\{)", rb"(?<=,)", b""):
        pieces = re.split(b"(" + pattern + b")", data) if pattern else [data[i : i + 1] for i in range(len(data))]
        size = max(1, len(pieces) // 2)
        while size and tries > 0:
            at = 0
            while at < len(pieces) and tries > 0:
                fewer = pieces[:at] + pieces[at + size :]
                tries -= 1
                if fails(b"".join(fewer)):
                    pieces = fewer
                else:
                    at += size
            size //= 2
        data = b"".join(pieces)
    return data


# -- the command


def main(argv: list[str] | None = None) -> int:
    """Fuzz, and print how it went. 1 when anything failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, help="this mutant alone")
    parser.add_argument("--cli", type=int, default=0, help="as many of them through the command line too")
    parser.add_argument("--traces", type=Path, help="a folder of real traces to begin from")
    parser.add_argument(
        "--prefixes", action="store_true", help="cut a trace of 20 KB at every byte, in place of all that"
    )
    parser.add_argument("--keep", type=Path, help="where to write what fails")
    args = parser.parse_args(argv)
    if args.prefixes:
        return _prefixes()
    bases = traces.real_bases(args.traces) if args.traces else None
    numbers = range(args.mutants) if args.only is None else [args.only]
    through = set(Random(args.seed).sample(numbers, min(args.cli, len(numbers))))
    counts: Counter[str] = Counter()
    began = time.monotonic()
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            made = mutate.mutant(args.seed, number, bases)
            path, block = Path(folder) / f"m{number}.json", BLOCKS[number % len(BLOCKS)]
            outcome = judged(made.data, path, block)
            if outcome.kind != "failed" and number in through:
                outcome = through_command_line(path) or outcome
                counts["through the command line"] += 1
            counts[outcome.kind] += 1
            if outcome.kind == "failed":
                print(
                    f"{args.seed}/{number} {made.base} {'+'.join(made.mutations)}: {outcome.what[:200]!r}", flush=True
                )
                if args.keep:
                    _keep(args.keep / f"{args.seed}-{number}", made.data, path, block, outcome.what)
            path.unlink(missing_ok=True)
    print(
        ", ".join(f"{count:,} {kind}" for kind, count in sorted(counts.items())), f"in {time.monotonic() - began:.0f} s"
    )
    return int(counts["failed"] > 0)


def _prefixes() -> int:
    from tests import prefixes

    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        for packed in (False, True):
            document = prefixes.small(1000, "kineto")
            for line in prefixes.wrong_cuts(document, Path(folder) / "cut.json", packed, full=True):
                wrong += 1
                print(line, flush=True)
            print(
                f"{len(traces.written(document)):,} bytes{', gzipped,' if packed else ''} cut everywhere: {wrong} wrong"
            )
    return int(wrong > 0)


def _keep(path: Path, data: bytes, scratch: Path, block: int, what: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_bytes(data)
    kind = what.split(" is ")[0][:25]

    def fails(smaller: bytes) -> bool:
        outcome = judged(smaller, scratch, block)
        return outcome.kind == "failed" and outcome.what.split(" is ")[0][:25] == kind

    path.with_suffix(".small.json").write_bytes(shrunk(data, fails))


def through_command_line(path: Path) -> Outcome | None:
    """What is wrong with `tracekit check --json` of a file; None where nothing is."""
    command = [sys.executable, "-m", "tracekit", "check", str(path), "--json"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, stdin=subprocess.DEVNULL, check=False)
    except subprocess.TimeoutExpired:
        return Outcome("failed", "the command hangs")
    said = done.stderr.decode("utf-8", "backslashreplace")
    if done.returncode == 2:
        sound = said.count("\n") == 1 and said.startswith("error: ") and path.name in said and not done.stdout
        return None if sound else Outcome("failed", f"not one line: {said!r}")
    if done.returncode or said:
        return Outcome("failed", f"the command exits with {done.returncode} and says {said!r}")
    answer = json.loads(done.stdout)
    try:
        with alarm():
            same = facts(Trace(path, cache=False)) == answer["facts"]
    except TraceError:
        same = False
    return None if same else Outcome("failed", "the command tells other numbers")


if __name__ == "__main__":
    sys.exit(main())
