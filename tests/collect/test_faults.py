"""A collector that is killed, interrupted or out of disk: what is finished stays, and a second run ends at the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tracekit import points

pytest.importorskip("torch")
pytest.importorskip("transformers")

MODELS = ("--model", "bert", "--model", "nystromformer", "--preset", "tiny", "--lengths", "32,64", "--repeats", "2")
POINTS = 4
_LONG = 120.0


def start(out: Path) -> subprocess.Popen[str]:
    """A collector in a session of its own, as from a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "tracekit", "collect", *MODELS, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": ""},
        start_new_session=True,
    )


def finish(out: Path) -> subprocess.CompletedProcess[str]:
    process = start(out)
    said, errors = process.communicate(timeout=_LONG)
    return subprocess.CompletedProcess(process.args, process.returncode, said, errors)


def wait_for(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + _LONG
    while not happened():
        assert time.monotonic() < until, "nothing happened"
        time.sleep(0.02)


def files(out: Path, pattern: str = f"*{points.TRACE_SUFFIX}") -> list[Path]:
    return sorted(path for path in out.rglob(pattern) if not any(part.startswith(".") for part in path.parts[-2:]))


def relations(process: subprocess.Popen[str]) -> list[int]:
    """The processes that are in the session that the collector began."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == process.pid and fields[0] != "Z":
                found.append(int(entry.name))
    return found


def assert_whole(out: Path) -> None:
    """All points, each of them once and sound, and nothing half-written."""
    found = [points.read_point(path) for path in files(out)]
    assert {(p.model, p.length) for p in found if p} == {(m, n) for m in ("bert", "nystromformer") for n in (32, 64)}
    assert all(point is not None and point.ok and point.samples for point in found)
    assert not files(out, f"*{points.FAILED_SUFFIX}")
    assert not list(out.rglob(".*"))


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGINT])
def test_a_collector_that_dies_leaves_what_is_finished_and_no_process(tmp_path: Path, sent: signal.Signals) -> None:
    process = start(tmp_path)
    wait_for(lambda: bool(files(tmp_path)))
    process.send_signal(sent)
    process.communicate(timeout=_LONG)
    assert process.returncode == (130 if sent == signal.SIGINT else -sent)
    wait_for(lambda: not relations(process))
    kept = {path: path.read_bytes() for path in files(tmp_path)}
    assert 0 < len(kept) < POINTS
    for path in tmp_path.rglob(".*"):  # what was half-written is swept away once it is stale
        os.utime(path, (0, 0))
    again = finish(tmp_path)
    assert again.returncode == 0, again.stderr
    assert f"{len(kept)} cached" in again.stderr
    assert all(path.read_bytes() == before for path, before in kept.items())
    assert_whole(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, with room for about one point."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=160k", "tmpfs", folder], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("FULL DISK NOT TESTED: no privilege to mount a tmpfs")
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_a_full_disk_ends_points_and_not_the_sweep(small_disk: Path) -> None:
    first = finish(small_disk / "traces")
    assert first.returncode == 1, first.stderr
    assert "Traceback" not in first.stderr
    assert "disk" in first.stderr or "space" in first.stderr
    assert not list(small_disk.rglob(".*"))
    kept = len(files(small_disk))
    assert kept < POINTS
    subprocess.run(["mount", "-o", "remount,size=64m", small_disk], check=True)
    again = finish(small_disk / "traces")
    assert again.returncode == 0, again.stderr
    assert_whole(small_disk / "traces")


def test_two_collectors_in_one_folder_end_at_the_same(tmp_path: Path) -> None:
    both = [start(tmp_path), start(tmp_path)]
    for process in both:
        process.communicate(timeout=_LONG)
    assert [process.returncode for process in both] == [0, 0]
    assert_whole(tmp_path)
