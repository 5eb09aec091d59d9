"""The HTML report in headless Chromium: it draws, it answers, it loads nothing, and no name in it acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.points import Identity, PeakMemory, Point
from tracekit.reports.html import write_html

Store = Callable[..., Path]

pytestmark = pytest.mark.browser

HOSTILE = [
    "</script><script>document.title='PWNED'</script>",
    "<img src=x onerror=\"document.title='PWNED'\">",
    "__proto__",
    "constructor",
    "{{7*7}}",
    "=cmd()",
    "datum['x']",
]
UNIT = "'+alert(1)+'\"</script>s"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> str:
    folder = tmp_path_factory.mktemp("study")
    for length in (128, 2048):
        store_point(folder, "bert", length, length / 100, ["aten::mm", "aten::add", f"aten::only_{length}", *HOSTILE])
        memory = PeakMemory(bytes=1, method=HOSTILE[1])
        store_point(folder, HOSTILE[0], length, length / 50, HOSTILE, memory=memory, baseline="bert")
        store_point(folder, "__proto__", length, 4 + length / 400, HOSTILE, baseline="bert")
    store_point(folder, "odd unit", 3, 7.0, identity={"length_unit": UNIT})
    failed = Point(identity=Identity(model="bert", length=16384, attention="sdpa", threads=2), status="oom")
    (folder / "x.failed.json").write_bytes(points.encode(failed))
    return write_html(load_study([folder]), folder / "report.html").as_uri()


class Opened:
    """A page with all that it said and asked for."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))

    def open(self, address: str, charts: int = 8) -> Any:
        self.page.goto(address)
        self.page.locator(".chart svg").nth(charts - 1).wait_for(timeout=20_000)
        return self.page


@pytest.fixture
def opened(browser: Any) -> Iterator[Opened]:
    one = Opened(browser, viewport={"width": 1200, "height": 900})
    yield one
    one.page.close()


def rows(page: Any) -> list[list[str]]:
    found: list[list[str]] = page.eval_on_selector_all(
        "#operator-table tbody tr", "trs => trs.map(tr => [...tr.cells].map(td => td.textContent))"
    )
    return found


def test_draws_everything_and_loads_nothing(opened: Opened, report: str) -> None:
    page = opened.open(report)
    assert opened.said == []
    assert opened.asked == [report]
    marks = page.eval_on_selector_all(
        ".chart", "charts => charts.map(c => c.querySelectorAll('svg path, svg rect').length)"
    )
    assert all(count > 5 for count in marks)
    assert "1,024" not in page.inner_text("#curves")  # ticks are the measured lengths
    assert "2,048" in page.locator("#curves .chart svg").first.text_content()


def test_tipping_points_are_told_and_marked(opened: Opened, report: str) -> None:
    page = opened.open(report)
    cells = page.eval_on_selector_all(".matrix tbody tr", "all => all.map(row => [...row.cells].map(c => c.innerText))")
    assert [(row[0], row[1].split()[0]) for row in cells] == [
        (f"{HOSTILE[0]} against bert", "never"),
        ("__proto__ against bert", "from"),
    ]
    chart = page.locator("[data-chart=latency0]")
    names = chart.locator("svg .mark-text text", has_text="__proto__").filter(has_text=cells[1][1].split()[1])
    assert names.count() == 1
    top = "e => e.getBoundingClientRect().top"
    assert names.evaluate(top) > chart.locator("svg .role-legend").first.evaluate(top)
    chart.locator("svg .mark-symbol path[aria-label*='tipping point']").hover()
    assert "__proto__ is faster than bert from" in page.locator("#vg-tooltip-element").inner_text()
    page.click(".matrix td a")
    assert page.url.endswith("#curve-latency0")
    assert opened.said == []


def test_no_name_acts(opened: Opened, report: str) -> None:
    page = opened.open(report)
    assert "PWNED" not in page.title()
    assert page.locator("img").count() == 0
    names = [row[0] for row in rows(page)]
    assert set(HOSTILE) <= set(names)
    assert page.evaluate("({}).polluted === undefined && Object.getPrototypeOf({}) === Object.prototype")


def test_selection_sorting_filter_and_deep_link(opened: Opened, report: str) -> None:
    page = opened.open(report)
    page.select_option("#series", "bert")
    assert page.input_value("#length") == "2,048"
    assert "aten::only_2048" in [row[0] for row in rows(page)]
    page.select_option("#length", "128")
    assert "aten::only_128" in [row[0] for row in rows(page)]
    page.fill("#filter", "aten::")
    assert {row[0] for row in rows(page)} == {"aten::mm", "aten::add", "aten::only_128"}
    page.click("th[data-column=name] button")
    assert [row[0] for row in rows(page)] == ["aten::add", "aten::mm", "aten::only_128"]
    assert page.get_attribute("th[data-column=name]", "aria-sort") == "ascending"
    page.click("button[data-unit=share]")
    page.click("#theme")
    address = page.url
    again = opened.open(address)
    again.reload()
    assert again.get_attribute("html", "data-theme") == "dark"
    assert [row[0] for row in rows(again)] == ["aten::add", "aten::mm", "aten::only_128"]
    assert again.get_attribute("button[data-unit=share]", "aria-pressed") == "true"
    assert opened.said == []


def wait_for_outline(page: Any, *curves: str) -> None:
    """Charts are drawn anew when the browser comes to it: wait until just these curves have an outlined bar."""
    outlined = """wanted => {
        const drawn = p => p.getBoundingClientRect().height > 1;
        const charts = [...document.querySelectorAll("[data-series]")]
            .filter(c => [...c.querySelectorAll(".mark-rect path[stroke=currentColor]")].some(drawn));
        return JSON.stringify(charts.map(c => c.dataset.series)) === JSON.stringify(wanted);
    }"""
    page.wait_for_function(outlined, arg=list(curves), timeout=5_000)


def test_charts_and_table_share_one_choice(opened: Opened, report: str) -> None:
    page = opened.open(f"{report}#series=bert")
    wait_for_outline(page, "bert")
    page.locator('[data-series="__proto__"] svg .mark-rect path:not([stroke=currentColor])').first.click()
    assert page.inner_text("#chosen") == "of __proto__ at 128 tokens"
    assert (page.input_value("#series"), page.input_value("#length")) == ("__proto__", "128")
    wait_for_outline(page, "__proto__")
    assert "series=__proto__" in page.url
    page.locator("[data-chart=latency0] svg .mark-symbol path[aria-label*='curve: bert']").first.click()
    assert page.inner_text("#chosen") == "of bert at 128 tokens"
    page.select_option("#length", "2,048")
    wait_for_outline(page, "bert")
    assert opened.said == []


def test_names_in_tooltips_are_text(opened: Opened, report: str) -> None:
    page = opened.open(report)
    tip = page.locator("#vg-tooltip-element")
    seen = ""
    for chart in ("[data-chart=latency0]", "[data-chart=latency1]"):
        marks = page.locator(f"{chart} svg .mark-symbol path[aria-label], {chart} svg .mark-rect path[aria-label]")
        for i in range(marks.count()):
            marks.nth(i).hover(force=True)
            seen += tip.inner_text()
    assert HOSTILE[0] in seen
    assert tip.locator("script, img, svg").count() == 0
    assert UNIT in page.inner_text("#curves")
    assert "PWNED" not in page.title()
    assert opened.said == []


def test_a_link_within_the_page_keeps_the_choice(opened: Opened, report: str) -> None:
    page = opened.open(report)
    page.select_option("#length", "128")
    page.click("button[data-unit=rate]")
    page.click(".notices a")
    assert page.input_value("#length") == "128"
    assert page.get_attribute("button[data-unit=rate]", "aria-pressed") == "true"
    assert "bert at 16,384 tokens (oom)" in page.inner_text(".notices")


def test_the_keyboard_is_enough(opened: Opened, report: str) -> None:
    page = opened.open(report)
    page.focus("#series")
    page.keyboard.type(HOSTILE[2])
    assert page.inner_text("#chosen").startswith("of __proto__")
    page.focus("th[data-column=calls] button")
    page.keyboard.press("Enter")
    assert page.get_attribute("th[data-column=calls]", "aria-sort") == "descending"
    page.keyboard.press("Space")
    assert page.get_attribute("th[data-column=calls]", "aria-sort") == "ascending"
    page.focus("details summary")
    page.keyboard.press("Enter")
    assert page.locator("details").first.get_attribute("open") is not None


def test_a_trace_without_a_length_stands_beside_points(opened: Opened, tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10.0)
    (tmp_path / "a.json").write_text(
        '{"traceEvents": [{"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 9}]}'
    )
    page = opened.open(write_html(load_study([tmp_path]), tmp_path / "r.html").as_uri(), charts=4)
    assert page.locator("[data-series]").evaluate_all("all => all.map(e => e.dataset.series)") == ["bert", "a.json"]
    assert page.input_value("#series") == "bert"
    page.select_option("#series", "a.json")
    assert page.inner_text("#chosen") == "of a.json"
    assert [row[0] for row in rows(page)] == ["aten::mm"]
    page.click("button[data-unit=rate]")
    assert page.inner_text("[data-series='a.json']") == "This trace does not tell its length."
    page.click("button[data-unit=time]")
    page.locator("[data-series='a.json'] svg").wait_for()
    assert opened.said == []


def test_a_long_table_is_short_until_asked(opened: Opened, tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10.0, [f"aten::op{n}" for n in range(50)])
    page = opened.open(write_html(load_study([tmp_path]), tmp_path / "r.html").as_uri(), charts=3)
    total = page.inner_text("#operator-table tfoot tr")
    assert [row[0] for row in rows(page)][-2:] == ["35 more operators", "ranges, between operators"]
    assert len(rows(page)) == 17
    page.click("#all")
    assert [row[0] for row in rows(page)][-2:] == ["10 more operators", "ranges, between operators"]
    assert len(rows(page)) == 42
    assert page.inner_text("#operator-table tfoot tr") == total
    page.click("#all")
    assert len(rows(page)) == 17
    assert not page.is_visible("#length")  # there is nothing to choose


def test_totals_are_true_and_everything_can_be_shown(opened: Opened, report: str) -> None:
    page = opened.open(report)
    total = page.inner_text("#operator-table tfoot tr")
    assert "100.0%" in total
    page.select_option("#kind", "all")
    assert any(row[0].startswith("tracekit::") for row in rows(page))
    assert page.inner_text("#operator-table tfoot tr") == total


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_is_readable_in_both_schemes(browser: Any, report: str, scheme: str) -> None:
    one = Opened(browser, color_scheme=scheme)
    page = one.open(report)
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (dark == "rgb(255, 255, 255)") == (scheme == "light")
    label = page.evaluate("getComputedStyle(document.querySelector('.chart svg text')).fill")
    assert label == page.evaluate("getComputedStyle(document.body).color")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark
    one.page.close()


def test_narrow_screens_do_not_scroll_sideways(browser: Any, report: str) -> None:
    one = Opened(browser, viewport={"width": 400, "height": 800})
    page = one.open(report)
    wide = "[...document.querySelectorAll('body *:not(.skip)')].filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > 400)"
    assert page.evaluate(f"{wide}.map(e => e.tagName + '.' + e.className)") == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 400
    one.page.close()


def test_print_shows_tables_and_hides_controls(opened: Opened, report: str) -> None:
    page = opened.open(report)
    page.emulate_media(media="print")
    assert not page.is_visible("#theme")
    assert not page.is_visible("#filter")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.is_visible("#chosen")  # says what the hidden menus said
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator("main details:not([open])").count() == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.locator("main details:not([open])").count() > 0
