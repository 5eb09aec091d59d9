"""The page as data: what is in it, that nothing foreign can act in it, and that its numbers are the tables'."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import altair
import polars as pl
import pytest

from tracekit import points
from tracekit.analyze.load import load, load_study
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.points import Identity, PeakMemory, Point, Profile, Sample
from tracekit.reports import page
from tracekit.reports.html import _SCRIPTS, render, write_html

Store = Callable[..., Path]

HOSTILE = [
    "</script><script>document.title='PWNED'</script>",
    "<img src=x onerror=\"document.title='PWNED'\">",
    '"><svg onload=alert(1)>',
    "__proto__",
    "constructor",
    "{{7*7}}",
    "${7*7}",
    "=cmd()",
    "[bold]x[/bold]",
    "\x1b[31mred",
    "a\u2028b",
    "javascript:alert(1)",
    "datum['x']",
    "\u202eevil",
    "-->",
    "]]>",
    "&lt;b&gt;",
]


def span(name: str, start: float, dur: float, cat: str = "user_annotation") -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": {}}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Study:
    """Every hostile name in every place where a name can go."""
    folder = tmp_path_factory.mktemp("hostile")
    for i, name in enumerate(HOSTILE):
        store_point(
            folder,
            name,
            64 << (i % 3),
            5 + i,
            [name, *HOSTILE],
            identity={"attention": name, "dtype": name, "length_unit": name},
            memory=PeakMemory(bytes=1 << 20, method=f"estimate {name}"),
            samples=[Sample(wall_ns=(5 + i) * 10**6, cpu_ns=1, run_delay_ns=10**6)] * (2 + i),
            environment={"cpu_model": name},
            versions={"torch": name},
            command=["tracekit", name],
        )
    failed = Point(
        identity=Identity(model=HOSTILE[0], length=1), status=HOSTILE[0], reason=HOSTILE[1], command=[HOSTILE[2]]
    )
    (folder / "x.failed.json").write_bytes(points.encode(failed))
    (folder / f"{HOSTILE[3]}<b>.json").write_text("{")
    study = load_study([folder])
    study.title = HOSTILE[0]
    return study


@pytest.fixture(scope="module")
def hostile_page(hostile: Study) -> str:
    return render(hostile)


class Parsed(HTMLParser):
    """Scripts, attributes and data of a page, as a parser sees them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.scripts: list[tuple[dict[str, str | None], str]] = []
        self.styles: list[str] = []
        self.text = ""
        self.attributes: list[tuple[str, str, str | None]] = []
        self._script: dict[str, str | None] | None = None
        self._text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]
        self._text = ""
        self.text += " "
        if tag == "script":
            self._script = dict(attrs)

    def handle_data(self, data: str) -> None:
        self._text += data
        self.text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "script" and self._script is not None:
            self.scripts.append((self._script, self._text))
            self._script = None
        if tag == "style":
            self.styles.append(self._text)


def test_nothing_foreign_becomes_markup(hostile_page: str) -> None:
    parsed = Parsed(hostile_page)
    assert [attrs for attrs, _ in parsed.scripts] == [{"type": "application/json", "id": "data"}, *[{}] * len(_SCRIPTS)]
    assert [text for attrs, text in parsed.scripts if not attrs] == [page.static(name) for name in _SCRIPTS]
    assert not [a for a in parsed.attributes if a[1].startswith("on")]
    assert not [a for a in parsed.attributes if a[1] in ("src", "srcset", "action", "formaction", "style")]
    links = {str(value) for _, name, value in parsed.attributes if name == "href"}
    assert links <= {f"#{value}" for _, name, value in parsed.attributes if name == "id"}
    assert not [tag for tag, _, _ in parsed.attributes if tag in ("img", "svg", "iframe", "object", "embed", "link")]


def test_the_policy_names_exactly_our_scripts_and_style(hostile_page: str) -> None:
    parsed = Parsed(hostile_page)
    policy = next(
        str(v) for tag, name, v in parsed.attributes if tag == "meta" and name == "content" and "default-src" in str(v)
    )
    directives = {words[0]: words[1:] for words in (part.split() for part in policy.split(";"))}
    assert directives == {
        "default-src": ["'none'"],
        "script-src": [page.policy_hash(text) for attrs, text in parsed.scripts if not attrs],
        "style-src": [page.policy_hash(text) for text in parsed.styles],
        "img-src": ["data:", "blob:"],
    }


def embedded(text: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(next(body for attrs, body in Parsed(text).scripts if attrs))
    return data


def test_foreign_names_are_values_never_fields(hostile_page: str) -> None:
    data = embedded(hostile_page)
    curves = [{key: value for key, value in spec.items() if key != "datasets"} for spec in data["charts"].values()]
    specs = json.dumps([data["components"]["specs"], *curves])
    fields = set(re.findall(r'"field": "([^"]*)"', specs))
    assert {"length", "series", "value"} <= fields
    assert all(re.fullmatch(r"[a-z][a-z_0-9]*", field) for field in fields)
    assert not fields & set(HOSTILE)
    assert "http" not in re.sub(r'"\$schema": "[^"]*"', "", specs)


def test_embedded_numbers_are_the_tables(hostile: Study, hostile_page: str) -> None:
    data = embedded(hostile_page)
    operators = pl.DataFrame(data["operators"])
    table = hostile.operators()
    for column in ("self_ns", "calls", "total_ns", "device_ns"):
        assert operators[column].sum() == table[column].sum()
    bars = pl.DataFrame(data["components"]["table"])
    steps = hostile.steps()["dur_ns"].sum()
    assert bars["time"].sum() == pytest.approx(float(steps) / 1e6)
    assert (bars["rate"] * bars["length"] / 1e3).to_list() == pytest.approx(bars["time"].to_list())
    per_bar = bars.group_by("series", "length").agg(pl.col("share").sum())["share"]
    assert per_bar.to_list() == pytest.approx([1.0] * per_bar.len())
    latencies = [spec for name, spec in data["charts"].items() if name.startswith("latency")]
    drawn = [row["value"] for spec in latencies for rows in spec["datasets"].values() for row in rows]
    assert sorted(drawn) == pytest.approx(sorted((hostile.latency()["median_ns"] / 1e6).to_list()))


MARKED = {"at", "lo", "hi", "edge", "text", "sentence"}  # columns of the markers


def test_tipping_points_are_marked_and_foreign_names_are_inert(tmp_path: Path, store_point: Store) -> None:
    for length in (128, 512, 2048):
        for attention in ("sdpa", "eager"):
            store_point(tmp_path, "bert", length, length / 10, identity={"attention": attention})
        for name in HOSTILE:
            store_point(tmp_path, name, length, 30 + length / 50, baseline="bert")
    text = render(load_study([tmp_path]))
    parsed, data = Parsed(text), embedded(text)
    assert [attrs for attrs, _ in parsed.scripts] == [{"type": "application/json", "id": "data"}, *[{}] * len(_SCRIPTS)]
    assert not [tag for tag, name, _ in parsed.attributes if tag in ("img", "svg") or name.startswith("on")]
    links = {str(value) for _, name, value in parsed.attributes if name == "href"}
    assert "#curve-latency0" in links
    assert links <= {f"#{value}" for _, name, value in parsed.attributes if name == "id"}
    spec = data["charts"]["latency0"]
    marks = [row for rows in spec["datasets"].values() for row in rows if "sentence" in row]
    assert len(marks) == 2 * len(HOSTILE)
    assert {mark["series"] for mark in marks} <= {row["series"] for rows in spec["datasets"].values() for row in rows}
    assert len({mark["y"] for mark in marks}) == len(marks)  # all are at one length: each has a lane of its own
    fields = set(re.findall(r'"field": "([^"]*)"', json.dumps({**spec, "datasets": None})))
    assert fields <= {"length", "series", "value", "low", "high", "pick", *MARKED}
    said = " ".join(parsed.text.split())
    assert said.index("is faster than bert (eager) from") < said.index("Tipping points:") < said.index("Latency")
    assert said.count("no drop-in equals in quality") == 1


def test_rows_that_are_left_out_are_summed(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10.0, [f"aten::op{n}" for n in range(80)])
    study = load_study([tmp_path])
    rows = pl.DataFrame(embedded(render(study))["operators"])
    operators = rows.filter(pl.col("kind") == "operator")
    assert operators.filter(pl.col("rest") > 0)["rest"].to_list() == [40]
    assert operators.height == 41
    assert operators["self_ns"].sum() == study.operators().filter(pl.col("kind") == "operator")["self_ns"].sum()
    assert rows["share"].sum() == pytest.approx(1.0)


def said_by(study: Study) -> str:
    return " ".join(Parsed(render(study)).text.split())


def test_what_failed_is_said_first_and_stands_in_the_tables(tmp_path: Path, store_point: Store) -> None:
    for length in (128, 256):
        store_point(tmp_path, "bert", length, 10.0)
    failed = Identity(model="bert", length=16384, threads=2, attention="sdpa")
    (tmp_path / "x.failed.json").write_bytes(
        points.encode(Point(identity=failed, status="oom", reason="no memory", environment={"cpu_model": "Test CPU"}))
    )
    said = said_by(load_study([tmp_path]))
    assert "One point did not finish: bert at 16,384 tokens (oom)." in said
    assert said.index("did not finish: bert") < said.index("Latency")
    assert "16,384 oom" in said[said.index("Latency") : said.index("Where the time goes")]
    assert "bert 16,384 tokens oom no memory" in said


def test_what_was_measured_is_one_sentence(tmp_path: Path, store_point: Store) -> None:
    two = {"overrides": {"num_hidden_layers": 2}}
    for mode in ("inference", "training"):
        store_point(tmp_path, "bert", 128, 10.0, identity={"mode": mode, **two})
    store_point(tmp_path, "hubert", 2, 10.0, identity={"length_unit": "seconds", **two})
    said = said_by(load_study([tmp_path]))
    assert (
        "bert and hubert (base size, num_hidden_layers=2): inference and training at 128 tokens and 2 seconds, "
        "batch 1, in float32 on cpu (Test CPU, 2 threads)."
    ) in said
    assert "Latency (seconds of input)" in said


def test_each_point_says_how_to_open_it(tmp_path: Path, store_point: Store) -> None:
    path = store_point(tmp_path, "bert", 64, 5)
    label = path.relative_to(tmp_path)
    (path.parent / "a b.json").write_bytes(path.read_bytes())
    page = render(load_study([tmp_path]))
    assert f"<td>tracekit open {label}</td>" in page
    assert f"<td>tracekit open &#39;{label.parent}/a b.json&#39;</td>" in page


def test_json_block_cannot_be_left() -> None:
    text = page.json_block(dict.fromkeys(HOSTILE, HOSTILE))
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == dict.fromkeys(HOSTILE, HOSTILE)
    with pytest.raises(ValueError, match="JSON"):
        page.json_block(float("nan"))


def test_vendored_scripts_fit_altair() -> None:
    licences = page.static("LICENSES.txt")
    vendored = dict(re.findall(r"^(vega[a-z-]*) (\S+)  \(", licences, re.MULTILINE))
    assert vendored["vega-lite"].rsplit(".", 1)[0] == altair.VEGALITE_VERSION.rsplit(".", 1)[0]
    assert vendored["vega"].split(".")[0] == altair.VEGA_VERSION.split(".")[0]
    assert vendored["vega-embed"].split(".")[0] == altair.VEGAEMBED_VERSION.split(".")[0]
    for name in ("vega.min.js", "vega-lite.min.js", "vega-embed.min.js", "report.js"):
        assert "</script" not in page.static(name).lower()


def test_a_foreign_trace_is_worth_opening(tmp_path: Path) -> None:
    trace = tmp_path / "foreign.json"
    kernel = {**span("k", 2, 3, "kernel"), "args": {"device": 0, "correlation": 7}}
    launch = {**span("cudaLaunchKernel", 1, 1, "cuda_runtime"), "args": {"correlation": 7}}
    trace.write_text(json.dumps({"traceEvents": [span("aten::mm", 0, 10, "cpu_op"), launch, kernel]}))
    text = render(load_study([trace]))
    data = embedded(text)
    assert set(data["charts"]) == {"device-busy", "device-kernels", "device-components"}
    assert data["operators"]["name"] == ["aten::mm", "cudaLaunchKernel"]
    assert data["components"]["table"]["length_text"] == ["whole trace"]
    assert "no latency and no memory" in text
    assert "Device work" in text
    assert "no_ranges" in text


def test_a_trace_is_as_good_as_a_study(tmp_path: Path, store_point: Store) -> None:
    trace = load(store_point(tmp_path, "bert", 64, 5))
    assert isinstance(trace, Trace)
    assert "bert" in write_html(trace, tmp_path / "r.html").read_text()


def test_write_is_whole_and_small(tmp_path: Path, store_point: Store) -> None:
    for model in "abcdefg":
        for i in range(8):
            store_point(tmp_path, model, 64 << i, 2.0**i, [f"aten::op{n}" for n in range(80)])
    target = write_html(load_study([tmp_path]), tmp_path / "out" / "r.html")
    assert [p.name for p in target.parent.iterdir()] == ["r.html"]
    assert target.stat().st_size < 2 << 20


def test_lengths_from_names_claim_no_settings(tmp_path: Path) -> None:
    """Nobody said in which mode, at which batch or on which machine these ran, so the page does not either."""
    for length in (128, 256):
        event = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 5, "args": {}}
        (tmp_path / f"bert_{length}.json").write_text(json.dumps({"traceEvents": [event]}))
    page = render(load(tmp_path, length_from=r"_(\d+)"))
    assert "bert at 128 to 256 units: read from traces collected elsewhere" in page
    assert "batch 1" not in page


def test_doubts_stand_beside_their_numbers(tmp_path: Path, store_point: Store) -> None:
    busy = [Sample(wall_ns=10**8, cpu_ns=10**8, run_delay_ns=3 * 10**7)] * 5
    for length in (128, 256):
        doubtful = {"samples": busy, "profile": Profile(steps=1, warmup=0, wall_ns=2 * 10**8)} if length == 256 else {}
        store_point(tmp_path, "bert", length, 100, **doubtful)
    text = render(load_study([tmp_path]))
    clause = "threads waited for a core 30% of the time"
    assert text.count(f'100 ms <sup><abbr title="{clause}">b</abbr></sup>') == 1
    assert text.count("b: busy machine (") == 1
    assert text.count('256 <sup><abbr title="a profiled step took 2.0 times as long') == 1
    assert text.count("p: profiler (") == 1
    curves = embedded(text)["charts"]
    rows = [row for rows in curves["latency0"]["datasets"].values() for row in rows]
    assert {row["length"]: row["doubt"] for row in rows} == {128: "", 256: clause}
    assert "doubt" not in json.dumps(curves["memory0"])
