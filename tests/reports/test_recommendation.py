"""The user's inputs in reports: what is said of each verdict, in the terminal, on the page, and on its charts."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

from tracekit.analyze.dataset import Dataset, of_lengths
from tracekit.analyze.expected import Question
from tracekit.analyze.load import load_study
from tracekit.analyze.recommend import answer
from tracekit.analyze.study import Study
from tracekit.points import Identity, Point, Sample, Trial
from tracekit.reports import charts, html, input_marks
from tracekit.reports.asked import Asked
from tracekit.reports.recommendation import Told, described, marks, told
from tracekit.reports.terminal import print_report

Store = Callable[..., Path]
HOSTILE = "<script>alert(1)</script>\x1b[31m[bold]\u202e"


def samples(ms: float, sweep: str = "s") -> list[Sample]:
    return [
        Sample(wall_ns=int(ms * 1e6 * f), cpu_ns=None, sweep=sweep, round=r)
        for r, f in enumerate((0.99, 1.0, 1.01, 1.005, 0.995))
    ]


@pytest.fixture
def folder(tmp_path: Path, store_point: Store) -> Path:
    """Square against line: they meet at 400."""
    for n in (128, 256, 512, 1024, 2048):
        store_point(tmp_path, "bert", n, 1, samples=samples(n * n / 4000))
        store_point(tmp_path, "longformer", n, 1, baseline="bert", samples=samples(n / 10))
    return tmp_path


@pytest.fixture
def study(folder: Path) -> Study:
    return load_study([folder])


def say(study: Study, asked: Dataset | Question, every: bool = False) -> Told:
    return told(study, answer(study, asked, 200), study.tipping_points(draws=100), every)


def test_use(study: Study) -> None:
    text = say(study, of_lengths([200, 200, 300, 1500], "my.txt"))
    assert text.headline.startswith("Use longformer: bert, the next best, takes 2.")
    assert text.details[0].startswith("It saves ")
    assert "of the time for all 4 inputs, one after the other; it is the best in all of the draws." in text.details[0]
    assert text.inputs == "my.txt: 4 inputs of 200 to 1,500 tokens, median 200, 95% up to 1,500"
    assert text.curves[0] == ["curve", "total time", "an input", "peak (longest)", "peak (95%)"]
    assert [row[0] for row in text.curves[1]] == ["longformer", "bert"]
    assert text.shares[0] == ["model", "against", "better", "inputs", "of their length"]
    (row,) = text.shares[1]
    assert row[:3] == ["longformer", "bert", "from 400 on"]
    assert (row[3], row[4]) == ("25.0%", "68.2%")
    every = say(study, of_lengths([200]), every=True).shares
    assert every[0][2] == "by"
    assert {row[2] for row in every[1]} >= {"latency", "memory"}


def test_a_mix(study: Study) -> None:
    text = say(study, of_lengths([128] * 400 + [2048]))
    assert text.details[-1].startswith(
        "Two models do better: bert below 2,048 tokens and longformer from there on (0.2%"
    )
    assert text.details[-1].endswith("% of the inputs) save 31% [31%, 32%] of the time of bert alone.")


def test_memory(study: Study) -> None:
    text = say(study, Question(of_lengths([128, 256]), "memory"))
    assert text.headline.startswith(
        "Use bert or longformer: no difference that can be told (longformer needs 1.00 times"
    )
    assert text.details == ()


def test_untold_is_said_first_and_the_guess_after_it(study: Study) -> None:
    text = say(study, of_lengths([20_000]))
    assert text.headline.startswith("Which model to use cannot be told: all of the inputs are longer than 2,048 tokens")
    assert text.details[0].startswith("As far as can be guessed it is longformer, the best in ")


def test_out_of_memory_and_alone(folder: Path, store_point: Store) -> None:
    gone = Point(identity=Identity(model="longformer", length=4096, attention="sdpa", threads=2), status="oom")
    study = Study("s", load_study([folder]).traces, [gone])
    text = say(study, of_lengths([2048, 4096]))
    assert text.headline == "Use bert: no other model here runs all of these inputs."
    assert "Longformer runs out of memory on 50.0% of the inputs (from 4,096 tokens on)." in text.details
    assert "cannot run" in text.curves[0]
    alone = Study("s", [], [p for p in study.points if p.model == "bert"])
    assert say(alone, of_lengths([512])).headline == "Use bert: there is no other to compare."
    nobody = Study("s", [], [replace_status(p) for p in alone.points])
    assert say(nobody, of_lengths([4096])).headline == "No model here runs all of these inputs."


def replace_status(point: Point) -> Point:
    gone = point.length >= 2048
    return Point(identity=point.identity, status="oom" if gone else "ok", samples=[] if gone else point.samples)


def test_caveats(study: Study) -> None:
    data = replace(of_lengths([100, 200]), text=True, measured="words of field text", dropped=3)
    caveats = " ".join(say(study, data).caveats)
    assert "Lengths are words; a text usually has more tokens: --tokenizer tokenizer.json counts these." in caveats
    assert "3 inputs without a length above zero were left out." in caveats
    assert "50.0% of the inputs are outside of the measured lengths" in caveats
    assert caveats.count("differ in quality") == 1
    plain = " ".join(say(study, of_lengths([200])).caveats)
    assert "words" not in plain
    assert "outside" not in plain
    assert "took turns" not in plain


def test_throughput_and_batches(tmp_path: Path, store_point: Store) -> None:
    for n in (128, 512):
        for model, ms in (("a", 10), ("b", 20)):
            trials = [Trial(batch=4, samples_ns=[ms * 10**6] * 3)]
            store_point(tmp_path, model, n, ms, throughput=trials, identity={"batch": 2, "mode": "training"})
    study = load_study([tmp_path])
    text = say(study, Question(of_lengths([128, 512]), "throughput"))
    assert text.headline == "Use a: b, the next best, takes 2.00 times as long at its best batch."
    assert "in batches of the best size" in text.details[0]
    assert any("one step for each input" in line for line in text.caveats)
    assert any("shared evenly" in line for line in say(study, of_lengths([128])).caveats)


def test_marks_of_equal_quantiles_are_one() -> None:
    assert marks(of_lengths([5])) == [(5, "5%, median, 95%, longest 5")]
    assert marks(of_lengths(range(1, 101))) == [
        (5, "5% 5"),
        (50, "median 50"),
        (95, "95% 95"),
        (100, "longest 100"),
    ]
    assert described(of_lengths([5, 5], "x"), "seconds") == "x: 2 inputs of 5 seconds"


def test_marks_stand_in_rows_of_their_own_and_only_where_the_chart_is(study: Study) -> None:
    table = study.latency()
    shown = [(100.0, "5% 100"), (130.0, HOSTILE), (131.0, "95% 131"), (2500.0, "near"), (9000.0, "longest 9,000")]
    lengths = [128.0, 256.0, 2048.0]
    assert input_marks.said_of(shown, lengths) == " Outside of the chart, of your inputs: 5% 100, longest 9,000."
    assert input_marks.said_of(shown[1:4], lengths) == ""
    spec = charts.latency(table, marks=shown).to_dict()
    texts = [layer for layer in spec["layer"] if layer["mark"]["type"] == "text"]
    rules = [layer for layer in spec["layer"] if layer["mark"]["type"] == "rule"]
    heights = [layer["encoding"]["y"]["value"] for layer in texts]
    assert len(set(heights)) == len(heights) == len(rules) == 3
    assert heights == sorted(heights, reverse=True)
    labels = [row["label"] for rows in spec["datasets"].values() for row in rows if "label" in row]
    assert labels[1:] == ["95% 131", "near"]
    assert "\x1b" not in labels[0]
    assert all(layer["encoding"]["text"]["field"] == "label" for layer in texts)
    plain = charts.latency(table).to_dict()
    assert {layer["mark"]["type"] for layer in plain["layer"]} == {"area", "line", "point"}


def test_bars_have_no_marks(study: Study) -> None:
    table = study.latency().filter(pl.col("length") == 128)
    assert [layer["mark"]["type"] for layer in charts.latency(table, marks=[(128.0, "x")]).to_dict()["layer"]] == [
        "bar",
        "rule",
    ]
    assert "x" in input_marks.said_of([(128.0, "x")], [128.0])


def terminal(study: Study, width: int, dataset: Dataset | Question | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_report(study, console, Asked(dataset=dataset))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 120, 160])
def test_the_terminal_says_it_first(study: Study, width: int) -> None:
    text = terminal(study, width, of_lengths([200, 1500], "my.txt"))
    assert max(map(len, text.splitlines())) <= width
    assert text.index("Use longformer") < text.index("For your data: my.txt") < text.index("Latency (median)")
    assert ("peak (95%)" in text) == (width >= 120)
    assert "For your data" not in terminal(study, width)


def test_names_are_hostile(tmp_path: Path, store_point: Store) -> None:
    for n in (128, 512):
        for model in (HOSTILE, "b"):
            store_point(tmp_path, model, n, n, samples=samples(n))
    study = load_study([tmp_path])
    data = of_lengths([128, 300], HOSTILE)
    text = terminal(study, 160, data)
    page = html.render(study, Asked(dataset=data))
    assert "\x1b" not in text + page
    assert "\u202e" not in text + page
    assert "<script>alert" not in page
    assert "[bold]" in text


def test_the_page_has_a_section_for_it(study: Study, tmp_path: Path) -> None:
    page = html.write_html(
        study, tmp_path / "r.html", Asked(dataset=of_lengths([200, 1500, 9000], "my.txt"))
    ).read_text()
    assert '<section id="inputs">' in page
    assert "my.txt: 3 inputs of 200 to 9,000 tokens" in page
    assert page.count("longest 9,000") == 2  # beside either chart, and on none
    assert "median 1,500" in page
    assert 'id="inputs"' not in html.render(study)


def test_marks_are_on_charts_of_their_unit_only(study: Study, store_point: Store, tmp_path: Path) -> None:
    def mixed(**fields: Any) -> Point:
        identity = Identity(model="hubert", length_unit="seconds", **fields)
        return Point(identity=identity, samples=samples(5))

    both = Study("s", study.traces, [mixed(length=200.0), mixed(length=400.0)])
    page = html.render(both, Asked(dataset=replace(of_lengths([256]), unit="tokens")))
    assert page.count("longest 256") == 2  # latency and memory of tokens
