"""`tracekit compare` as a user and a pipeline type it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracekit import cli, points
from tracekit.analyze.measured import METRICS
from tracekit.commands import compare as command
from tracekit.points import Identity, PeakMemory, Point

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]
Store = Callable[..., Path]


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Run `compare` in this process, which is quicker: its exit code, stdout and stderr."""
    monkeypatch.setattr(cli, "settle", lambda: None)

    def run(*words: object) -> tuple[int, str, str]:
        try:
            code = cli.main(["compare", *map(str, words)])
        except SystemExit as left:  # argparse
            code = int(str(left.code))
        return code, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory, store_point: Store) -> tuple[Path, Path]:
    """Two captures a side; the new one takes 30% longer, and 10% more memory."""
    folder = tmp_path_factory.mktemp("sides")
    for side, factor in (("base", 1.0), ("new", 1.3)):
        for number in range(2):
            memory = PeakMemory(bytes=int(1e9 * (1 + (factor - 1) / 3)), method="m")
            store_point(folder / side / str(number), "bert", 128, 10 * factor * (1 + number / 1000), memory=memory)
    return folder / "base", folder / "new"


def test_a_regression_fails_a_pipeline(run_cli: Run, sides: tuple[Path, Path]) -> None:
    done = run_cli("compare", *sides, "--fail-on", "5%", env={"COLUMNS": "100"})
    assert done.returncode == 1
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0] == "base -> new"
    assert lines[1].startswith("Limit exceeded beyond noise: latency of bert at 128 tokens (+30.")
    assert "Why: latency of bert at 128 tokens" in lines


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ([], 0),
        (["--fail-on", "5%"], 1),
        (["--fail-on", "50%"], 0),
        (["--fail-on", "50%", "--fail-on", "memory:3%"], 1),
        (["--fail-on", "5%", "--fail-on", "memory:30%"], 1),  # of several limits one is enough
        (["--fail-on", "memory:30%"], 0),
        (["--metric", "memory", "--fail-on", "20%"], 0),
        (["--metric", "memory", "--fail-on", "3%"], 1),
    ],
)
def test_exit_codes(here: Main, sides: tuple[Path, Path], words: list[str], code: int) -> None:
    assert here(*sides, *words, "-q") == (code, "", "")


def test_better_is_never_a_failure(here: Main, sides: tuple[Path, Path]) -> None:
    code, out, _ = here(*sides[::-1], "--fail-on", "0%", "--fail-on", "memory:0%")
    assert code == 0
    assert "All 2 limits held." in out


def test_a_folder_against_itself(here: Main, sides: tuple[Path, Path]) -> None:
    code, out, _ = here(sides[0], sides[0], "--fail-on", "5%", "--json")
    document = json.loads(out)
    assert (code, document["exceeded"]) == (0, False)
    assert {row["worse"] for row in document["tables"]["metrics"]} == {0.0}
    assert {row["changed"] for row in document["tables"]["metrics"]} == {"no change"}
    assert {row["status"] for row in document["tables"]["changes"]} == {""}
    assert (document["tables"]["differences"], document["tables"]["unmatched"]) == ([], [])


def test_a_file_against_a_folder(here: Main, sides: tuple[Path, Path]) -> None:
    file = next(sides[1].rglob("*.json.gz"))
    code, out, _ = here(sides[0], file, "--json")
    rows = json.loads(out)["tables"]["metrics"]
    assert code == 0
    assert {(row["base_captures"], row["new_captures"]) for row in rows} == {(2, 1)}
    assert {row["repeats"] for row in rows} == {"rounds", "exact"}


def test_json(here: Main, sides: tuple[Path, Path]) -> None:
    code, out, _ = here(*sides, "--fail-on", "5%", "--json")
    document = json.loads(out)
    assert code == 1
    assert (document["schema"], document["command"], document["exceeded"]) == (1, "compare", True)
    assert document["inputs"] == [str(side) for side in sides]
    assert set(document["tables"]) == {"differences", "metrics", "changes", "unmatched"}
    latency = document["tables"]["metrics"][0]
    assert latency["metric"] == "latency"
    assert latency["worse"] == pytest.approx(0.3, abs=1e-3)
    assert (latency["verdict"], latency["limit"], latency["unit"]) == ("exceeded", 0.05, "ns")
    whole = latency["new"] - latency["base"]
    for level in ("component", "phase", "layer", "operator"):
        rows = [r for r in document["tables"]["changes"] if (r["metric"], r["level"]) == ("latency", level)]
        assert sum(row["change"] for row in rows) == pytest.approx(whole, rel=1e-3)


def test_markdown(here: Main, sides: tuple[Path, Path]) -> None:
    code, out, _ = here(*sides, "--fail-on", "5%", "--format", "markdown")
    assert code == 1
    assert out.startswith(
        "### tracekit: base -> new\n\n**Limit exceeded beyond noise: latency of bert at 128 tokens (+30."
    )
    assert "| bert at 128 tokens | latency | 10.0 ms | 13.0 ms | +30.0% |" in out
    assert out.count("<details>") == out.count("</details>") == 2
    assert out.endswith("\n")
    assert "\n\n\n" not in out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-on", "five"], "write PERCENT or METRIC:PERCENT"),
        (["--fail-on", "speed:5%"], "no metric speed"),
        (["--fail-on", "device:5%"], "device time of a profiled step is not known on both sides"),
        (["--metric", "first_token"], "time to the first token is not known on both sides"),
        (["--metric", "speed"], "invalid choice"),
        (["--json", "--format", "markdown"], "choose one"),
    ],
)
def test_wrong_words_are_one_line(here: Main, sides: tuple[Path, Path], words: list[str], said: str) -> None:
    code, out, err = here(*sides, *words)
    assert (code, out) == (2, "")
    assert said in err.splitlines()[-1]


def test_input_that_cannot_be_compared_is_one_line(here: Main, sides: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.json").write_text("{")
    for other in ("nowhere", "empty", "bad.json"):
        for words in ((sides[0], tmp_path / other), (tmp_path / other, sides[0])):
            code, out, err = here(*words)
            assert (code, out) == (2, "")
            assert len(err.splitlines()) == 1


def test_the_options_name_the_metrics_that_there_are() -> None:
    assert tuple(METRICS) == command.METRICS


def test_files_that_cannot_be_read_are_findings(here: Main, sides: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(sides[1], tmp_path / "new")
    (tmp_path / "new" / "cut.json").write_text('{"traceEvents": [{"ph": "X", "ts": "a"')
    (tmp_path / "new" / "bad.failed.json").write_text("{")
    code, out, _ = here(sides[0], tmp_path / "new", "--fail-on", "5%", "--json")
    document = json.loads(out)
    assert code == 1
    assert document["warnings"]["unreadable_file"] >= 1
    assert all(
        f["where"].startswith(("base: ", "new: ")) for f in document["findings"] if f["code"] == "unreadable_file"
    )


HOSTILE_HEADERS: list[dict[str, Any]] = [
    {"environment": {"cpu_model": ["a"], "cores": {"x": [1]}, "gpu": None}, "versions": {"torch": "\x1b[2J"}},
    {"throughput": [{"batch": 1, "samples_ns": [-1, 0, 0]}, {"batch": 2, "samples_ns": [0, 0]}]},
    {
        "samples": [{"wall_ns": 0, "cpu_ns": 0}, {"wall_ns": -5, "cpu_ns": None}],
        "memory": {"bytes": -1, "method": "m"},
        "profile": {"steps": 0, "warmup": 0, "wall_ns": 0},
    },
    {"samples": [{"wall_ns": 1, "cpu_ns": 0}, {"wall_ns": 2**62, "cpu_ns": None}]},
    {"calibration": [{"round": 0, "unix_s": 0.0, "matmul_ns": 0, "copy_ns": 0, "series": 9}]},
    {"memory": {"bytes": 5, "method": "m", "parameter_bytes": 2**62}},
]


@pytest.mark.parametrize("fields", HOSTILE_HEADERS, ids=[next(iter(one)) for one in HOSTILE_HEADERS])
def test_odd_headers_are_no_traceback(here: Main, tmp_path: Path, fields: dict[str, Any]) -> None:
    span = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 5, "args": {}}
    for side, more in (("base", {}), ("new", fields)):
        header = {"identity": {"model": "m", "length": 0.5, "length_unit": "seconds"}, **more}
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.json").write_text(json.dumps({"tracekit": header, "traceEvents": [span]}))
    for words in (("base", "new"), ("new", "base", "--json"), ("new", "new", "--format", "markdown")):
        code, out, err = here(*(tmp_path / word for word in words[:2]), *words[2:])
        assert (code, err) == (0, "")
        assert "\x1b" not in out
    assert "| m at 0.5 seconds |" in out


def test_traces_of_no_operators(here: Main, tmp_path: Path) -> None:
    for side in ("base", "new"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.json").write_text('{"traceEvents": [], "schemaVersion": 1}')
    code, out, err = here(tmp_path / "base", tmp_path / "new", "--fail-on", "5%")
    assert (code, err) == (0, "")
    assert "No limit applies: nothing that it names was compared." in out


def test_a_point_that_fails_now_fails_a_pipeline(here: Main, sides: tuple[Path, Path], tmp_path: Path) -> None:
    point = Point(identity=Identity(model="bert", length=128, threads=2, attention="sdpa"), status="oom")
    (tmp_path / "a.failed.json").write_bytes(points.encode(point))
    assert here(sides[0], tmp_path, "--fail-on", "5%")[0] == 1
    code, out, err = here(tmp_path, sides[0], "--fail-on", "5%", "--html", tmp_path / "x.html")  # and back
    assert (code, err) == (0, "")
    assert "Failed before, and runs now: bert at 128 tokens." in (tmp_path / "x.html").read_text()
    code, out, _ = here(sides[0], tmp_path)
    assert code == 0
    assert "Ran before, and fails now: bert at 128 tokens." in out


def test_lengths_of_names(here: Main, tmp_path: Path) -> None:
    span = {"ph": "X", "cat": "cpu_op", "name": "aten::mm", "pid": 1, "tid": 1, "ts": 0, "dur": 5, "args": {}}
    for side, host in (("base", "a"), ("new", "b")):
        (tmp_path / side).mkdir()
        for length in (64, 128):
            text = json.dumps({"traceEvents": [span]})
            (tmp_path / side / f"{host}_{length}.json").write_text(text)
    code, out, _ = here(tmp_path / "base", tmp_path / "new", "--length-from", r"_(\d+)\.json")
    assert code == 0
    assert "at 128 units" in out
    code, out, err = here(tmp_path / "base", tmp_path / "new")
    assert (code, out) == (2, "")
    assert "--length-from" in err


@pytest.fixture
def vit(shared_traces: Path) -> Path:
    return shared_traces / "h100_vit_inference.json.gz"


def test_a_trace_of_a_device_against_itself(here: Main, vit: Path) -> None:
    code, out, _ = here(vit, vit, "--metric", "device", "--fail-on", "1%", "--json")
    document = json.loads(out)
    (row,) = document["tables"]["metrics"]
    assert (code, row["metric"], row["worse"], row["changed"]) == (0, "device", 0.0, "no change")
    changes = document["tables"]["changes"]
    assert {r["level"] for r in changes} == {"component", "phase", "layer", "operator", "kernel"}
    assert {(r["change"], r["status"]) for r in changes} == {(0.0, "")}
    assert document["tables"]["differences"] == []


def test_a_trace_of_a_device_against_another(here: Main, vit: Path) -> None:
    code, out, _ = here(vit, vit.parent / "h100_bert_small_inference.json.gz", "--fail-on", "1%", "--json")
    tables = json.loads(out)["tables"]
    (row,) = tables["metrics"]
    assert (code, row["metric"], row["changed"], row["verdict"]) == (0, "device", "better", "held")
    assert tables["differences"][0]["what"] == "file"
    for level in ("component", "phase", "layer", "operator", "kernel"):
        parts = [r["change"] for r in tables["changes"] if r["level"] == level]
        assert sum(parts) == pytest.approx(row["new"] - row["base"], rel=1e-9)


def test_a_trace_of_device_work_alone(here: Main, shared_traces: Path) -> None:
    gpu, with_steps = (shared_traces / f"{name}.json.gz" for name in ("mi210_gpu_only", "mi300_bert_small_inference"))
    document = json.loads(here(gpu, with_steps, "--json")[1])
    (row,) = document["tables"]["metrics"]
    parts = [r["change"] for r in document["tables"]["changes"] if r["level"] == "component"]
    assert sum(parts) == pytest.approx(row["new"] - row["base"], rel=1e-9)
    assert document["warnings"]["steps_on_one_side"] == 1  # a step against a whole trace


@pytest.mark.slow
def test_the_same_code_collected_twice(run_cli: Run, tmp_path: Path) -> None:
    """Timing is noisy: what must hold is that the exit code is that of the interval, and that no factor of six is seen."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    words = ["--preset", "tiny", "--no-baseline", "--repeats", "3", "--lengths", "16", "--captures", "4"]
    made = run_cli("collect", "--model", "bert", *words, "--out", tmp_path / "all")
    assert made.returncode == 0, made.stderr
    for number in range(4):  # in turns
        shutil.move(tmp_path / "all" / f"capture-{number + 1}", tmp_path / ("base", "new")[number % 2] / str(number))
    sides = tmp_path / "base", tmp_path / "new"
    done = run_cli("compare", *sides, "--fail-on", "5%", "--json")
    document = json.loads(done.stdout)
    row = document["tables"]["metrics"][0]
    assert (row["metric"], row["base_captures"], row["new_captures"]) == ("latency", 2, 2)
    assert (row["repeats"], row["normalised"]) == ("processes", True)
    assert done.returncode == (row["lo"] > 0.05)
    assert row["lo"] <= row["worse"] <= row["hi"]
    assert run_cli("compare", *sides, "--fail-on", "500%", "--fail-on", "memory:1%").returncode == 0
    assert document["tables"]["unmatched"] == []
    assert {r["status"] for r in document["tables"]["changes"]} == {""}  # the same operators, as often
