"""The page of a comparison: its numbers are the comparison's, nothing foreign acts in it, its size is bounded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests import hostile
from tests.pages import DRAWN, EXPRESSIONS, FOREIGN, Parsed, assert_nothing_acts, embedded, strings, texts
from tracekit import points
from tracekit.analyze.compare import Comparison, compare
from tracekit.errors import UsageError
from tracekit.points import Identity, PeakMemory, Point, Trial
from tracekit.reports import comparison_parts, page
from tracekit.reports.comparison_page import _SCRIPTS, render, write_comparison

Store = Callable[..., Path]


@dataclass(frozen=True)
class Made:
    """A comparison, its page, and where that is."""

    comparison: Comparison
    text: str
    path: Path


# -- nothing foreign acts


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("hostile")
    for side, slower, version in (("base", 1.0, ""), ("new", 1.4, hostile.NAMES[0])):
        hostile.write_study(folder / side, slower=slower, version=version)
    next((folder / "new").rglob("512*.json")).unlink()
    comparison = compare(folder / "base", folder / "new", fail_on=["5%"])
    comparison.base.title = hostile.NAMES[0] + "".join(hostile.LABELS)
    path = write_comparison(comparison, folder / "comparison.html")
    return Made(comparison, path.read_text(encoding="utf-8"), path)


def test_every_section_was_tried(odd: Made) -> None:
    ids = [str(value) for _, name, value in Parsed(odd.text).attributes if name == "id"]
    sections = "answer differences changes why intervals curves components memory parts novelties unmatched failures"
    assert {*sections.split(), "quality", "provenance"} <= {*ids}
    assert len(ids) == len(set(ids))
    data = embedded(odd.text)
    assert set(data["parts"]["level"]) == {"operator", "kernel", "component", "layer", "phase", "memory"}


def test_nothing_foreign_becomes_markup(odd: Made) -> None:
    parsed = Parsed(odd.text)
    assert_nothing_acts(parsed, _SCRIPTS)
    assert not [a for a in parsed.attributes if FOREIGN.search(a[2] or "")]


def test_names_are_data_of_charts_and_never_expressions(odd: Made) -> None:
    data = embedded(odd.text)
    found = set(texts([data["charts"], data["specs"]]))
    assert {key for key, _ in found} & EXPRESSIONS
    foreign = {(key, text) for key, text in found if FOREIGN.search(text)}
    assert {key for key, _ in foreign} <= {"title"}  # a unit, in titles of axes and tooltips
    assert not [text for _, text in foreign if "\\" in text]
    fields = {text for key, text in found if key == "field"}
    assert all(re.fullmatch(r"[a-z][a-z_0-9]*", field) for field in fields)


def test_nothing_on_the_page_is_unseen(odd: Made) -> None:
    assert not hostile.UNSEEN.findall(odd.text)
    assert not [text for text in strings(embedded(odd.text)) if hostile.UNSEEN.search(text) or "\n" in text]


@pytest.mark.browser
def test_nothing_acts_in_a_browser(browser: Any, odd: Made) -> None:
    one = browser.new_page()
    said: list[str] = []
    asked: list[str] = []

    def dismiss(dialog: Any) -> None:
        said.append(dialog.message)
        dialog.dismiss()

    one.on("console", lambda message: said.append(message.text))
    one.on("pageerror", lambda error: said.append(str(error)))
    one.on("dialog", dismiss)
    one.on("request", lambda request: asked.append(request.url))
    one.goto(odd.path.as_uri())
    drawn = "() => [...document.querySelectorAll('.chart')].every(c => c.querySelector('svg.marks') || c.textContent)"
    one.wait_for_function(drawn)
    data = embedded(odd.text)
    specs = [*data["charts"].values(), *(spec for level in data["specs"].values() for spec in level.values())]
    compiled, names = one.evaluate(DRAWN, specs)
    assert compiled == len(specs) > 6
    assert not [name for name in names if FOREIGN.search(name) or not re.fullmatch(r"[A-Za-z_]\w*", name)]
    one.locator("[data-choose]").last.click()
    assert one.locator("#parts-table tbody tr").count() > 1
    assert one.evaluate("document.scripts.length") == 1 + len(_SCRIPTS)
    assert one.locator("img, iframe, object, embed, main script, main a[href^=javascript]").count() == 0
    assert asked == [odd.path.as_uri()]
    assert said == []
    one.close()


# -- the numbers


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Made:
    """Two lengths: attention and its operators take twice as long at 512; an operator appears, a point fails now."""
    folder = tmp_path_factory.mktemp("sides")
    for length, ms, new_ms in ((128, 10.0, 10.0), (512, 40.0, 56.0)):
        trials = {"throughput": [Trial(batch=1, samples_ns=[int(1e9 / length)] * 5)]}
        ops = [f"aten::op{n}" for n in range(60)]
        store_point(folder / "base", "bert", length, ms, ops, layers=True, **trials)
        memory = {"memory": PeakMemory(bytes=length * 3 << 19, method="allocator events")}
        store_point(folder / "new", "bert", length, new_ms, [*ops[1:], "aten::new"], layers=True, **memory, **trials)
    store_point(folder / "base", "bert", 2048, 160.0)
    store_point(folder / "base", "gpt2", 128, 10.0)
    identity = Identity(model="bert", length=2048, attention="sdpa", threads=2)
    failed = Point(identity=identity, status="oom", reason="out of memory")
    (folder / "new" / f"x{points.FAILED_SUFFIX}").write_bytes(points.encode(failed))
    comparison = compare(folder / "base", folder / "new", fail_on=["5%", "memory:60%"])
    path = write_comparison(comparison, folder / "new" / "comparison.html")
    return Made(comparison, path.read_text(encoding="utf-8"), path)


def test_parts_of_every_level_add_up_to_the_whole_change(made: Made) -> None:
    data = embedded(made.text)
    parts = pl.DataFrame(data["parts"], strict=False)
    whole = made.comparison.changes("component").filter(metric="latency").group_by("length").agg(pl.col("change").sum())
    for point, length in enumerate((128.0, 512.0)):
        change = whole.filter(length=length)["change"].item()
        for level in ("operator", "component", "layer"):
            rows = parts.filter(point=point, level=level)
            assert rows["change"].sum() == pytest.approx(change, abs=rows.height)
            assert (rows["new"] - rows["base"]).sum() == pytest.approx(change, abs=2 * rows.height)
    operators = parts.filter(point=1, level="operator")
    assert (
        operators["rest"].sum() + operators.filter(rest=0).height
        == made.comparison.changes("operator").filter(length=512.0).height
    )
    assert operators.filter(name="aten::new")["status"].to_list() == ["appeared"]


def test_a_waterfall_ends_at_the_whole_change(made: Made) -> None:
    steps = pl.DataFrame(embedded(made.text)["components"], strict=False)
    for (_, level), rows in steps.group_by("point", "level"):
        whole = rows.filter(kind="whole")
        bars = rows.filter(pl.col("kind") != "whole").sort("order")
        assert bars["start"][0] == 0 == whole["start"].item()
        assert bars["start"][1:].to_list() == bars["end"][:-1].to_list()
        assert bars["end"][-1] == pytest.approx(whole["end"].item())
        assert (bars["new"] - bars["base"]).sum() == pytest.approx(whole["end"].item(), abs=1 if level else 0)
    memory = steps.filter(point=1, level="memory", kind="whole").row(0, named=True)
    assert (memory["base"], memory["new"], memory["text"]) == (512, 768, "+256 MiB")


def test_the_table_says_what_the_comparison_says(made: Made) -> None:
    said = " ".join(Parsed(made.text).text.split())
    assert said.index("Limit exceeded beyond noise: latency of bert at 512 tokens (+40.0%)") < said.index(
        "Base against"
    )
    assert "bert at 512 tokens latency 40.0 ms 56.0 ms +40.0%" in said
    assert "limit of 5% exceeded" in said
    assert "limit of 60% held" in said
    assert "bert at 2,048 tokens ran oom fails now: oom" in said
    assert "gpt2 at 128 tokens (sdpa, inference, float32, cpu, batch 1) base ok" in said
    assert "bert new 2,048 tokens oom out of memory" in said


def test_a_forest_shows_changes_limits_and_cut_intervals(made: Made) -> None:
    charts = embedded(made.text)["charts"]
    latency, throughput, memory = (charts[f"intervals{number}"] for number in range(3))
    ratios = [[row["ratio"] for row in chart_rows(spec, "ratio")] for spec in (latency, throughput, memory)]
    assert ratios == [pytest.approx([1.0, 1.4]), pytest.approx([1.0, 1.0]), pytest.approx([1.5, 1.5])]
    assert [row["at"] for row in chart_rows(latency, "at")] == [1.0, 1.05]
    assert [row["at"] for row in chart_rows(memory, "at")] == [1.0, 1.6]
    assert [row["verdict"] for row in chart_rows(latency, "ratio")] == ["within noise", "worse"]


def chart_rows(spec: Any, column: str) -> list[dict[str, Any]]:
    """The rows of a chart's data that have a column."""
    return [row for rows in spec["datasets"].values() for row in rows if column in row]


def test_curves_are_as_measured(made: Made) -> None:
    rows = chart_rows(embedded(made.text)["charts"]["curve0"], "value")
    assert {(row["series"], row["length"]): row["value"] for row in rows} == {
        ("base", 128): pytest.approx(10.0),
        ("base", 512): pytest.approx(40.0),
        ("new", 128): pytest.approx(10.0),
        ("new", 512): pytest.approx(56.0),
    }


def test_a_folder_is_not_replaced(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="it is a folder"):
        write_comparison(made.comparison, tmp_path)


def test_a_page_of_many_points_is_bounded(tmp_path: Path, store_point: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparison_parts, "POINTS", 2)
    for number in range(4):
        for side, slower in (("base", 1.0), ("new", 1.0 + number / 10)):
            store_point(tmp_path / side, "bert", 64 + number, 10 * slower, [f"aten::op{n}" for n in range(60)])
    text = render(compare(tmp_path / "base", tmp_path / "new"))
    parts = pl.DataFrame(embedded(text)["parts"], strict=False)
    operators = parts.filter(level="operator")
    assert operators["point"].unique().sort().to_list() == [2, 3]  # those that changed most
    assert operators.height == 2 * (comparison_parts.ROWS + 1)
    own = len(text.encode()) - sum(len(page.static(name).encode()) for name in _SCRIPTS)
    assert own < 90_000


# -- limits


def test_a_limit_of_one_metric_leaves_the_others_theirs(made: Made) -> None:
    table = made.comparison.metrics().filter(length=512.0)
    assert {(row["metric"], row["limit"], row["verdict"]) for row in table.to_dicts()} == {
        ("latency", 0.05, "exceeded"),
        ("throughput", None, ""),
        ("memory", 0.6, "held"),
    }
