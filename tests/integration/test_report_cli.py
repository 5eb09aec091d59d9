"""`tracekit report` as a user types it: outputs, where the HTML goes, and every way to get it wrong."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import NAMES

Run = Callable[..., subprocess.CompletedProcess[str]]


def event(name: str, start: float, dur: float, cat: str = "cpu_op") -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": {}}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "traces" / "some.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"traceEvents": [event("aten::mm", 0, 10), event("aten::add", 20, 5)]}))
    return path


def test_terminal(run_cli: Run, trace: Path) -> None:
    done = run_cli("report", trace)
    assert done.returncode == 0, done.stderr
    assert "aten::mm" in done.stdout
    assert done.stderr == ""


def test_json_is_one_object_on_stdout(run_cli: Run, trace: Path) -> None:
    done = run_cli("report", trace.parent, "--json")
    document = json.loads(done.stdout)
    assert (document["schema"], document["command"], document["inputs"]) == (1, "report", [str(trace.parent)])
    assert [row["name"] for row in document["tables"]["operators"]] == ["aten::mm", "aten::add"]
    assert sum(row["self_ns"] for row in document["tables"]["operators"]) == 15000
    assert [f["code"] for f in document["findings"]] == ["no_ranges"]
    assert document["warnings"] == {}


def test_any_model_is_the_baseline_in_every_output(
    run_cli: Run, tmp_path: Path, store_point: Callable[..., Path]
) -> None:
    for length in (128, 2048):
        store_point(tmp_path, "bert", length, length / 100)
        store_point(tmp_path, "mine", length, 5)
    plain = run_cli("report", tmp_path).stdout
    assert "compare with one of them by --baseline NAME: bert, mine" in " ".join(plain.split())
    done = run_cli("report", tmp_path, "--baseline", "mine", "--html")
    assert done.returncode == 0, done.stderr
    assert "bert is slower than mine from" not in done.stdout
    assert "bert is faster than mine only up to" in done.stdout
    assert "--baseline" not in done.stdout
    assert "faster than mine only up to" in (tmp_path / "report.html").read_text()
    rows = json.loads(run_cli("report", tmp_path, "--baseline", "mine", "--json").stdout)["tables"]["tipping_points"]
    assert {(row["efficient"], row["baseline"]) for row in rows} == {("bert", "mine")}


@pytest.mark.parametrize("order", ["html last", "html first"])
def test_html_goes_beside_the_traces(run_cli: Run, trace: Path, order: str) -> None:
    words = ["--html", trace.parent] if order == "html first" else [trace.parent, "--html"]
    done = run_cli("report", *words)
    assert done.returncode == 0, done.stderr
    written = trace.parent / "report.html"
    assert str(written) in done.stdout.replace("\n", "")
    assert written.read_text().startswith("<!doctype html>")


def test_html_to_a_named_file(run_cli: Run, trace: Path, tmp_path: Path) -> None:
    target = tmp_path / "out" / "mine.htm"
    done = run_cli("report", "--html", target, trace, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["html"] == str(target)
    assert target.exists()
    assert not (trace.parent / "report.html").exists()


def test_a_report_of_a_folder_that_holds_a_report(run_cli: Run, trace: Path) -> None:
    assert run_cli("report", trace.parent, "--html", "-q").returncode == 0
    again = run_cli("report", trace.parent, "--json")
    assert [f["code"] for f in json.loads(again.stdout)["findings"]] == ["no_ranges"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["report"], "name a folder"),
        (["report", "{tmp}/missing.json"], "missing.json: no such file or folder"),
        (["report", "{tmp}/empty"], "no traces: it holds no .json"),
        (["report", "{tmp}/other"], "no traces: none of its 1 JSON files is a readable trace"),
        (["report", "{tmp}/other/a.json"], "a.json: not a profiler trace"),
        (["report", "{tmp}/zero.json"], "zero.json: the file is empty"),
        (["report", "{tmp}/zero.json", "--top", "0"], "--top"),
        (["report", "{tmp}/zero.json", "--nonsense"], "--nonsense"),
        (["report", "{tmp}/good.json", "--baseline", "bert", "-q"], "'bert' is no model of this study; it has: none"),
        (["nonsense"], "nonsense"),
        ([], "COMMAND"),
    ],
)
def test_errors_are_one_line_and_exit_2(run_cli: Run, tmp_path: Path, words: list[str], reason: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.json").write_text('{"a": 1}')
    (tmp_path / "zero.json").touch()
    (tmp_path / "good.json").write_text(json.dumps({"traceEvents": [event("aten::mm", 0, 10)]}))
    done = run_cli(*(word.format(tmp=tmp_path) for word in words))
    assert done.returncode == 2
    assert done.stdout == ""
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr


def test_the_html_target_may_not_be_a_device(run_cli: Run, trace: Path) -> None:
    done = run_cli("report", trace, "--html", trace.parent / "folder.html", "-q")
    assert done.returncode == 0
    (trace.parent / "taken.html").mkdir()
    done = run_cli("report", trace, "--html", trace.parent / "taken.html", "-q")
    assert done.returncode == 2
    assert "it is a folder" in done.stderr


def test_quiet_prints_only_where_the_html_is(run_cli: Run, trace: Path) -> None:
    done = run_cli("report", trace, "--html", "-q")
    assert len(done.stdout.strip().splitlines()) == 1


def test_c_locale_and_names_of_strangers(run_cli: Run, trace: Path) -> None:
    """Into a pipe and without colours: plain ASCII, in which every name is shown and none acts."""
    path = trace.with_name("[red]\x1b[1m\u202e.json")
    path.write_text(json.dumps({"traceEvents": [event(name, 10 * i, 9) for i, name in enumerate(NAMES)]}))
    page = trace.with_name("\x1b[1mpage.html")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "NO_COLOR": "1", "COLUMNS": "160"}
    done = run_cli("report", path, "--top", 40, "--html", page, env={**plain, "FORCE_COLOR": "", "TERM": "dumb"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.fullmatch("[\n -~]*", done.stdout)
    for shown in ("[red]x[/] [/] [bold", ":skull: :warning:", r"\x1b]52;c;cm0gLXJmIH4=\x07", r"\u6a21"):
        assert shown in done.stdout
    assert page.is_file()


@pytest.mark.parametrize("command", [[], ["report"], ["recommend"], ["collect"], ["open"], ["models"]])
def test_help_has_examples(run_cli: Run, command: list[str]) -> None:
    done = run_cli(*command, "--help")
    assert done.returncode == 0
    if command:
        assert done.stdout.count(f"  tracekit {command[0]}") >= 2


@pytest.mark.parametrize("name", ["h100_bert_small_inference", "mi300_torch_compile", "mi210_gpu_only"])
def test_real_traces_of_other_tools(run_cli: Run, shared_traces: Path, tmp_path: Path, name: str) -> None:
    done = run_cli("report", shared_traces / f"{name}.json.gz", "--html", tmp_path / "r.html")
    assert done.returncode == 0, done.stderr
    assert "Operators by self time" in done.stdout
    assert "Device work" in done.stdout
    assert (tmp_path / "r.html").exists()
