"""Whether the tests would notice: plant known faults in the code, one at a time, and see a test fail for each.

    nice python -m tests.faults             every fault of `tests.planted`, about six minutes
    nice python -m tests.faults orphans     those with this word in their name or file

Everything happens in a copy of the checkout, which goes when the command ends, by Ctrl-C too. Exit code 0: every fault
was caught; 1: some were not; 2: a fault no longer fits the code, or the tests fail without any; 130: interrupted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.planted import FAULTS, Fault

ROOT = Path(__file__).resolve().parent.parent
_LIMIT_S, _ALL_S = 300, 1800  # of the tests for one fault (what hangs is caught too), and of all tests once
_FAILED = re.compile(r"^(?:FAILED|ERROR) (\S+::\S.*?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True)
class Outcome:
    """What the tests said to a fault: the first that failed, "" where none did."""

    fault: Fault
    caught_by: str
    seconds: float


def stale(fault: Fault, root: Path = ROOT) -> str:
    """Why a fault does not fit the code; "" where it does."""
    path = root / fault.file
    if not path.is_file():
        return f"{fault.name}: no file {fault.file}"
    if (count := path.read_text(encoding="utf-8").count(fault.old)) != 1:
        return f"{fault.name}: what it changes stands {count} times in {fault.file}"
    missing = [test for test in fault.tests if not (root / test).is_file()]
    return f"{fault.name}: no tests {', '.join(missing)}" if missing else ""


def copy(root: Path, folder: Path) -> Path:
    """The files of a checkout that git knows or would: the copy."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        check=True,
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (source := root / name).is_symlink() or source.is_file():  # not what was deleted and not committed
            target = folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target, follow_symlinks=False)
    return folder


def check(scratch: Path, tests: Sequence[str], limit_s: float = _LIMIT_S) -> str:
    """Run tests in a copy: the first that failed, "" where all passed. Raises RuntimeError where they cannot run."""
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--hypothesis-profile=faults"]
    command += ["-m", "not browser"]
    environment = {**os.environ, "PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}  # same size and second: same file
    try:
        done = subprocess.run(
            [*command, *tests],
            cwd=scratch,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"{tests[0]} (no end within {limit_s} s)"
    if done.returncode not in (0, 1):
        raise RuntimeError(f"pytest ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    failed = _FAILED.search(done.stdout)
    return "" if done.returncode == 0 else failed[1] if failed else "a test"


def plant(scratch: Path, fault: Fault) -> Outcome:
    """Run the tests of one fault with it in the copy, then without a trace of it."""
    path = scratch / fault.file
    sound = path.read_text(encoding="utf-8")
    began = time.monotonic()
    try:
        path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
        return Outcome(fault, check(scratch, fault.tests), time.monotonic() - began)
    finally:
        path.write_text(sound, encoding="utf-8")


def hunt(faults: Sequence[Fault], root: Path = ROOT) -> Iterator[Outcome]:
    """Plant each fault. Raises RuntimeError for a stale one, and where tests fail in the copy as it is."""
    if reasons := [why for fault in faults if (why := stale(fault, root))]:
        raise RuntimeError("stale: " + "\nstale: ".join(reasons))
    with tempfile.TemporaryDirectory(prefix="tracekit-faults-") as folder:
        scratch = copy(root, Path(folder))
        if failed := check(scratch, sorted({test for fault in faults for test in fault.tests}), _ALL_S):
            raise RuntimeError(f"without any fault there fails: {failed}")
        for fault in faults:
            yield plant(scratch, fault)


def main(words: Sequence[str], faults: Sequence[Fault] = FAULTS, root: Path = ROOT) -> int:
    """Hunt, with a line for each fault; see the module for the exit code."""
    chosen = [fault for fault in faults if all(word in f"{fault.name} {fault.file}" for word in words)]
    if not chosen:
        sys.exit(f"no fault has all of these in its name or file: {' '.join(words)}")
    survived: list[str] = []
    try:
        for outcome in hunt(chosen, root):
            fault, caught_by = outcome.fault, outcome.caught_by
            survived += [] if caught_by else [fault.name]
            print(f"{outcome.seconds:5.1f} s  {fault.name:64}  {fault.file:22}  {caught_by or 'SURVIVED'}", flush=True)
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(f"{len(chosen) - len(survived)} of {len(chosen)} faults caught")
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
