"""Fixtures for every folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent

settings.register_profile("tracekit", deadline=None, derandomize=bool(os.environ.get("CI")), max_examples=60)
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
