"""How it grows: what is said of exponents, limits and lengths asked for, in the terminal, the page and JSON."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from tracekit import points
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.points import Identity, PeakMemory, Point
from tracekit.reports import growth
from tracekit.reports.asked import Asked
from tracekit.reports.html import render
from tracekit.reports.terminal import print_report

Store = Callable[..., Path]
Run = Callable[..., subprocess.CompletedProcess[str]]
GIB = 1 << 30


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Path:
    """A curve of n^2, of 1 MiB a token on a machine of 16 GiB, and one padded to 512, out of memory at 8,192."""
    folder = tmp_path_factory.mktemp("growth")
    for n in (128, 256, 512, 1024, 2048):
        environment = {"memory_bytes": 16 * GIB}
        store_point(folder, "bert", n, n**2 / 1000, environment=environment)
        wide = max(n, 512)
        memory = PeakMemory(bytes=wide << 20, method="test")
        store_point(folder, "longformer", n, 0.1 + wide / 50, environment=environment, memory=memory)
    failed = Identity(model="longformer", length=8192, threads=2, attention="sdpa")
    (folder / "x.failed.json").write_bytes(points.encode(Point(identity=failed, status="oom", reason="no memory")))
    return folder


@pytest.fixture(scope="module")
def study(folder: Path) -> Study:
    return load_study([folder])


def shown(study: Study, width: int, at: list[float] | None = None) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    print_report(study, console, Asked(at=at or ()))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    return text[text.index("How it grows") : text.index("Host time")]


def test_curves_say_how_they_grow_and_up_to_where_they_fit(study: Study) -> None:
    lines = shown(study, 160).splitlines()
    bert, longformer = (next(line for line in lines if line.startswith(name)) for name in ("bert", "longformer"))
    assert re.search(r"2\.00 \[1\.9\d, 2\.0\d\] +2\.00 \[.*\] +1\.00 +16,400 \[1", bert)
    assert "out of memory at 8,192" in longformer
    text = " ".join(" ".join(lines).split())
    assert "longformer, latency: hardly grows up to 512 tokens, then faster than n^2" in text
    assert "bert, latency" not in text
    assert "extrapolated to what the machine has" in text


@pytest.mark.parametrize("width", [60, 80, 120, 160])
def test_lengths_asked_for_are_told_by_how_they_are_known(study: Study, width: int) -> None:
    text = shown(study, width, [512, 700, 16_384])
    assert max(map(len, text.splitlines())) <= width
    order = [
        text.index(f"At {at}") for at in ("512 tokens: measured", "700 tokens: interpol", "16,384 tokens: extrapol")
    ]
    assert order == sorted(order)
    last = text[order[-1] :]
    assert "not measured: outside the measured lengths" in " ".join(last.split())
    row = next(line for line in last.splitlines() if line.startswith("longformer"))
    assert row.split()[-1] == "no"
    if width >= 80:
        bert = next(line for line in last.splitlines() if line.startswith("bert"))
        assert re.search(r"268 \[\d+, \d+\] s", bert)  # 16,384^2 / 1000 ms
        assert re.search(r"16\.0 \[14\.\d, 17\.\d\] GiB", bert)


def test_nothing_is_predicted_that_was_not_asked_for(study: Study) -> None:
    assert "extrapolated" not in shown(study, 120).replace("peak memory, extrapolated", "")


def test_one_length_has_no_growth(tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 10.0)
    study = load_study([tmp_path])
    assert list(growth.grids(study)) == []
    assert growth.section(study) is None
    assert 'id="growth"' not in render(study)


def test_units_stand_apart(tmp_path: Path, store_point: Store) -> None:
    for n in (2, 4, 8):
        store_point(tmp_path, "bert", n * 100, n)
        store_point(tmp_path, "hubert", n, 10 * n, identity={"length_unit": "seconds"})
    titles = [grid.title for grid in growth.grids(load_study([tmp_path]), {"seconds": [4, 60]})]
    assert titles == [
        "How it grows with tokens",
        "How it grows with seconds",
        "At 4 seconds: measured",
        "At 60 seconds: extrapolated",
    ]


def test_hostile_names_do_nothing(tmp_path: Path, store_point: Store) -> None:
    name = "\x1b[31m[bold]<b>x</b>"
    for n in (128, 512):
        store_point(tmp_path, name, n, n, identity={"length_unit": name})
    study = load_study([tmp_path])
    text = "\n".join(cell for grid in growth.grids(study, [1024]) for row in [[grid.title], *grid.body] for cell in row)
    assert "\x1b" not in text
    page = render(study, Asked(at=[1024]))
    assert "<b>x</b>" not in page
    assert "At 1,024" in page


def test_the_page_shows_the_same_tables(study: Study) -> None:
    page = render(study, Asked(at=[16_384]))
    section = page[page.index('<section id="growth">') : page.index('<section id="components">')]
    text = " ".join(re.sub(r"<[^>]*>", " ", section).split())
    for grid in growth.grids(study, [16_384]):
        for row in (grid.head, *grid.body):
            assert " ".join(row) in text
    assert "At 16,384 tokens: extrapolated" in text


def test_json_has_the_tables(run_cli: Run, folder: Path) -> None:
    done = run_cli("report", folder, "--json", "--at", "1024,16384", "--at", "tokens=64")
    assert done.returncode == 0, done.stderr
    tables = json.loads(done.stdout)["tables"]
    assert {row["series"] for row in tables["scaling"]} == {"bert", "longformer"}
    assert [row["observed"] for row in tables["memory_limits"]] == [False, True]
    kinds = {row["length"]: row["kind"] for row in tables["predictions"]}
    assert kinds == {64: "extrapolated", 1024: "measured", 16384: "extrapolated"}
    assert "predictions" not in json.loads(run_cli("report", folder, "--json").stdout)["tables"]


@pytest.mark.parametrize(
    ("at", "reason"),
    [
        ("abc", "'abc' is no length"),
        ("0", "'0' is no length"),
        ("seconds=3", "--at seconds=...: lengths here are in tokens"),
        ("words=3", "--at words=3: unknown unit 'words'"),
    ],
)
def test_what_is_no_length_is_refused(run_cli: Run, folder: Path, at: str, reason: str) -> None:
    done = run_cli("report", folder, "--at", at)
    assert done.returncode == 2
    assert reason in done.stderr


def test_several_units_want_a_name(run_cli: Run, tmp_path: Path, store_point: Store) -> None:
    store_point(tmp_path, "bert", 128, 1.0)
    store_point(tmp_path, "hubert", 2, 1.0, identity={"length_unit": "seconds"})
    done = run_cli("report", tmp_path, "--at", "30")
    assert done.returncode == 2
    assert "--at: name the unit, as in --at tokens=1024; here are tokens, seconds" in done.stderr
