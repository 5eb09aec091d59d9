"""Files of a study: every table comes back as it was, and nothing is replaced that is not ours."""

from __future__ import annotations

import csv
import inspect
import json
import os
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

import tracekit
from tests.hostile import LABELS, NAMES, write_study
from tracekit.analyze.catalog import TABLES
from tracekit.analyze.load import load_study
from tracekit.analyze.study import Study
from tracekit.errors import MissingExtraError, UsageError
from tracekit.reports import export, pictures
from tracekit.reports.export import schema, write_tables
from tracekit.reports.formats import FORMATS, guarded
from tracekit.safety import sanitize

Store = Callable[..., Path]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Hostile names in every place where a name can go."""
    folder = tmp_path_factory.mktemp("hostile")
    write_study(folder)
    return load_study([folder])


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> Study:
    folder = tmp_path_factory.mktemp("study")
    for length, bert, longformer in ((128, 10, 30), (512, 50, 60)):
        store_point(folder, "bert", length, bert, ["aten::mm", "aten::add"])
        store_point(folder, "longformer", length, longformer, baseline="bert")
    return load_study([folder])


def safe(table: pl.DataFrame) -> pl.DataFrame:
    text = pl.col(pl.String).map_elements(lambda t: guarded(sanitize(t, None)), return_dtype=pl.String)
    return table.with_columns(text) if table.height else table


@pytest.fixture(scope="module")
def made(hostile: Study) -> dict[str, pl.DataFrame]:
    return {name: table.make(hostile) for name, table in TABLES.items()}


@pytest.fixture(scope="module")
def files(hostile: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files in each format."""
    folder = tmp_path_factory.mktemp("files")
    for kind in FORMATS:
        assert [one.name for one in write_tables(hostile, folder / kind, kind)] == list(TABLES)
    return folder


def test_every_table_of_a_study_is_in_the_catalog() -> None:
    for name, method in vars(Study).items():
        if (
            name.startswith("_")
            or not inspect.isfunction(method)
            or inspect.get_annotations(method)["return"] != "pl.DataFrame"
        ):
            continue
        own = list(inspect.signature(method).parameters.values())[1:]
        if all(parameter.default is not inspect.Parameter.empty for parameter in own):
            assert name in TABLES


def test_every_table_comes_back(made: dict[str, pl.DataFrame], files: Path) -> None:
    for name, table in made.items():
        assert_frame_equal(pl.read_parquet(files / "parquet" / f"{name}.parquet"), table, check_exact=True)
        rows = json.loads((files / "json" / f"{name}.json").read_text())
        assert_frame_equal(pl.DataFrame(rows, schema=table.schema), table, check_exact=True)
        file = files / "csv" / f"{name}.csv"
        assert_frame_equal(pl.read_csv(file, schema=table.schema), safe(table), check_exact=True)
        with file.open(newline="") as opened:
            assert len(list(csv.reader(opened))) == table.height + 1
        assert len((files / "markdown" / f"{name}.md").read_text().splitlines()) == table.height + 2
    for kind, one in FORMATS.items():
        names = {"schema.json", *(f"{name}{one.suffix}" for name in TABLES)}
        assert {path.name for path in (files / kind).iterdir()} == names


def test_nothing_in_text_files_acts(made: dict[str, pl.DataFrame], files: Path) -> None:
    seen = 0
    for name, table in made.items():
        with (files / "csv" / f"{name}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                for column, cell in row.items():
                    assert cell.isprintable()
                    if table.schema[column] == pl.String:
                        assert not cell.startswith(("=", "+", "-", "@"))
                        seen += cell.startswith("'=")
        text = (files / "markdown" / f"{name}.md").read_text()
        assert "<" not in text
        assert all(line.isprintable() for line in text.split("\n"))
    assert seen


def test_sums_stay_true_in_files(hostile: Study, files: Path) -> None:
    busy = sum(trace.busy_ns for trace in hostile.traces)
    for name in ("operators", "operators_by_layer", "operators_by_shape", "operators_by_step"):
        assert pl.read_csv(files / "csv" / f"{name}.csv")["self_ns"].sum() == busy


def test_the_schema_is_that_of_the_files(files: Path) -> None:
    document = json.loads((files / "parquet" / "schema.json").read_text())
    assert document == schema()
    for name, table in document["tables"].items():
        found = pl.read_parquet_schema(files / "parquet" / f"{name}.parquet")
        assert [(column["name"], column["type"]) for column in table["columns"]] == [
            (column, str(dtype)) for column, dtype in found.items()
        ]
        assert table["summary"]


def test_every_table_is_documented(root: Path) -> None:
    text = (root / "docs" / "tables.md").read_text() + (root / "docs" / "export.md").read_text()
    assert [name for name in TABLES if name not in text] == []


def test_a_folder_of_ours_is_written_again_and_no_other(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_tables(study, out, "csv", ["latency"])
    (out / "latency.csv").write_text("old")
    (out / "mine.txt").write_text("kept")
    write_tables(study, out, "csv", ["latency"])
    assert (out / "latency.csv").read_text().startswith("series,")
    assert (out / "mine.txt").read_text() == "kept"
    for marker in (None, "{}", "[" * 100_000, '{"tool": "other", "tables": {}}'):
        if marker is None:
            (out / "schema.json").unlink()
        else:
            (out / "schema.json").write_text(marker)
        (out / "latency.csv").write_text("not ours")
        with pytest.raises(UsageError, match="exists: replace it with --force"):
            write_tables(study, out, "csv", ["components", "latency"])
        assert (out / "latency.csv").read_text() == "not ours"
        assert not (out / "components.csv").exists()
    write_tables(study, out, "csv", ["latency"], force=True)
    assert (out / "latency.csv").read_text().startswith("series,")


@pytest.mark.parametrize("what", ["link", "fifo", "folder"])
def test_no_special_file_is_replaced_even_by_force(study: Study, tmp_path: Path, what: str) -> None:
    out = tmp_path / "out"
    write_tables(study, out, "json", ["latency"])
    (out / "latency.json").unlink()
    other = tmp_path / "other"
    other.write_text("kept")
    if what == "link":
        (out / "latency.json").symlink_to(other)
    elif what == "fifo":
        os.mkfifo(out / "latency.json")
    else:
        (out / "latency.json").mkdir()
    with pytest.raises(UsageError, match="cannot write"):
        write_tables(study, out, "json", ["latency"], force=True)
    assert other.read_text() == "kept"
    assert sorted(path.name for path in out.iterdir()) == ["latency.json", "schema.json"]


def test_wrong_arguments_are_said(study: Study, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no format xlsx: choose from parquet"):
        write_tables(study, tmp_path, "xlsx")
    with pytest.raises(UsageError, match=r"no table \.\./x; tables: "):
        write_tables(study, tmp_path, "csv", ["../x"])
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is no folder"):
        write_tables(study, tmp_path / "file")


# -- charts


def test_charts_are_those_that_the_study_has_data_for(hostile: Study, study: Study) -> None:
    assert list(tracekit.charts(study)) == ["latency", "memory", "components"]
    assert list(tracekit.charts(study.traces[0])) == ["latency", "memory", "components"]
    names = list(tracekit.charts(hostile))
    assert len(names) == 4 * len(LABELS) + 1  # of each unit, and of a trace without
    assert all(name.replace("-", "").replace("_", "").replace(".", "").isalnum() for name in names)
    drawn = tracekit.charts(study)["latency"].to_dict()
    shown = {(row["series"], row["length"], row["value"]) for row in drawn["datasets"][drawn["data"]["name"]]}
    latency = study.latency().with_columns(pl.col("median_ns") / 1e6)
    assert shown == set(latency.select("series", "length", "median_ns").iter_rows())


def test_without_the_extra_one_line_says_which(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "find_spec", lambda _: None)
    with pytest.raises(MissingExtraError, match=r"needs vl-convert-python.*torch-tracekit\[charts\]"):
        pictures.write_charts(study, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="no kind of picture gif"):
        pictures.write_charts(study, tmp_path / "out", "gif")


@pytest.mark.skipif(find_spec("vl_convert") is None, reason="PICTURES NOT TESTED: no vl-convert-python (extra: charts)")
def test_pictures_show_names_and_nothing_acts_in_them(tmp_path: Path, store_point: Store) -> None:
    unit = '\x1b[2J\\": alert(1), "'  # a title, of which Vega-Lite makes an expression
    store_point(tmp_path / "traces", NAMES[0], 64, 5, identity={"length_unit": unit, "attention": NAMES[12]})
    one = load_study([tmp_path / "traces"])
    out = tmp_path / "out"
    written = [*pictures.write_charts(one, out), *pictures.write_charts(one, out, "png")]
    assert {path.name for path in out.iterdir()} == {"schema.json", *(w.path.name for w in written)}
    for picture in written:
        data = picture.path.read_bytes()
        if picture.path.suffix == ".png":
            assert data.startswith(b"\x89PNG\r\n\x1a\n")
            continue
        found = list(ET.fromstring(data).iter())
        assert {element.tag.rpartition("}")[2] for element in found} <= {
            *("svg", "g", "path", "text", "rect", "line", "defs", "clipPath", "title", "tspan", "style")
        }
        assert not [name for element in found for name in element.attrib if name.startswith("on") or "href" in name]
        text = "".join(element.text or "" for element in found)
        assert {"latency": NAMES[0], "components": "(/x1b[2J/"}.get(picture.name, "") in text


# -- notebooks


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_shows_verdicts_and_latency(study: Study) -> None:
    shown = Tags(study._repr_html_())
    assert "longformer is slower than bert at every measured length" in shown.text
    assert "10.0 ms" in shown.text
    alone = Tags(study.traces[0]._repr_html_())
    assert "10.0 ms" in alone.text


def test_a_notebook_shows_a_foreign_trace(tmp_path: Path) -> None:
    event = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 10}
    (tmp_path / "x.json").write_text(json.dumps({"traceEvents": [event]}))
    shown = Tags(tracekit.load(tmp_path / "x.json")._repr_html_())
    assert "unattributed" in shown.text
    assert "10 us (100.0%)" in shown.text or "10.0 us (100.0%)" in shown.text


def test_nothing_foreign_acts_in_a_notebook(hostile: Study) -> None:
    text = hostile._repr_html_()
    shown = Tags(text)
    assert shown.tags <= {
        *("div", "p", "strong", "ul", "li", "small", "code", "table", "caption", "thead", "tbody", "tr", "th", "td")
    }
    assert shown.attributes == {"class"}
    assert all(line.isprintable() for line in text.splitlines())
    assert NAMES[0] in shown.text


def test_listed_says_rows_and_keeps_to_a_line(tmp_path: Path) -> None:
    lines = list(export.listed([export.Written("a", tmp_path / "a\nb", 1200), export.Written("c", tmp_path / "c")]))
    assert lines == [f"{tmp_path}/a\\x0ab: 1,200 rows", f"{tmp_path}/c"]
