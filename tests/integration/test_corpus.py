"""The broken and hostile traces of tests/corpus: right numbers, and a warning where something was lost, or one line."""

from __future__ import annotations

import contextlib
import csv
import io
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests import hostile
from tests.corpus import every, injection, judge
from tests.pages import embedded
from tracekit.analyze.trace import Trace
from tracekit.safety import sanitize

Main = Callable[..., tuple[int, str, str]]
Entry = dict[str, Any]

# In a process of their own, within limits of memory and time: what may exhaust or stop a reader, and one of each class.
APART = (
    *("bomb_1GB_whitespace", "bomb_10GB_string", "deep_args_1000000", "exponent_bomb", "huge_name_8MB"),
    *("env_fifo.json", "env_zero.json", "env_noperm.json", "env_new\nline.json"),
    *("clean_gpu", "gzip_truncated", "trunc_mid_number", "lone_surrogate", "perfetto_protobuf"),
)


class HangError(BaseException):
    """A case did not end. No `except Exception` may take it for a damaged file."""


@contextlib.contextmanager
def alarm(seconds: float) -> Iterator[None]:
    def ring(*_: object) -> None:
        raise HangError

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("corpus")


@pytest.fixture(scope="module")
def entries(folder: Path) -> dict[str, Entry]:
    """What is expected of each case, by its name, once all are written."""
    return {entry["case"]: entry for entry in every.write(folder)}


def test_the_corpus_is_whole(entries: dict[str, Entry]) -> None:
    assert len(entries) == 149
    assert set(APART) < set(entries)
    assert {entry["class"] for entry in entries.values()} == set(every.KINDS)


@pytest.mark.parametrize("kind", every.KINDS)
def test_in_this_process(kind: str, here: Main, entries: dict[str, Entry], folder: Path) -> None:
    failed = {}
    for name, entry in entries.items():
        if entry["class"] != kind or name in APART:
            continue
        with alarm(3 * entry["limits"]["seconds"]):
            code, out, err = here("check", folder / entry["file"], "--json")
        failed[name] = judge.complaints(entry, judge.Ended(code, out, err))
    assert {name: found for name, found in failed.items() if found} == {}


@pytest.mark.parametrize("kind", ["json", "schema", "gpu"])
def test_laid_out_as_kineto_does(
    kind: str, here: Main, entries: dict[str, Entry], folder: Path, tmp_path: Path
) -> None:
    """Events over several lines, which other blocks are cut from, with the same defects."""
    failed = {}
    for name, entry in entries.items():
        if entry["class"] != kind or name == "huge_name_8MB":
            continue
        data = (folder / entry["file"]).read_bytes()
        path = tmp_path / entry["file"]
        path.write_bytes(
            data.replace(b"},\n{", b"\n  },\n  {\n    ").replace(b"[\n{", b"[\n  {").replace(b"}\n]", b"\n  }\n]")
        )
        with alarm(3 * entry["limits"]["seconds"]):
            code, out, err = here("check", path, "--json")
        failed[name] = judge.complaints(entry, judge.Ended(code, out, err))
    assert {name: found for name, found in failed.items() if found} == {}


@pytest.mark.parametrize("name", APART, ids=ascii)
def test_in_a_process_of_its_own(name: str, entries: dict[str, Entry], folder: Path) -> None:
    entry = entries[name]
    if judge.skipped(entry):
        pytest.skip("root may read any file")
    command = (sys.executable, "-m", "tracekit", "check", "{}", "--json", "--no-cache")
    ended = judge.run(command, folder / entry["file"], entry["limits"])
    assert judge.complaints(entry, ended) == []


def test_numbers_are_those_that_torch_printed(entries: dict[str, Entry], folder: Path) -> None:
    clean = entries["clean"]
    table = Trace(folder / clean["file"]).operators()
    found = {row["name"]: row for row in table.to_dicts()}
    names = [name for name in clean["torch_key_averages"] if name.startswith("aten::")]
    assert len(names) == 4
    for name in names:
        calls, self_us, total_us = clean["torch_key_averages"][name]
        row = found[name]
        assert (row["calls"], row["self_ns"], row["total_ns"]) == (calls, round(self_us * 1e3), round(total_us * 1e3))


def test_a_judge_that_finds_fault(entries: dict[str, Entry]) -> None:
    trunc, empty = entries["trunc_mid_number"], entries["empty_file"]
    truth = str({**trunc["truth"], "warnings": {}}).replace("'", '"')
    wrong = judge.Ended(0, truth.replace('"n_cpu_op": ', '"n_cpu_op": 1'), "")
    assert len(judge.complaints(trunc, wrong)) == 2  # and no warning
    assert judge.complaints(trunc, judge.Ended(0, truth, "")) == ["no warning"]
    assert judge.complaints(trunc, judge.Ended(2, "", "error: x\n"))[0].startswith("rejected")
    assert judge.complaints(empty, judge.Ended(0, "{}", ""))[0].startswith("accepted")
    assert len(judge.complaints(empty, judge.Ended(1, "", "error: \x1b\nx"))) == 5
    assert judge.complaints(empty, judge.Ended(None, "", "")) == ["no end in time"]


# -- sinks


@pytest.fixture
def injected(tmp_path: Path) -> Path:
    for case in every.cases("injection"):
        case.write(tmp_path / "traces")
    return tmp_path / "traces"


def test_hostile_names_stay_names_on_every_way_out(
    here: Main, injected: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(*words: object) -> str:
        code, out, err = here(*words)
        assert code == 0, err
        return out + err

    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("COLUMNS", "500")
    there = {path: path.read_bytes() for path in injected.iterdir()}
    out = tmp_path / "out"
    terminal = run("report", injected, "--top", 1000, "--html", out / "page.html")
    for first in range(0, len(there), 8):
        terminal += run("open", "--save", out / f"lanes-{first}.json.gz", *list(there)[first : first + 8])
    for kind in ("csv", "json", "parquet"):
        table = () if kind == "csv" else ("--table", "operators")
        terminal += run("export", injected, "--out", out / kind, "--format", kind, *table)
    terminal += run("query", injected, "select distinct name from operators", "--top", 100)
    page = (out / "page.html").read_text(encoding="utf-8")
    sheets = [path.read_text() for path in (out / "csv").glob("*.csv")]
    for name, sinks in injection.NAMES.values():
        assert not [text for text in sinks.get("term_not", ()) if text in terminal]
        assert not [text for text in sinks.get("html_not", ()) if text in page]
        assert not [text for text in sinks.get("csv_not", ()) if any(text in sheet for sheet in sheets)]
        assert all(text in terminal for text in sinks.get("term_has", ())), name
        assert not [found for text in sinks.get("no_file", ()) for found in Path("/").glob(text.lstrip("/"))]
    assert not hostile.UNSEEN.search(terminal)

    names = {name for name, _ in injection.NAMES.values()}  # all are there, whole where a format can hold them
    assert names <= set(pl.read_parquet(out / "parquet" / "operators.parquet")["name"])
    assert names <= set(pl.read_json(out / "json" / "operators.json")["name"])
    shown = {sanitize(name) for name in names}
    assert shown <= set(embedded(page)["operators"]["name"])
    told = {
        row["name"].removeprefix("'")
        for row in csv.DictReader(io.StringIO((out / "csv" / "operators.csv").read_text()))
    }
    assert {sanitize(name, None) for name in names} <= told

    assert {path: path.read_bytes() for path in injected.iterdir()} == there
    assert list((tmp_path / "here").iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"here", "traces", "out"}
    lanes = [f"lanes-{first}.json.gz" for first in range(0, len(there), 8)]
    assert {path.name for path in out.iterdir()} == {"csv", "json", "parquet", "page.html", *lanes}
