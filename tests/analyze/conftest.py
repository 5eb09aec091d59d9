"""Small hand-made traces for the analyzer's tests."""

from __future__ import annotations

import gzip
import json
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
