"""The cache of parsed events: the same answer, whoever writes, whatever is in it."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from polars.testing import assert_frame_equal

from tracekit.analyze import cache
from tracekit.analyze.cache import load_events
from tracekit.analyze.decode import Frames
from tracekit.analyze.read import Events, read_events
from tracekit.errors import TraceError

Spans = Callable[..., dict[str, Any]]
Writer = Callable[..., Path]


@pytest.fixture
def trace(span: Spans, write: Writer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file large enough to be cached, with something of every kind in it and something odd."""
    monkeypatch.setenv("TRACEKIT_CACHE_DIR", str(tmp_path / "cache"))
    events = [span(f"op{i % 40}", i * 10, 5, **{"Input Dims": [[i % 7, 2]], "Sequence number": i}) for i in range(900)]
    events += [
        span("cudaLaunchKernel", 1, 1, "cuda_runtime", correlation=5),
        span("k\u00e9rnel", 3, 1, "kernel", device=0, stream=7, correlation=5),
        span("nn.Module: Linear_0", 0, 20, "python_function", **{"Python module id": 3}),
        span("[memory]", 4, 0, "cpu_instant_event", Addr=2**63 + 1, Bytes=64),
        {"ph": "X", "cat": "cpu_op", "name": "broken", "ts": 5, "pid": 1, "tid": 1},
        {"ph": "i", "name": "Record Window End", "ts": 9000, "pid": "", "tid": ""},
    ]
    return write(events, header={"note": "\ud800"})


def entries() -> list[Path]:
    folder = cache.directory()
    return sorted(folder.iterdir()) if folder.exists() else []


def assert_equal(a: Events, b: Events) -> None:
    for f in fields(Frames):
        assert_frame_equal(getattr(a.frames, f.name), getattr(b.frames, f.name))
    assert (a.header, a.findings, a.window_end_ns) == (b.header, b.findings, b.window_end_ns)


def test_the_second_look_is_the_same_and_parses_nothing(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_events(trace)
    assert len(entries()) == 1
    monkeypatch.setattr(cache, "read_events", None)
    second = load_events(trace)
    assert_equal(second, first)
    assert second.findings
    copy = trace.with_name("copy.json")
    copy.write_bytes(trace.read_bytes())
    assert_equal(load_events(copy), first)  # by content, not by name


def test_without_cache_nothing_is_kept(trace: Path) -> None:
    load_events(trace, cache=False)
    assert entries() == []


def test_other_content_or_version_is_another_entry(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    load_events(trace)
    monkeypatch.setattr("tracekit.__version__", "99")
    load_events(trace)
    trace.write_bytes(trace.read_bytes().replace(b"op1", b"op2", 1))
    load_events(trace)
    assert len(entries()) == 3


@pytest.mark.parametrize("damage", ["cut", "text", "missing", "older"])
def test_a_damaged_entry_is_made_anew(trace: Path, damage: str) -> None:
    first = load_events(trace)
    (entry,) = entries()
    if damage == "cut":
        data = (entry / "host.parquet").read_bytes()
        (entry / "host.parquet").write_bytes(data[: len(data) // 2])
    elif damage == "text":
        (entry / "about.json").write_text("{")
    elif damage == "missing":
        (entry / "device.parquet").unlink()
    else:
        (entry / "about.json").write_text('{"header": {}}')
    assert_equal(load_events(trace), first)
    assert_equal(load_events(trace), first)


def test_two_writers_at_once(trace: Path) -> None:
    expected = load_events(trace, cache=False)
    found: list[Events] = []
    threads = [threading.Thread(target=lambda: found.append(load_events(trace))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    for events in found:
        assert_equal(events, expected)
    (entry,) = entries()
    assert entry.suffix != ".tmp"


def test_the_longest_unused_go_first(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = trace.read_bytes()
    for number in range(4):
        trace.write_bytes(text.replace(b"op1", b"op%d" % (number + 50), 1))
        load_events(trace)
        for entry in entries():
            if entry.stat().st_mtime > 10**6:
                os.utime(entry, (number, number))
    size = sum(file.stat().st_size for file in entries()[0].iterdir())
    monkeypatch.setattr(cache, "LIMIT_BYTES", int(2.5 * size))
    trace.write_bytes(text)
    load_events(trace)
    kept = sorted(entry.stat().st_mtime for entry in entries())
    assert kept[:-1] == [3]
    assert len(kept) == 2


def test_a_cache_that_cannot_be_written_is_no_error(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = trace.with_name("file")
    blocked.write_text("")
    monkeypatch.setenv("TRACEKIT_CACHE_DIR", str(blocked))
    assert load_events(trace).frames.host.height == 902


def test_errors_are_those_of_the_reader(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="a folder"):
        load_events(tmp_path)
    with pytest.raises(FileNotFoundError):
        load_events(tmp_path / "none.json")


def test_what_others_could_have_written_is_not_read(trace: Path, writer_of: Callable[[Path], bool]) -> None:
    load_events(trace)
    (entry,) = entries()
    about = json.loads((entry / "about.json").read_bytes())
    (entry / "about.json").write_text(json.dumps({**about, "header": {"planted": 1}}))
    ours = writer_of(entry)
    assert ("planted" in load_events(trace).header) == ours


def test_the_cache_is_for_its_user_only(trace: Path) -> None:
    load_events(trace)
    for folder in (cache.directory(), *entries()):
        assert folder.stat().st_mode & 0o077 == 0


def test_a_file_that_changes_while_it_is_read_is_not_cached(trace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = trace.read_bytes()
    changed = sound.replace(b"op1", b"op2")

    def read(path: Path) -> Events:
        path.write_bytes(changed)
        return read_events(path)

    monkeypatch.setattr(cache, "read_events", read)
    load_events(trace)
    assert entries() == []


@pytest.mark.parametrize("name", ["../../escape.json", "a\nb.json", "*.json", "\x1b[2J\u202e.json", "-rf.json"])
def test_names_of_files_say_nothing_to_the_cache(trace: Path, name: str) -> None:
    odd = trace.with_name("deep") / "er" / name
    (trace.with_name("deep") / "er").mkdir(parents=True)
    odd.write_bytes(trace.read_bytes())
    assert_equal(load_events(odd), load_events(trace))
    (entry,) = entries()
    assert re.fullmatch(r"[\w.-]+-[0-9a-f]{32}", entry.name)
