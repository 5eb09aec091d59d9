"""SQL over a study: the same numbers as the tables, one clear line for what is wrong, and no way to a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tracekit.analyze import catalog
from tracekit.analyze.load import load
from tracekit.analyze.query import query, refuse_files
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.errors import UsageError
from tracekit.points import Identity, Point

Store = Callable[..., Path]
RESERVED = {"where"}  # docs/export.md says so


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Study:
    folder = tmp_path_factory.mktemp("study")
    for length, bert, longformer in ((128, 10, 30), (512, 50, 60), (2048, 400, 200)):
        store_point(folder, "bert", length, bert, ["aten::mm", "aten::add"])
        store_point(folder, "longformer", length, longformer, identity={"attention": "eager"}, baseline="bert")
    found = load(folder)
    assert isinstance(found, Study)
    return found


def test_a_sum_is_the_sum_of_the_table(study: Study) -> None:
    found = query(study, "select component, sum(self_ns) as ns from operators group by component order by component")
    table = study.operators().group_by("component").agg(ns=pl.col("self_ns").sum()).sort("component")
    assert_frame_equal(found, table)


@pytest.mark.parametrize("name", catalog.TABLES)
def test_every_table_and_every_column_can_be_asked_for(study: Study, name: str) -> None:
    table = catalog.TABLES[name].make(study)
    assert_frame_equal(query(study, f"select * from {name}"), table)
    plain = [f'"{column}"' if column in RESERVED else column for column in table.columns]
    assert_frame_equal(query(study, f"select {', '.join(plain)} from {name}"), table)


@pytest.mark.parametrize("name", catalog.TABLES)
def test_columns_do_not_depend_on_what_a_study_holds(study: Study, name: str) -> None:
    said = [(column.name, column.type) for column in catalog.columns(name)]
    failed = Study("failed", [], [Point(identity=Identity(model="bert", length=1), status="oom")])
    for one in (study, failed):
        assert [(column, str(dtype)) for column, dtype in catalog.TABLES[name].make(one).schema.items()] == said


def test_the_columns_are_those_of_real_device_traces(shared_traces: Path) -> None:
    trace = load(shared_traces / "h100_bert_small_inference.json.gz")
    assert isinstance(trace, Trace)
    study = Study.of(trace)
    for name, table in catalog.TABLES.items():
        said = [(column.name, column.type) for column in catalog.columns(name)]
        assert [(column, str(dtype)) for column, dtype in table.make(study).schema.items()] == said
    assert catalog.TABLES["kernels"].make(study).height


def test_units_come_from_names_and_tables() -> None:
    def units(name: str) -> dict[str, str]:
        return {column.name: column.unit for column in catalog.columns(name)}

    assert units("latency")["median_ns"] == units("latency")["lo_ns"] == "nanoseconds"
    assert units("tipping_points")["at"] == "length_unit"
    assert units("shifts")["lo"] == "ratio"
    assert units("peak_memory")["peak_bytes"] == units("components")["bytes"] == "bytes"
    assert units("components")["share"] == "fraction of 1"
    for name in catalog.TABLES:
        assert [c for c, unit in units(name).items() if c.endswith("_ns") and unit != "nanoseconds"] == []


def test_a_table_by_another_case_and_a_trace_of_its_own(study: Study) -> None:
    assert query(study.traces[0], "SELECT COUNT(*) AS n FROM Operators").item() == study.traces[0].operators().height


def test_only_the_tables_that_are_named_are_made(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_: Study) -> pl.DataFrame:
        raise AssertionError

    tables = {name: t if name == "latency" else catalog.Table("", never) for name, t in catalog.TABLES.items()}
    monkeypatch.setattr("tracekit.analyze.query.TABLES", tables)
    assert query(study, "with l as (select length from latency) select max(length) as m from l").item() == 2048


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("select medan_ns from latency", r"no column medan_ns \(did you mean median_ns.*columns of latency: series, "),
        ("select l.foo from latency l", "no column foo; columns of latency: "),
        ("select * from operator", r"no table operator \(did you mean operators.*tables: tipping_points, "),
        ("select * from 'latency.csv'", "no table latency.csv"),
        ("select nofunc(length) from latency", "SQL: unsupported function 'nofunc'"),
        ("select sum(series) from latency", "SQL: .*sum"),
        ("select a b c from latency", "SQL: Expected: "),
        ("select 1; select 2", "SQL: one .*statement"),
        ("select \x1b[31m from latency", r"SQL: .*\\x1b"),
        ("", "not a query"),
        ("latency", "not a query"),
        ("drop table latency", "not a query"),
        ("/* x */ -- y\n delete from latency", "not a query"),
        ("create table x as select 1", "not a query"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(study: Study, sql: str, said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        query(study, sql)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("function", ["read_csv", "read_parquet", "read_ipc", "read_json", "read_ndjson"])
@pytest.mark.parametrize(
    "sql",
    [
        "select * from {f}('{p}')",
        "select * from \"{f}\"('{p}')",
        "select * from {F} /* /* ( */ */ ('{p}')",
        "with q as (select * from {f}('{p}')) select * from q",
        "select * from latency where length in (select a from {f}('{p}'))",
        "select * from latency l join {f}('{p}') r on l.length = r.a",
        "explain select * from {f}('{p}')",
        "select * from latency union select * from {f}('{p}')",
    ],
)
def test_sql_reads_no_file(study: Study, tmp_path: Path, function: str, sql: str) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)  # opening it would never end
    with pytest.raises(UsageError, match="no files"):
        query(study, sql.format(f=function, F=function.upper(), p=pipe))


def test_sql_writes_no_file_and_sees_no_variable(study: Study, tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1]})
    for sql in (f"copy latency to '{tmp_path}/x.csv'", f"select * into '{tmp_path}/x' from latency"):
        with pytest.raises(UsageError):
            query(study, sql)
    with pytest.raises(UsageError, match="no table frame"):
        query(study, "select * from frame")
    assert frame.height
    assert list(tmp_path.iterdir()) == []


def test_a_plan_that_reads_files_is_refused_whatever_the_words(tmp_path: Path) -> None:
    frame = pl.DataFrame({"a": [1]})
    frame.write_csv(tmp_path / "a.csv")
    frame.write_parquet(tmp_path / "a.parquet")
    for plan in (pl.scan_csv(tmp_path / "a.csv"), pl.scan_parquet(tmp_path / "a.parquet")):
        with pytest.raises(UsageError, match="no files"):
            refuse_files(frame.lazy().join(plan, on="a"))
    refuse_files(frame.lazy().filter(pl.col("a") > 0))
