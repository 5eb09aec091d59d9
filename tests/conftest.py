"""Fixtures for every folder."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings

from tracekit import cli, points
from tracekit.points import Identity, PeakMemory, Point, Sample

ROOT = Path(__file__).resolve().parent.parent

_CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

settings.register_profile("tracekit", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=60)
# A planted fault is to be noticed, not explained: no shrinking, and the same examples every time.
settings.register_profile(
    "faults", settings.get_profile("tracekit"), derandomize=True, database=None, phases=[Phase.explicit, Phase.generate]
)
settings.load_profile("tracekit")


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture(scope="session")
def shared_traces() -> Path:
    """Real device traces that stand beside the checkout and are not part of it."""
    folder = ROOT.parent / "shared" / "traces"
    if not folder.is_dir():
        pytest.skip("REAL TRACES NOT TESTED: no shared/traces beside the checkout")
    return folder


@pytest.fixture
def run_cli() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run `tracekit` as a user does, in a process of its own: `run_cli("report", path, env={...})`."""

    def run(
        *words: object, env: Mapping[str, str] | None = None, cwd: Path | None = None, timeout: float = 240
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tracekit", *map(str, words)],
            capture_output=True,
            text=True,
            timeout=timeout,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": "", **(env or {})},
            cwd=cwd or ROOT,
            check=False,
        )

    return run


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a command in this process, which is quicker: its exit code, stdout and stderr."""
    monkeypatch.setattr(cli, "settle", lambda: None)

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = cli.main([*map(str, words)])
        except SystemExit as left:  # argparse
            code = int(str(left.code))
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="session")
def store_point() -> Callable[..., Path]:
    """Write a point file: `store_point(folder, "bert", 128, ms, ops=[...], identity={...}, **point_fields)` -> path.

    Its trace has one profiled step of `ms`: 60% attention, in which `ops` share 50% of the step, 30% ffn, 10% outside
    the model. With `layers`, attention and ffn are a layer each. Its five latency samples are 1% apart.
    """

    def event(name: str, start: float, dur: float, cat: str = "user_annotation") -> dict[str, Any]:
        return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": {}}

    def store(
        folder: Path,
        model: str,
        length: int,
        ms: float,
        ops: Sequence[str] = ("aten::mm",),
        identity: Mapping[str, Any] | None = None,
        layers: bool = False,
        **fields: Any,
    ) -> Path:
        made = Identity(model=model, length=length, threads=2, **{"attention": "sdpa", **(identity or {})})
        point = Point(
            **{
                "identity": made,
                "samples": [
                    Sample(wall_ns=int(ms * 1e6 * f), cpu_ns=int(ms * 1e6)) for f in (0.98, 0.99, 1.0, 1.01, 1.02)
                ],
                "memory": PeakMemory(bytes=length << 20, method="allocator events"),
                "tokens": length,
                "environment": {"cpu_model": "Test CPU"},
                **fields,
            }
        )
        us = ms * 1000
        inset = 0.01 if layers else 0.0
        events = [
            event("ProfilerStep#1", 0, us),
            event("tracekit::phase#forward", 0, us),
            event("tracekit::model#", 0.05 * us, 0.9 * us),
            *([event("tracekit::layer#0", 0.05 * us, 0.6 * us)] if layers else []),
            event("tracekit::attention#a", (0.05 + inset) * us, (0.6 - inset) * us),
            *([event("tracekit::layer#1", 0.65 * us, 0.3 * us)] if layers else []),
            event("tracekit::ffn#f", (0.65 + inset) * us, (0.3 - inset) * us),
        ]
        each = 0.5 * us / len(ops)
        events += [event(op, 0.1 * us + i * each, each, "cpu_op") for i, op in enumerate(ops)]
        path = made.path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(points.header(point) + b'"traceEvents": ' + json.dumps(events).encode() + b"}")
        return path

    return store


@pytest.fixture(autouse=True, scope="session")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test reads or writes the user's cache of parsed traces."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRACEKIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """A playwright browser that downloads nothing: the system's own Chromium."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="BROWSER TESTS SKIPPED: no playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("BROWSER TESTS SKIPPED: no chromium on this machine")
    with sync_api.sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=_CHROMIUM)
        yield running
        running.close()
