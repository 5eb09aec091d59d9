"""The page of a comparison in headless Chromium: it draws, its parts follow a choice. Of hostile names: tests/reports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit.analyze.compare import compare
from tracekit.points import PeakMemory
from tracekit.reports.comparison_page import write_comparison

Store = Callable[..., Path]

pytestmark = pytest.mark.browser

DRAWN = "() => [...document.querySelectorAll('.chart')].every(c => c.querySelector('svg.marks') || c.textContent)"
WIDER = """width => [...document.querySelectorAll("body *:not(.skip)")]
    .filter(e => !e.closest(".scroll, .visually-hidden") && e.getBoundingClientRect().right > width)
    .map(e => e.tagName + "." + e.getAttribute("class"))"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> str:
    folder = tmp_path_factory.mktemp("sides")
    for side, slower, extra in (("base", 1.0, "old"), ("new", 1.3, "new")):
        for length in (128, 512):
            ops = [f"aten::{extra}_{length}", *(f"aten::op{n}" for n in range(50))]
            memory = PeakMemory(bytes=int(length * slower) << 20, method="allocator events")
            store_point(folder / side, "bert", length, slower * length / 10, ops, layers=True, memory=memory)
        store_point(folder / side, "gpt2", 64, slower * 10.0)
    return write_comparison(compare(folder / "base", folder / "new", fail_on=["5%"]), folder / "c.html").as_uri()


@pytest.fixture
def opened(browser: Any, address: str) -> Iterator[tuple[Any, list[str]]]:
    one, said = browser.new_page(viewport={"width": 400, "height": 900}), []
    one.set_default_timeout(10_000)
    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("request", lambda request: said.extend([request.url] if not request.url.startswith("file:") else []))
    one.goto(address)
    one.wait_for_function(DRAWN, timeout=20_000)
    yield one, said
    one.close()


def names(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "#parts-table tbody tr", "all => all.map(tr => tr.cells[0].textContent)"
    )
    return found


def waterfall(page: Any) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        "[data-spec=waterfall][data-parts=component] .mark-text.role-mark text", "all => all.map(t => t.textContent)"
    )
    return found


def test_parts_follow_the_choice(opened: tuple[Any, list[str]], address: str) -> None:
    page, said = opened
    assert page.evaluate(WIDER, 400) == []
    page.select_option("#series", "bert")
    page.select_option("#length", "512")
    page.wait_for_function(
        f"{DRAWN} && document.querySelector('[data-spec=waterfall]').textContent.includes('+15.4 ms')"
    )
    assert waterfall(page)[-1] == "+15.4 ms"
    assert page.inner_text("#parts [data-chosen]") == "latency of bert at 512 tokens"
    assert {"aten::old_512", "aten::new_512"} <= set(names(page))
    assert names(page)[-1] == "41 more"
    total = page.locator("#parts-table tfoot td").all_inner_texts()
    assert "+15.4 ms" in page.locator("#parts-table tfoot").text_content()
    page.fill("#filter", "appeared")
    assert names(page) == ["aten::new_512"]
    page.fill("#filter", "")
    page.click("#all")
    assert len(names(page)) > 40
    assert page.locator("#parts-table tfoot td").all_inner_texts() == total
    page.locator("[data-choose]", has_text="128 tokens").click()  # another point by its name in the table
    assert page.input_value("#length") == "128"
    assert "aten::new_128" in names(page)
    page.locator("[data-chart=intervals0] svg .mark-symbol path[aria-label*='512 tokens, bert']").first.click(
        force=True
    )
    assert page.input_value("#length") == "512"  # or by a click on its change
    assert "length=512" in page.url
    page.select_option("#level", "layer")
    assert sorted(names(page)) == ["0", "1", "outside every layer"]
    page.select_option("#level", "memory")
    assert "153 MiB" in page.locator("#parts-table tfoot").text_content()
    page.goto(f"{address}#series=gpt2&length=64&level=component&sort=name&up=1&theme=dark")
    page.reload()
    page.wait_for_function(DRAWN, timeout=20_000)
    assert names(page) == sorted(names(page))
    assert page.inner_text("[data-spec=waterfall][data-parts=memory]") == "Nothing changed here."
    assert page.inner_text("#parts [data-chosen]") == "latency of gpt2 at 64 tokens"
    assert page.get_attribute("html", "data-theme") == "dark"
    assert said == []
