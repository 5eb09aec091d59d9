"""Small hand-made traces for the analyzer's tests."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Event = dict[str, Any]
Writer = Callable[..., Path]


def span(name: str, start_us: float, dur_us: float, cat: str = "cpu_op", tid: int = 1, **args: Any) -> Event:
    """One complete event as kineto writes it; times in microseconds."""
    return {"ph": "X", "cat": cat, "name": name, "pid": 7, "tid": tid, "ts": start_us, "dur": dur_us, "args": args}


@pytest.fixture(name="span")
def span_fixture() -> Callable[..., Event]:
    return span


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Write events as a trace file: `write(events, name=..., header=..., **json_options)` -> path."""

    def writer(events: list[Event], name: str = "t.json", header: dict[str, Any] | None = None, **options: Any) -> Path:
        document = {**(header or {}), "traceEvents": events, "traceName": "t"}
        text = json.dumps(document, **options).encode()
        path = tmp_path / name
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return path

    return writer


WRITERS = ("we alone", "anybody", "another user", "a link")


@pytest.fixture(params=WRITERS)
def writer_of(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bool]:
    """Make a folder of the cache look as if somebody had written it; tells whether only we could have."""

    def make(folder: Path) -> bool:
        who = request.param
        if who == "anybody":
            folder.chmod(0o777)
        elif who == "another user":
            monkeypatch.setattr(os, "geteuid", lambda: folder.stat().st_uid + 1)
        elif who == "a link":
            folder.rename(folder.with_name("elsewhere"))
            folder.symlink_to("elsewhere")
        return bool(who == "we alone")

    return make
