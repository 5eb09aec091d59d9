"""A comparison in words, in the terminal and as markdown: what it says, at what width, and what it lets through."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from markdown_it import MarkdownIt
from rich.cells import cell_len
from rich.console import Console

from tests import hostile
from tracekit import points
from tracekit.analyze.compare import Comparison, compare
from tracekit.analyze.gate import Limit
from tracekit.analyze.load import load_study
from tracekit.points import Calibration, Identity, PeakMemory, Point, Sample, Trial
from tracekit.reports import comparison_words as words
from tracekit.reports.comparison_markdown import markdown
from tracekit.reports.comparison_text import print_comparison

Store = Callable[..., Path]
Sides = Callable[..., Comparison]


@pytest.fixture(name="sides")
def sides_fixture(tmp_path: Path, store_point: Store) -> Sides:
    """Two captures a side of each of `lengths`, that differ by the factors given; further words go to `compare`."""

    def make(
        ratio: float = 1.0,
        memory: float = 1.0,
        lengths: Sequence[int] = (128,),
        pace: float | None = None,
        ops: Sequence[str] = ("aten::mm", "aten::add"),
        **asked: Any,
    ) -> Comparison:
        for side, factor, size in (("base", 1.0, 1.0), ("new", ratio, memory)):
            for number in range(2):
                for length in lengths:
                    ms = length / 10 * (factor if length == lengths[0] else 1) * (1 + number / 2000)
                    store_point(
                        tmp_path / side / str(number),
                        "bert",
                        length,
                        ms,
                        ops=("aten::mm", "aten::add") if side == "base" else ops,
                        samples=[
                            Sample(wall_ns=round(ms * 1e6), cpu_ns=None, sweep=f"{side}{number}", round=r)
                            for r in range(5)
                        ],
                        memory=PeakMemory(bytes=round((length << 20) * size), method="m"),
                        calibration=[
                            Calibration(
                                round=r,
                                unix_s=0,
                                matmul_ns=round(1e6 * (pace if side == "new" else 1)),
                                copy_ns=1,
                                series=9,
                            )
                            for r in range(5)
                        ]
                        if pace
                        else [],
                        throughput=[Trial(batch=2, samples_ns=[round(ms * 1e6)] * 3)],
                    )
        return compare(tmp_path / "base", tmp_path / "new", **asked)

    return make


def shown(comparison: Comparison, width: int) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False, highlight=False, markup=False, emoji=False)
    print_comparison(comparison, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def line(comparison: Comparison, metric: str) -> words.Line:
    return next(one for one in words.told(comparison) if one.metric == metric)


def test_a_slower_step_is_told_in_every_metric(sides: Sides) -> None:
    found = sides(1.25, memory=0.5)
    latency, rate, memory = (line(found, metric) for metric in ("latency", "throughput", "peak memory"))
    assert (latency.place, latency.base, latency.new) == ("bert at 128 tokens", "12.8 ms", "16.0 ms")
    assert (latency.change, latency.verdict, latency.tone) == ("+25.0%", "worse", words.WORSE)
    low, high = (float(end) for end in re.findall(r"[+-][\d.]+", latency.interval))
    assert low < 25 < high
    assert (rate.change, rate.tone) == ("-20.0%", words.WORSE)  # of a rate, less is worse
    assert rate.interval.startswith("-20.")
    assert rate.base == "156/s"
    assert (memory.change, memory.interval, memory.tone) == ("-50.0%", "-50.0% to -50.0%", words.BETTER)
    assert (memory.base, memory.new) == ("128 MiB", "64.0 MiB")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.098, "+9.8%"),
        (-0.5, "-50.0%"),
        (0.0, "0.0%"),
        (0.0004, "0.0%"),
        (-0.0004, "0.0%"),
        (9.0, "+900.0%"),
        (10, "x11.0"),
    ],
)
def test_relative_changes_have_a_sign(share: float, text: str) -> None:
    assert words.signed_percent(share) == text


def test_differences_have_a_sign_and_a_unit() -> None:
    assert words.signed(9_800_000, words.amount("ns")) == "+9.80 ms"
    assert words.signed(-1 << 20, words.amount("bytes")) == "-1.00 MiB"
    assert words.amount("1/s")(1234.5) == "1,230/s"


def test_the_answer_is_what_changed_most(sides: Sides) -> None:
    said = words.verdicts(sides(1.25, memory=2.0))
    parts = ("peak memory", "+100.0%"), ("latency", "+25.0%"), ("throughput", "-20.0%")
    first, second, third = (f"{metric} of bert at 128 tokens ({change})" for metric, change in parts)
    assert said == [f"Worse beyond noise: {first}, {second} and {third}."]
    assert words.verdicts(sides(1.0)) == ["Nothing changed beyond noise."]


def test_the_answer_to_a_limit(sides: Sides) -> None:
    assert words.verdicts(sides(1.25, fail_on=["5%"])) == [
        "Limit exceeded beyond noise: latency of bert at 128 tokens (+25.0%)."
    ]
    assert words.verdicts(sides(1.01, fail_on=["5%"])) == ["The limit held."]
    assert words.verdicts(sides(1.01, fail_on=["5%", "memory:5%"])) == ["All 2 limits held."]
    assert "cannot be told from noise" in words.verdicts(sides(1.01, fail_on=["1%"]))[0]
    assert line(sides(1.25, fail_on=["5%"]), "latency").verdict == "limit of 5% exceeded"


def test_causes_are_in_the_order_of_what_matters(sides: Sides) -> None:
    found = sides(1.25, memory=3.0, lengths=(128, 256), fail_on=["5%"])
    causes = words.causes(found)
    assert [cause.metric for cause in causes] == ["latency", "peak memory", "peak memory"]  # it exceeded a limit
    assert causes[0].place == "bert at 128 tokens"


def test_why_in_a_sentence_and_parts_that_add_up(sides: Sides) -> None:
    (cause,) = words.causes(sides(1.25, ops=("aten::mm", "aten::bmm", "aten::bmm")))
    assert cause.sentence.startswith("+3.20 ms: attention +1.92 ms (aten::bmm +")
    assert ", 0 -> 2 calls a step), ffn +960 us" in cause.sentence
    assert cause.components[-1].name == "total"
    assert (cause.components[-1].base, cause.components[-1].new, cause.components[-1].change) == (
        "12.8 ms",
        "16.0 ms",
        "+3.20 ms",
    )
    assert [part.share for part in cause.components] == ["60%", "30%", "10%", "100%"]
    assert "between operators" not in cause.sentence  # that says nothing of why
    assert not cause.kernels
    assert "+0 ns" not in cause.sentence


def test_what_operators_do_otherwise_is_counted_by_name(sides: Sides) -> None:
    (said,) = words.novelties(sides(1.25, ops=("aten::mm", "aten::mm", "aten::bmm")))
    assert said == (
        "bert at 128 tokens: 1 appeared (aten::bmm); 1 vanished (aten::add); 1 with another number of calls (aten::mm)."
    )


def test_a_device_metric_that_is_asked_for_has_components_and_kernels_apart(tmp_path: Path) -> None:
    def store(side: str, factor: float) -> Path:
        def span(name: str, cat: str, start: float, dur: float, tid: int = 1, **args: Any) -> dict[str, Any]:
            return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": tid, "ts": start, "dur": dur, "args": args}

        events = [span("ProfilerStep#1", "user_annotation", 0, 1000)]
        for at in (0, 1):
            us = 100 * factor if at else 50
            events += [
                span(f"tracekit::{('ffn', 'attention')[at]}#x", "user_annotation", 500 * at, 400),
                span("aten::mm", "cpu_op", 500 * at, 400),
                span("cudaLaunchKernel", "cuda_runtime", 500 * at + 1, 5, correlation=at + 1),
                span(f"gemm{at}", "kernel", 500 * at + 10, us, 7, device=0, stream=7, correlation=at + 1),
            ]
        point = Point(
            identity=Identity(model="m", length=8, device="cuda"), samples=[Sample(wall_ns=10**6, cpu_ns=None)] * 3
        )
        path = tmp_path / side / "a.json"
        path.parent.mkdir()
        text = msgspec.json.encode(events)
        path.write_bytes(points.header(point) + b'"traceEvents": ' + text + b"}")
        return path.parent

    found = compare(store("base", 1), store("new", 3), metrics=["device"])
    (cause,) = words.causes(found)
    assert cause.sentence == "+200 us: attention +200 us (aten::mm +200 us)"
    assert [part.name for part in cause.components] == ["attention", "ffn", "total"]
    assert [part.name for part in cause.operators] == ["aten::mm (attention)", "aten::mm (ffn)"]
    assert [(part.name, part.change, part.share) for part in cause.kernels] == [
        ("gemm1", "+200 us", "100%"),
        ("gemm0", "+0 ns", "0%"),
    ]
    assert len(words.novelties(found)) == 0


def test_noise_is_of_the_scatter_and_not_of_the_change(sides: Sides) -> None:
    (same,), (half,) = (words.noise(sides(ratio)) for ratio in (1.0, 0.25))
    assert same == half
    assert same.startswith("Intervals are 95%, from how 2 and 2 processes differ; a change of less than 0.")


def test_the_machines_drift_is_told(sides: Sides) -> None:
    found = sides(1.5, pace=1.5)
    assert words.drift(found).startswith("Fixed work took +50.0% beside the new side: that much is the machine's")
    assert line(found, "latency").change == "0.0%"
    assert words.drift(sides(1.5, pace=1.0)) == "Fixed work took as long beside both sides: the machine was as fast."
    assert words.drift(sides(1.5)) == ""


def test_what_failed_is_told_first(sides: Sides, tmp_path: Path) -> None:
    found = sides(1.25, lengths=(128, 256))
    identity = Identity(model="bert", length=256, threads=2, attention="sdpa")
    failed = Point(identity=identity, status="oom", reason="no memory")
    for number in range(2):
        identity.path(tmp_path / "new" / str(number)).unlink()
    (tmp_path / "new" / "a.failed.json").write_bytes(points.encode(failed))
    found = compare(tmp_path / "base", tmp_path / "new")
    assert words.verdicts(found)[0] == "Ran before, and fails now: bert at 256 tokens."
    assert [one.verdict for one in words.told(found) if one.tone == words.FAILED] == ["fails now: oom"]
    back = compare(tmp_path / "new", tmp_path / "base")
    assert words.verdicts(back)[0] == "Failed before, and runs now: bert at 256 tokens."
    for comparison in (found, back):
        assert "bert at 256 tokens" in shown(comparison, 80)
        assert "bert at 256 tokens" in markdown(comparison)


def test_fits_any_width(sides: Sides) -> None:
    found = sides(1.25, lengths=(128, 256), ops=("aten::" + "x" * 90,), fail_on=["5%"])
    for width in (40, 80, 160):
        text = shown(found, width)
        assert max(map(len, text.splitlines())) <= width
        assert ("95% interval" in text) == (width == 160)
        assert text.index("Limit exceeded") < text.index("Base against new") < text.index("Why: latency")


def test_more_than_fits_is_counted(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_MOST_ROWS", "_MOST_CAUSES"):
        monkeypatch.setattr(f"tracekit.reports.comparison_markdown.{name}", 1)
    text = markdown(sides(1.25, memory=2.0, lengths=(128, 256), ops=("aten::bmm",)))
    assert "\nand 5 more rows\n" in text
    assert "\nand 2 more changes with their parts\n" in text
    assert "\nand 1 more points whose operators do otherwise\n" in text
    assert text.count("<details>") == 1
    assert "\n\n\n" not in text


@pytest.fixture(scope="module", name="hostile_comparison")
def hostile_fixture(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    """The hostile study against itself, slower and larger, and without half of its operators."""
    folder = tmp_path_factory.mktemp("hostile")
    hostile.write_study(folder / "base", hostile.LABELS[::2])
    hostile.write_study(folder / "new", hostile.LABELS[::2], hostile.NAMES[::2])
    base, new = (load_study([folder / side]) for side in ("base", "new"))
    base.title = new.title = hostile.NAMES[0] + hostile.NAMES[10]
    for trace in new.traces:
        if trace.point is not None:
            slower = [msgspec.structs.replace(sample, wall_ns=50 * sample.wall_ns) for sample in trace.point.samples]
            memory = PeakMemory(bytes=1 << 40, method="<b>")
            trace.say(msgspec.structs.replace(trace.point, samples=slower, memory=memory, source=hostile.NAMES[15]))
    return Comparison(base, new, limits=[Limit("", 0.05)])


@pytest.mark.parametrize("width", [80, 160])
def test_nothing_hostile_acts_in_the_terminal(hostile_comparison: Comparison, width: int) -> None:
    text = shown(hostile_comparison, width)
    assert not hostile.UNSEEN.search(text)
    assert max(map(cell_len, text.splitlines())) <= width
    assert "Why: " in text
    assert "vanished" in text
    assert "\\x1b[2J" in text.replace("\n", "")
    assert "[red]x[/]" in text or "[bold" in text  # shown, not taken for a style


def test_nothing_hostile_is_markup_in_markdown(hostile_comparison: Comparison) -> None:
    text = markdown(hostile_comparison)
    assert not hostile.UNSEEN.search(text)
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(text)
    inside = [child for token in tokens for child in token.children or ()]
    ours = {"<details><summary>parts</summary>", "</details>"}
    assert {token.content.strip() for token in tokens if token.type == "html_block"} == ours
    assert {token.type for token in inside} <= {"text", "strong_open", "strong_close", "softbreak", "text_special"}
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h3"]
    assert {token.type for token in tokens} <= {
        *("heading_open", "heading_close", "paragraph_open", "paragraph_close", "inline", "html_block"),
        *("bullet_list_open", "bullet_list_close", "list_item_open", "list_item_close"),
        *(f"{part}_{end}" for part in ("table", "thead", "tbody", "tr", "th", "td") for end in ("open", "close")),
    }
    assert max(token.level for token in tokens if token.type == "bullet_list_open") == 0
    columns = [sum(t.type == "th_open" for t in row) for row in _rows(tokens)]
    assert all(columns.count(0) for _ in columns)


def _rows(tokens: Sequence[Any]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type in ("th_open", "td_open"):
            rows[-1].append(token)
    return rows
