"""A study whose every text is hostile, through every way out: nothing in it acts, and nothing hides what is there."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from tests import hostile
from tests.pages import DRAWN, EXPRESSIONS, FOREIGN, Parsed, assert_nothing_acts, embedded, strings, texts
from tracekit.analyze.dataset_file import load_dataset
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.points import Identity
from tracekit.reports import page
from tracekit.reports.asked import Asked
from tracekit.reports.checkup import print_checkup
from tracekit.reports.html import _SCRIPTS, write_html
from tracekit.reports.terminal import render
from tracekit.safety import safe_filename, sanitize


@dataclass(frozen=True)
class Made:
    """The study, what is asked of it, its page, and where that is."""

    study: Study
    asked: Asked
    text: str
    path: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("hostile")
    hostile.write_study(folder / "x")
    study = load_study([folder / "x"])
    study.title = hostile.NAMES[0] + "".join(hostile.LABELS)
    inputs = folder / '<b>\x1b[1m\u202e=1"x.csv'
    inputs.write_text('"<i>\x1b\u202e|"\n100\n300\n')
    dataset = load_dataset(inputs, "<i>\x1b\u202e|", unit=study.latency()["length_unit"][0])
    asked = Asked(dataset=dataset, at=(1000,), by="shape")
    path = write_html(study, folder / "report.html", asked)
    return Made(study, asked, path.read_text(encoding="utf-8"), path)


def test_nothing_foreign_becomes_markup(made: Made) -> None:
    parsed = Parsed(made.text)
    assert_nothing_acts(parsed, _SCRIPTS)
    # Of attributes only these have foreign words.
    assert {(tag, name) for tag, name, value in parsed.attributes if FOREIGN.search(value or "")} == {
        ("td", "title"),
        ("div", "data-series"),
    }


def test_every_section_was_tried(made: Made) -> None:
    ids = {str(value) for _, name, value in Parsed(made.text).attributes if name == "id"}
    assert ids >= {
        *(
            "inputs",
            "answer",
            "tipping",
            "curves",
            "growth",
            "components",
            "layers",
            "modules",
            "roofline",
            "operators",
        ),
        *("memory-peak", "phases", "device", "failures", "quality", "provenance"),
    }


def test_names_are_data_of_charts_and_never_expressions(made: Made) -> None:
    data = embedded(made.text)
    found = set(texts([data["charts"], data["components"]["specs"]]))
    assert {key for key, _ in found} & EXPRESSIONS
    foreign = {(key, text) for key, text in found if FOREIGN.search(text)}
    # A unit stands in titles of axes and tooltips. Vega-Lite makes expressions of these, in which it escapes `"` alone.
    assert {key for key, _ in foreign} == {"title"}
    assert not [text for _, text in foreign if "\\" in text]
    fields = {text for key, text in found if key == "field"}
    assert all(re.fullmatch(r"[a-z][a-z_0-9]*", field) for field in fields)
    assert not [text for key, text in found if key != "$schema" and "http" in text and key != "title"]


def test_a_json_block_cannot_be_left() -> None:
    text = page.json_block(dict.fromkeys(hostile.NAMES, hostile.NAMES))
    assert not re.search("[<>&\u2028\u2029]", text)
    assert json.loads(text) == dict.fromkeys(hostile.NAMES, hostile.NAMES)
    with pytest.raises(ValueError, match="JSON"):
        page.json_block(float("nan"))


def test_nothing_on_the_page_is_unseen(made: Made) -> None:
    assert not hostile.UNSEEN.findall(made.text)
    assert not [text for text in strings(embedded(made.text)) if hostile.UNSEEN.search(text) or "\n" in text]
    assert sanitize(hostile.NAMES[10]) in Parsed(made.text).text


def test_embedded_numbers_are_the_tables(made: Made) -> None:
    data = embedded(made.text)
    every = pl.DataFrame(data["operators"])
    operators = every.filter(phase="")
    table = made.study.operators()
    for column in ("self_ns", "calls", "total_ns", "device_ns"):
        assert operators[column].sum() == table[column].sum()
    trained = pl.col("phase").is_in(["backward", "recompute", "optimizer"]).any().over("series")
    phases = made.study.operators(by=("phase",)).filter(trained & (pl.col("phase") != "outside"))
    assert 0 < phases["self_ns"].sum() == every.filter(pl.col("phase") != "")["self_ns"].sum()
    bars = pl.DataFrame(data["components"]["table"]).filter(phase="")
    of_points = bars.filter(pl.col("length").is_not_null())
    assert of_points["time"].sum() == pytest.approx(float(made.study.steps()["dur_ns"].sum()) / 1e6)
    assert (of_points["rate"] * of_points["length"] / 1e3).to_list() == pytest.approx(of_points["time"].to_list())
    per_bar = bars.group_by("series", "length").agg(pl.col("share").sum())["share"]
    assert per_bar.to_list() == pytest.approx([1.0] * per_bar.len())
    latencies = [spec for name, spec in data["charts"].items() if name.startswith("latency")]
    curves = (row for spec in latencies for rows in spec["datasets"].values() for row in rows if "value" in row)
    assert sorted(row["value"] for row in curves) == pytest.approx(
        sorted((made.study.latency()["median_ns"] / 1e6).to_list())
    )


def test_the_terminal_shows_names_and_obeys_none(made: Made) -> None:
    for width, asked in ((40, made.asked), (160, Asked())):
        report = render(made.study, width, asked)
        shown = [Console(file=io.StringIO(), width=width, markup=markup) for markup in (False, True)]
        for console in shown:  # no cell is left to what Rich makes of a plain text
            console.print(report)
        plain, marked = (console.file.getvalue() for console in shown)  # type: ignore[attr-defined]
        assert plain == marked
        assert not hostile.UNSEEN.findall(plain)
        assert max(map(len, plain.splitlines())) <= width
    assert "[red]x[/] [/] [bold" in plain
    assert ":skull: :warning:" in plain


def test_a_checkup_shows_names_and_obeys_none(made: Made) -> None:
    console = Console(file=io.StringIO(), width=200)
    for trace in (made.study.traces[0], made.study.traces[-1]):
        print_checkup(trace, console)
    assert not hostile.UNSEEN.findall(console.file.getvalue())  # type: ignore[attr-defined]
    assert sanitize(made.study.traces[0].path.name) in console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", hostile.NAMES, ids=ascii)
def test_files_stay_in_their_folder(name: str, tmp_path: Path) -> None:
    path = Identity(model=name, length=1, mode=name, attention=name, dtype=name, device=name).path(tmp_path)
    assert len(path.relative_to(tmp_path).parts) == 3
    for part in (*path.relative_to(tmp_path).parts, safe_filename(name)):
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,120}", part)


@pytest.mark.browser
def test_nothing_acts_in_a_browser(browser: Any, made: Made) -> None:
    page = browser.new_page()
    said: list[str] = []
    asked: list[str] = []

    def dismiss(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(made.path.as_uri())
    charts = page.locator(".chart").count()
    page.wait_for_function("count => document.querySelectorAll('.chart svg.marks').length === count", arg=charts)
    title = page.title()
    data = embedded(made.text)
    specs = [*data["charts"].values(), *(one for group in data["components"]["specs"] for one in group.values())]
    compiled, names = page.evaluate(DRAWN, specs)
    assert compiled > 20
    assert "datum" in names
    assert not [name for name in names if FOREIGN.search(name) or not re.fullmatch(r"[A-Za-z_]\w*", name)]
    for key in "].u,[/":
        page.keyboard.press(key)
    page.keyboard.type("alert(1)")
    shown = page.eval_on_selector_all("#operator-table tbody tr", "all => all.map(row => row.cells[0].textContent)")
    assert {sanitize(name) for name in hostile.NAMES if "alert(1)" in name} <= set(shown)
    assert page.locator("img, iframe, object, embed, main script, main a[href^=javascript]").count() == 0
    assert page.evaluate("document.scripts.length") == 1 + len(_SCRIPTS)
    assert page.evaluate("getComputedStyle(document.body).display") != "none"
    assert page.title() == title == f"{sanitize(made.study.title)} · tracekit"
    assert page.evaluate("Object.getPrototypeOf({}) === Object.prototype && Object.keys(Object.prototype).length === 0")
    assert asked == [made.path.as_uri()]
    assert said == []
    page.close()
