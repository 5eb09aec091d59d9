"""Heat map and icicle as a page draws them: under its policy, without eval, following a choice, enlarged by a click."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tracekit.analyze.load import load_study
from tracekit.reports import heat, icicle, page

Store = Callable[..., Path]

pytestmark = pytest.mark.browser

HOSTILE = "</script><script>document.title='PWNED'</script>"
DRAW = """
const specs = JSON.parse(document.getElementById("data").textContent);
window.views = {};
for (const [id, spec] of Object.entries(specs)) {
  const element = document.body.appendChild(document.createElement("div"));
  element.id = id;
  vegaEmbed(element, spec, {ast: true, renderer: "svg", actions: false, defaultStyle: false}).then((made) => {
    views[id] = made.view;
  });
}
"""
MARK = "user_annotation"


def trace(folder: Path, name: str, ffn: int) -> None:
    """A model of two layers, each an attention of 100 us and an `ffn`, whose name is foreign."""
    at, events = 20, [("ProfilerStep#1", 0, 1000), ("tracekit::model#", 10, 900)]
    for layer in (0, 1):
        events += [
            (f"tracekit::layer#enc.{layer}", at, 120 + ffn),
            (f"tracekit::attention#enc.{layer}.attn", at + 5, 100),
            (f"tracekit::ffn#enc.{layer}.{HOSTILE}", at + 110, ffn),
        ]
        at += 130 + ffn
    rows = [{"ph": "X", "cat": MARK, "pid": 1, "tid": 1, "name": n, "ts": t, "dur": d} for n, t, d in events]
    (folder / name).write_text(page.json_block({"traceEvents": rows}))


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Iterator[tuple[Any, list[str]]]:
    for name, ffn in (("a.json", 200), ("b.json", 30)):
        trace(tmp_path, name, ffn)
    study = load_study([tmp_path])
    found = [
        figure for section in (heat.section(study), icicle.section(study)) if section for figure in section.figures
    ]
    scripts = [page.static(f"{name}.min.js") for name in ("vega", "vega-lite", "vega-embed")] + [DRAW]
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src {' '.join(map(page.policy_hash, scripts))}"
    body = "".join(f"<script>{script}</script>" for script in scripts)
    data = page.json_block({figure.id: figure.spec for figure in found})
    file = tmp_path / "page.html"
    file.write_text(
        f'<!doctype html><meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<style>div {{ width: 800px }}</style><body><script type="application/json" id="data">{data}</script>{body}',
        encoding="utf-8",
    )
    one, said = browser.new_page(), []
    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.goto(file.as_uri())
    one.wait_for_function("Object.keys(views).length === 2", timeout=20_000)
    yield one, said
    one.close()


def texts(page: Any, chart: str) -> list[str]:
    found: list[str] = page.eval_on_selector_all(
        f"#{chart} .mark-text.role-mark text", "all => all.map(t => t.textContent)"
    )
    return sorted(text for text in found if text)


def choose(page: Any, series: str) -> None:
    page.evaluate(
        """async (name) => { for (const view of Object.values(views))
        await view.signal("chosen_series", name).signal("chosen_length", "whole trace").runAsync(); }""",
        series,
    )


def test_charts_follow_a_choice_and_a_click_enlarges(opened: tuple[Any, list[str]]) -> None:
    one, said = opened
    assert one.eval_on_selector_all("#layer-heat .mark-rect path", "all => all.length") == 6
    assert texts(one, "layer-heat").count("200") == 2
    whole = texts(one, "module-icicle")
    assert {"one step  1,000 us", "model  900 us", "enc.0  320 us"} <= set(whole)
    assert sum(text.startswith("enc.") for text in whole) == 2
    one.locator("#module-icicle text", has_text="enc.1").click(force=True)
    one.wait_for_function("views['module-icicle'].signal('zoom').x0 !== undefined")
    assert [text for text in texts(one, "module-icicle") if text.startswith("enc.")] == ["enc.1  320 us"]
    assert "attn  100 us" in texts(one, "module-icicle")
    one.locator("#module-icicle text", has_text="one step").click(force=True)  # what is above goes back
    assert texts(one, "module-icicle") == whole
    one.locator("#module-icicle text", has_text="enc.1").click(force=True)
    one.keyboard.press("Escape")
    one.wait_for_function("views['module-icicle'].signal('zoom').x0 === undefined")
    assert texts(one, "module-icicle") == whole
    one.locator("#module-icicle text", has_text="enc.1").click(force=True)
    choose(one, "b.json")  # another point is shown whole
    assert "enc.0  150 us" in texts(one, "module-icicle")
    assert texts(one, "layer-heat").count("30.0") == 2
    choose(one, "nobody")
    assert texts(one, "module-icicle") == texts(one, "layer-heat") == []
    assert one.locator("#layer-heat .role-title text").text_content() == "nobody: no layers are known"
    assert said == []
    assert one.title() == ""
