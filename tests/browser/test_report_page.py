"""The HTML report in headless Chromium: it draws, it answers, it loads nothing, and no name in it acts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit.analyze.study import load_study
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


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> str:
    folder = tmp_path_factory.mktemp("study")
    for length in (128, 2048):
        store_point(folder, "bert", length, length / 100, ["aten::mm", "aten::add", f"aten::only_{length}", *HOSTILE])
        store_point(folder, HOSTILE[0], length, length / 50, HOSTILE)
        store_point(folder, "__proto__", length, length / 70, HOSTILE)
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

    def open(self, address: str, charts: int = 5) -> Any:
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
    address = page.url
    again = opened.open(address)
    again.reload()
    assert [row[0] for row in rows(again)] == ["aten::add", "aten::mm", "aten::only_128"]
    assert again.get_attribute("button[data-unit=share]", "aria-pressed") == "true"
    assert opened.said == []


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
