"""`tracekit export` and `tracekit query` as a user types them."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
from rich.console import Console

from tracekit.analyze.load import load_study
from tracekit.cli import main
from tracekit.reports.rows import print_rows, print_tables

Run = Callable[..., subprocess.CompletedProcess[str]]
Store = Callable[..., Path]
SQL = "select component, sum(host_ns) as ns from components where host_ns > 0 group by component order by ns desc"


@pytest.fixture(scope="module")
def traces(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Path:
    folder = tmp_path_factory.mktemp("traces")
    for length, bert, longformer in ((128, 10, 30), (512, 50, 60)):
        store_point(folder, "bert", length, bert, ["aten::mm", "\x1b[2J=evil"])
        store_point(folder, "longformer", length, longformer, baseline="bert")
    return folder


def test_export_a_folder(run_cli: Run, traces: Path, tmp_path: Path) -> None:
    done = run_cli("export", traces, "--out", tmp_path / "out", "--table", "latency", "--table", "layers")
    assert done.returncode == 0, done.stderr
    assert f"{tmp_path}/out/latency.parquet: 4 rows" in done.stdout.splitlines()
    assert pl.read_parquet(tmp_path / "out" / "latency.parquet")["median_ns"].to_list() == [10e6, 50e6, 30e6, 60e6]
    names = ["latency.parquet", "layers.parquet", "schema.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names


def test_query_prints_a_table(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", str(traces), SQL]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[2:]] == [
        ["attention", "90,000,000"],
        ["ffn", "45,000,000"],
        ["unattributed", "15,000,000"],
    ]


def test_one_table_to_a_file_by_its_ending(traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a" / "ops.md"
    rows = load_study([traces]).operators().height
    words = ["export", str(traces), "--table", "operators", "--out", str(file)]
    assert main(words) == 0
    assert "\x1b" not in file.read_text()
    assert "\\\\x1b\\[2J=evil" in file.read_text()
    assert main(words) == 2
    assert "ops.md exists: replace it with --force" in capsys.readouterr().err
    assert main([*words, "--force", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [{"name": "operators", "path": str(file), "rows": rows}]
    assert [path.name for path in file.parent.iterdir()] == ["ops.md"]


@pytest.mark.parametrize("file_format", ["csv", "json", "markdown"])
def test_one_table_to_stdout(traces: Path, file_format: str, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["export", str(traces), "--table", "latency", "--out", "-", "--format", file_format]) == 0
    said = capfdbinary.readouterr()
    assert len(said.out.splitlines()) == {"csv": 5, "json": 6, "markdown": 6}[file_format]
    assert said.err == b""


def test_query_as_json_csv_and_file(traces: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    assert main(["query", str(traces), SQL, "--json"]) == 0
    document = json.loads(capfdbinary.readouterr().out)
    assert document["columns"] == [{"name": "component", "type": "String"}, {"name": "ns", "type": "Int64"}]
    assert document["rows"][0] == {"component": "attention", "ns": 90_000_000}
    assert main(["query", str(traces), SQL, "--format", "csv", "-q"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"component,ns\nattention,90000000\n")
    out = tmp_path / "x.parquet"
    assert main(["query", str(traces), "select * from operators", "--out", str(out)]) == 0
    assert capfdbinary.readouterr().out.decode() == f"{out}: {load_study([traces]).operators().height} rows\n"
    assert pl.read_parquet(out)["self_ns"].sum() == 150_000_000
    assert main(["query", str(traces), SQL, "--json", "--out", str(out), "--force"]) == 0
    assert json.loads(capfdbinary.readouterr().out)["height"] == 3


def test_tables_and_schema_are_listed(traces: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["query", "--tables"]) == 0
    assert "\nlatency: unprofiled latency of each point\n" in capsys.readouterr().out
    assert main(["query", str(traces), "--tables"]) == 0
    assert "\nlatency (4 rows): unprofiled" in capsys.readouterr().out
    assert main(["query", str(traces), "--tables", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"]["latency"]["rows"] == 4
    assert main(["export", "--schema"]) == 0
    assert json.loads(capsys.readouterr().out)["tables"]["latency"]["columns"][0]["name"] == "series"


def test_a_file_name_that_is_no_utf8(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    event = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 10}
    path = tmp_path / os.fsdecode(b"\xff=x.json")
    path.write_text(json.dumps({"traceEvents": [event]}))
    assert main(["query", str(path), "select series from operators", "--format", "csv"]) == 0
    assert capfdbinary.readouterr().out == b"series\n\\udcff=x.json\n"
    assert main(["query", str(path), "select \udcff from operators"]) == 2
    assert capfdbinary.readouterr().err.count(b"\n") == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["export"], "name a folder of points"),
        (["export", "{t}"], "say where to: --out FOLDER"),
        (["export", "{t}", "--out", "{tmp}/a.csv"], "a.csv is one file: name the table"),
        (["export", "{t}", "--out", "-"], "- is one file: name the table"),
        (["export", "{t}", "--out", "{tmp}/a.csv", "--table", "latency", "--format", "json"], "named as csv"),
        (["export", "{t}", "--out", "-", "--table", "latency", "--format", "parquet"], "parquet is no text"),
        (["export", "{t}", "--out", "-", "--table", "latency", "--json"], "leave one out"),
        (["export", "{t}", "--out", "{tmp}/x", "--table", "latenzy"], "no table latenzy"),
        (["export", "{t}", "--out", "{tmp}/x", "--format", "xlsx"], "--format"),
        (["export", "{t}", "--out", "{tmp}/x.svg", "--charts", "gif"], "--charts"),
        (["export", "{t}", "--out", "{tmp}/x.csv", "--charts", "svg"], "charts are several files"),
        (["export", "{t}", "--out", "/dev/null"], "/dev/null is no folder"),
        (["export", "{tmp}/missing", "--out", "{tmp}/x"], "no such file"),
        (["query"], "name the traces, then the SQL"),
        (["query", "{t}"], "name the traces, then the SQL"),
        (["query", "select 1"], "name the traces, then the SQL"),
        (["query", "{tmp}/missing", "select 1"], "no such file"),
        (["query", "{t}", "select foo from latency"], "no column foo"),
        (["query", "{t}", "select * from read_csv('/etc/passwd')"], "no files: read_csv"),
        (["query", "{t}", "select 1", "--format", "parquet"], "name a file with --out"),
        (["query", "{t}", "select 1", "--out", "{tmp}/x"], "has no ending of a format"),
        (["query", "{t}", "select 1", "--out", "{tmp}/x.csv", "--format", "json"], "named as csv"),
        (["query", "{t}", "select 1", "--out", "{tmp}/fifo.csv", "--force"], "not a regular file"),
        (["query", "{t}", "select 1", "--top", "0"], "--top"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    (tmp_path / "fifo.csv").symlink_to("/dev/null")
    before = sorted(tmp_path.rglob("*"))
    try:
        code = main([word.format(t=traces, tmp=tmp_path) for word in words])
    except SystemExit as end:
        code = int(str(end.code))
    said = capsys.readouterr()
    assert (code, said.out) == (2, "")
    assert len(said.err.strip().splitlines()) == 1
    assert reason in said.err
    assert sorted(tmp_path.rglob("*")) == before


def test_charts_say_which_extra_they_need(
    traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracekit.reports.pictures.find_spec", lambda _: None)
    assert main(["export", str(traces), "--charts", "svg", "--out", str(tmp_path / "x")]) == 2
    assert "pip install 'torch-tracekit[charts]'" in capsys.readouterr().err


@pytest.mark.skipif(find_spec("vl_convert") is None, reason="PICTURES NOT TESTED: no vl-convert-python (extra: charts)")
def test_charts_beside_tables(traces: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "x"
    words = ["export", str(traces), "--charts", "svg", "--out", str(out)]
    assert main(words) == 0
    charts = {"schema.json", "latency.svg", "memory.svg", "components.svg"}
    assert {path.name for path in out.iterdir()} == charts
    assert main([*words, "--table", "latency", "--format", "csv", "-q"]) == 0
    assert {path.name for path in out.iterdir()} == charts | {"latency.csv"}
    assert f"{out}/latency.svg" in capsys.readouterr().out.splitlines()


# -- rows in the terminal


def shown(table: pl.DataFrame, width: int, top: int = 50, terminal: bool = True) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal, color_system=None)
    print_rows(table, top, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


WIDE = pl.DataFrame({f"column_{i}": [10**9 + i, None] for i in range(12)})


def test_rows_that_do_not_fit_a_terminal_are_written_down_the_page() -> None:
    text = shown(WIDE, 60)
    assert max(map(len, text.splitlines())) <= 60
    assert text.count("row ") == 2
    for i in range(12):
        assert f"{10**9 + i:,}" in text
    assert len(shown(WIDE, 400).splitlines()) == 4


def test_a_long_name_is_folded_before_a_row_is() -> None:
    name = "void cutlass::Kernel2<" + "x" * 100
    text = shown(pl.DataFrame({"name": [name, "short"], "ns": [1.5, 1_000_000.5]}), 60)
    assert max(map(len, text.splitlines())) <= 60
    assert "row " not in text
    assert "1,000,000" in text
    assert text.count("x") == 100


def test_rows_in_a_pipe_are_as_wide_as_they_are() -> None:
    text = shown(WIDE, 60, terminal=False)
    assert len(text.splitlines()) == 4
    assert f"{10**9 + 11:,}" in text


def test_the_rest_is_counted() -> None:
    text = shown(pl.DataFrame({"a": range(1234)}), 80, top=2)
    assert "2 of 1,234 rows" in text
    assert "rows" not in shown(pl.DataFrame({"a": [1]}), 80)
    assert "a" in shown(pl.DataFrame({"a": []}), 80)


def test_values_of_a_query_are_shown_and_obeyed_by_no_terminal() -> None:
    table = pl.DataFrame(
        {
            "[bold]x": ["\x1b[2J[red]y[/red]"],
            "on": [True],
            "f": [0.123456789],
            "n": [None],
            "l": [["\x1b"]],
            "big": [1e16],
        }
    )
    text = shown(table, 400)
    assert "[bold]x" in text
    assert "\\x1b[2J[red]y[/red]" in text
    assert "\x1b" not in text
    assert "0.123457" in text
    assert "true" in text


def test_tables_are_listed_at_any_width() -> None:
    console = Console(file=io.StringIO(), width=60)
    print_tables({"latency": 3}, console)
    assert isinstance(console.file, io.StringIO)
    assert max(map(len, console.file.getvalue().splitlines())) <= 60
