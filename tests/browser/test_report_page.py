"""The HTML report in headless Chromium: it draws, it answers, it loads nothing. Of hostile names: tests/reports."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import NAMES
from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.points import Identity, Point
from tracekit.reports.html import write_html

Store = Callable[..., Path]

pytestmark = pytest.mark.browser

SCRIPT, FORMULA = NAMES[0], NAMES[24]
UNIT = "'+alert(1)+'\"</script>s"
ODD, TOKENS = "[data-chart=latency0]", "[data-chart=latency1]"  # of the formula in its odd unit, of the others


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> str:
    folder = tmp_path_factory.mktemp("study")
    for length in (128, 2048):
        ops = ["aten::mm", "aten::add", f"aten::only_{length}"]
        store_point(folder, "bert", length, length / 100, ops, layers=True)
        store_point(folder, SCRIPT, length, length / 50, ["aten::mm", *NAMES], baseline="bert")
        store_point(folder, "__proto__", length, 4 + length / 400, ["aten::mm"], layers=True, baseline="bert")
    store_point(folder, FORMULA, 3, 7.0, identity={"length_unit": UNIT})
    failed = Point(identity=Identity(model="bert", length=16384, attention="sdpa", threads=2), status="oom")
    (folder / "x.failed.json").write_bytes(points.encode(failed))
    return write_html(load_study([folder]), folder / "report.html").as_uri()


class Opened:
    """A page with all that it said and asked for."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(10_000)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, address: str) -> Any:
        """Go there, and wait until every chart is drawn."""
        self.page.goto(address)
        drawn = "() => [...document.querySelectorAll('.chart')].every(chart => chart.querySelector('svg.marks'))"
        self.page.wait_for_function(drawn, timeout=20_000)
        return self.page


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    one = Opened(browser, viewport={"width": 1200, "height": 900})
    yield one
    one.page.close()


@pytest.fixture(scope="module")
def shared(browser: Any, report: str) -> Iterator[Opened]:
    """One page for the tests that leave it as they found it, or say what they want before they look."""
    one = Opened(browser, viewport={"width": 1200, "height": 900})
    one.open(report)
    yield one
    one.page.close()


def rows(page: Any) -> list[list[str]]:
    found: list[list[str]] = page.eval_on_selector_all(
        "#operator-table tbody tr", "trs => trs.map(tr => [...tr.cells].map(td => td.textContent))"
    )
    return found


def test_draws_everything_and_loads_nothing(shared: Opened, report: str) -> None:
    page = shared.page
    assert shared.said == []
    assert shared.asked == [report]
    marks = page.eval_on_selector_all(
        ".chart", "charts => charts.map(c => c.querySelectorAll('svg path, svg rect').length)"
    )
    assert len(marks) >= 10
    assert all(count > 5 for count in marks)
    assert "1,024" not in page.inner_text("#curves")  # ticks are the measured lengths
    assert "2,048" in page.locator(f"{TOKENS} svg.marks").text_content()
    assert UNIT in page.inner_text("#curves")


def test_tipping_points_are_told_and_marked(shared: Opened) -> None:
    page = shared.page
    cells = page.eval_on_selector_all(".matrix tbody tr", "all => all.map(row => [...row.cells].map(c => c.innerText))")
    assert [(row[0], row[1].split()[0]) for row in cells] == [
        (f"{SCRIPT} against bert", "never"),
        ("__proto__ against bert", "from"),
    ]
    chart = page.locator(TOKENS)
    names = chart.locator("svg .mark-text text", has_text="__proto__").filter(has_text=cells[1][1].split()[1])
    assert names.count() == 1
    top = "e => e.getBoundingClientRect().top"
    assert names.evaluate(top) > chart.locator("svg .role-legend").first.evaluate(top)
    chart.locator("svg .mark-symbol path[aria-label*='tipping point']").hover()
    assert "__proto__ is faster than bert from" in page.locator("#vg-tooltip-element").inner_text()
    page.click(".matrix td a")
    assert page.url.endswith("#curve-latency1")
    assert shared.said == []


def test_names_in_tooltips_are_text(shared: Opened) -> None:
    page = shared.page
    tip = page.locator("#vg-tooltip-element")
    seen = ""
    for chart in (ODD, TOKENS):
        marks = page.locator(f"{chart} svg .mark-symbol path[aria-label], {chart} svg .mark-rect path[aria-label]")
        for i in range(marks.count()):
            marks.nth(i).hover(force=True)
            seen += tip.inner_text()
    assert SCRIPT in seen
    assert FORMULA in seen
    assert tip.locator("script, img, svg").count() == 0
    assert shared.said == []


def downloaded(page: Any, chart: str) -> list[list[str]]:
    """The rows of the file that the chart's CSV link gives."""
    with page.expect_download() as download:
        page.locator(f"{chart} .vega-actions a", has_text="CSV").dispatch_event("click")
    with Path(download.value.path()).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_chart_gives_its_rows_as_csv(shared: Opened) -> None:
    head, *body = downloaded(shared.page, TOKENS)
    assert head[:3] == ["series", "length", "value"]
    assert {(name, int(length), round(float(value), 9)) for name, length, value, *_ in body} == {
        *(("bert", n, n / 100) for n in (128, 2048)),
        *((SCRIPT, n, n / 50) for n in (128, 2048)),
        *(("__proto__", n, round(4 + n / 400, 9)) for n in (128, 2048)),
    }
    assert {row[0] for row in downloaded(shared.page, ODD)} == {"series", f"'{FORMULA}"}
    head, *body = downloaded(shared.page, "[data-series=bert]")
    time = [float(row[head.index("time")]) for row in body]
    assert sum(time) == pytest.approx(1.28 + 20.48)
    head, *body = downloaded(shared.page, "[data-chart=layer-heat]")  # of lists: the table beside it
    assert head[:3] == ["curve", "layer", "attention"]
    assert ["bert at 2,048 tokens", "0"] in [row[:2] for row in body]
    assert shared.said == []


def wait_for_outline(page: Any, *curves: str) -> None:
    """Charts are drawn anew when the browser comes to it: wait until just these curves have an outlined bar."""
    outlined = """wanted => {
        const drawn = p => p.getBoundingClientRect().height > 1;
        const charts = [...document.querySelectorAll("[data-series]")]
            .filter(c => [...c.querySelectorAll(".mark-rect path[stroke=currentColor]")].some(drawn));
        return JSON.stringify(charts.map(c => c.dataset.series)) === JSON.stringify(wanted);
    }"""
    page.wait_for_function(outlined, arg=list(curves), timeout=5_000)


def wait_for_title(page: Any, text: str) -> None:
    """Wait until heat map and icicle both say that they show `text`."""
    titled = """text => ["layer-heat", "module-icicle"].every((chart) =>
        document.querySelector(`[data-chart=${chart}] .role-title text`).textContent.startsWith(text))"""
    page.wait_for_function(titled, arg=text, timeout=5_000)


def test_one_choice_in_the_bar_charts_and_keys(shared: Opened) -> None:
    page = shared.page
    page.select_option("#series", "bert")
    page.select_option("#length", "2,048")
    wait_for_outline(page, "bert")
    wait_for_title(page, "bert at 2,048 tokens")
    assert "aten::only_2048" in [row[0] for row in rows(page)]
    page.select_option("#length", "128")
    wait_for_title(page, "bert at 128 tokens")
    assert "aten::only_128" in [row[0] for row in rows(page)]
    page.locator('[data-series="__proto__"] svg .mark-rect path:not([stroke=currentColor])').first.click()
    assert page.inner_text("#chosen") == "of __proto__ at 128 tokens"
    assert (page.input_value("#series"), page.input_value("#length")) == ("__proto__", "128")
    wait_for_outline(page, "__proto__")
    wait_for_title(page, "__proto__ at 128 tokens")
    assert "series=__proto__" in page.url
    page.locator(f"{TOKENS} svg .mark-symbol path[aria-label*='curve: bert']").first.click()
    assert page.inner_text("#chosen") == "of bert at 128 tokens"
    page.focus("#theme")
    page.keyboard.press(".")
    assert page.inner_text("#chosen") == "of bert at 2,048 tokens"
    page.keyboard.press(".")  # there is no longer one
    page.keyboard.press("]")
    page.keyboard.press(",")
    page.keyboard.press("]")
    assert page.inner_text("#chosen") == "of __proto__ at 128 tokens"
    page.keyboard.press("[")
    page.keyboard.press("[")
    wait_for_outline(page, "bert")
    assert page.inner_text("#chosen") == "of bert at 128 tokens"
    for unit in ("rate", "share", "time"):
        page.keyboard.press("u")
        assert page.get_attribute(f"button[data-unit={unit}]", "aria-pressed") == "true"
    page.keyboard.press("/")
    page.keyboard.type("]u.")
    assert page.input_value("#filter") == "]u."  # where text is written, keys are text
    assert page.inner_text("#chosen") == "of bert at 128 tokens"
    page.fill("#filter", "")
    page.focus("th[data-column=calls] button")
    for key, order in (("Enter", "descending"), ("Space", "ascending")):
        page.keyboard.press(key)
        assert page.get_attribute("th[data-column=calls]", "aria-sort") == order
    page.focus("details:not([open]) > summary")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.parentElement.open")
    assert shared.said == []


def test_totals_are_true_and_everything_can_be_shown(shared: Opened) -> None:
    page = shared.page
    total = page.inner_text("#operator-table tfoot tr")
    assert "100.0%" in total
    page.select_option("#kind", "all")
    assert any(row[0].startswith("tracekit::") for row in rows(page))
    assert page.inner_text("#operator-table tfoot tr") == total
    page.select_option("#kind", "operator")


def test_a_link_within_the_page_keeps_the_choice(shared: Opened) -> None:
    page = shared.page
    page.select_option("#series", "bert")
    page.select_option("#length", "128")
    page.click("button[data-unit=rate]")
    page.click(".notices a")
    assert page.input_value("#length") == "128"
    assert page.get_attribute("button[data-unit=rate]", "aria-pressed") == "true"
    assert "bert at 16,384 tokens (oom)" in page.inner_text(".notices")


def test_filter_sorting_and_deep_link(opened: Opened, report: str) -> None:
    page = opened.open(f"{report}#series=bert&length=128&unit=share&theme=dark&filter=aten%3A%3A")
    assert (page.input_value("#series"), page.input_value("#length")) == ("bert", "128")
    assert page.get_attribute("button[data-unit=share]", "aria-pressed") == "true"
    assert page.get_attribute("html", "data-theme") == "dark"
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert {row[0] for row in rows(page)} == {"aten::mm", "aten::add", "aten::only_128"}
    page.click("th[data-column=name] button")
    assert [row[0] for row in rows(page)] == ["aten::add", "aten::mm", "aten::only_128"]
    assert page.get_attribute("th[data-column=name]", "aria-sort") == "ascending"
    page.select_option("#length", "2,048")
    page.click("#theme")
    page.reload()
    assert page.get_attribute("html", "data-theme") == "light"
    assert page.input_value("#length") == "2,048"
    assert [row[0] for row in rows(page)] == ["aten::add", "aten::mm", "aten::only_2048"]
    page.evaluate("location.hash = 'series=nobody&length=7&unit=evil&theme=evil&sort=evil&kind=evil'")
    page.wait_for_function("() => document.getElementById('series').selectedIndex === 0")
    assert page.inner_text("#chosen") == f"of {FORMULA} at 3 {UNIT}"
    assert page.get_attribute("html", "data-theme") == "light"
    assert opened.said == []


WIDER = """width => [...document.querySelectorAll("body *:not(.skip)")]
    .filter(e => !e.closest(".scroll, .visually-hidden") && e.getBoundingClientRect().right > width)
    .map(e => e.tagName + "." + e.getAttribute("class"))"""


@pytest.mark.parametrize(("scheme", "width"), [("light", 1200), ("dark", 400)])
def test_every_scheme_and_width_is_readable_on_screen_and_paper(
    browser: Any, report: str, scheme: str, width: int
) -> None:
    one = Opened(browser, color_scheme=scheme, viewport={"width": width, "height": 800})
    page = one.open(report)
    colour = "getComputedStyle(document.body).backgroundColor"
    paper = page.evaluate(colour)
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    label = page.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
    assert label == page.evaluate("getComputedStyle(document.body).color")
    assert page.evaluate(WIDER, width) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.emulate_media(media="print")
    assert page.evaluate(colour) == "rgb(255, 255, 255)"
    controls = page.locator("button:not(th button), input, select, .control, .vega-embed summary")
    assert [one.evaluate("e => e.outerHTML") for one in controls.all() if one.is_visible()] == []
    assert page.is_visible("#chosen")  # says what the hidden menus said
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open])").count() == 0
    assert page.evaluate(WIDER, width) == []
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not([open])").count() > 0
    page.emulate_media(media="screen")
    page.click("#theme")
    assert page.evaluate(colour) != paper
    assert one.said == []
    one.page.close()


def test_a_trace_without_a_length_stands_beside_points(opened: Opened, tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10.0, [f"aten::op{n}" for n in range(50)])
    (tmp_path / "a.json").write_text(
        '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 9}]}'
    )
    page = opened.open(write_html(load_study([tmp_path]), tmp_path / "r.html").as_uri())
    assert page.locator("[data-series]").evaluate_all("all => all.map(e => e.dataset.series)") == ["bert", "a.json"]
    assert page.input_value("#series") == "bert"
    assert not page.is_visible("#length")  # there is nothing to choose
    # A long table is short until asked.
    total = page.inner_text("#operator-table tfoot tr")
    assert [row[0] for row in rows(page)][-2:] == ["35 more operators", "ranges, between operators"]
    assert len(rows(page)) == 17
    page.click("#all")
    assert [row[0] for row in rows(page)][-2:] == ["10 more operators", "ranges, between operators"]
    assert len(rows(page)) == 42
    assert page.inner_text("#operator-table tfoot tr") == total
    page.click("#all")
    assert len(rows(page)) == 17
    page.select_option("#series", "a.json")
    assert page.inner_text("#chosen") == "of a.json"
    assert [row[0] for row in rows(page)] == ["aten::mm"]
    page.click("button[data-unit=rate]")
    assert page.inner_text("[data-series='a.json']") == "This trace does not tell its length."
    page.click("button[data-unit=time]")
    page.locator("[data-series='a.json'] svg").wait_for()
    assert opened.said == []
