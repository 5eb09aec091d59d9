"""`tracekit recommend`, and `tracekit report --dataset`, as a user types them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tracekit.points import Sample

Run = Callable[..., subprocess.CompletedProcess[str]]
Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def folder(tmp_path: Path, store_point: Callable[..., Path]) -> Path:
    traces = tmp_path / "traces"
    for n in (128, 256, 512, 1024):
        for model, ms in (("bert", n * n / 4000), ("longformer", n / 10)):
            samples = [
                Sample(wall_ns=int(ms * 1e6 * f), cpu_ns=None, sweep="s", round=r)
                for r, f in enumerate((0.99, 1.0, 1.01, 1.005, 0.995))
            ]
            baseline = None if model == "bert" else "bert"
            store_point(traces, model, n, ms, samples=samples, baseline=baseline)
    (tmp_path / "my.jsonl").write_text("".join(json.dumps({"text": "a " * n}) + "\n" for n in (200, 200, 900)))
    return tmp_path


def test_recommend_in_the_terminal(run_cli: Run, folder: Path) -> None:
    done = run_cli("recommend", folder / "traces", "--dataset", folder / "my.jsonl", env={"COLUMNS": "100"})
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout.startswith("Use longformer: bert, the next best, takes ")
    assert "For your data: my.jsonl: 3 inputs of 200 to 900 tokens (words of field text)" in done.stdout


def test_recommend_as_json(here: Main, folder: Path) -> None:
    words = ("recommend", folder / "traces", "--length", "200,200", "--length", "900", "--metric", "latency", "--json")
    document = json.loads(here(*words)[1])
    assert (document["schema"], document["command"]) == (1, "recommend")
    assert document["dataset"]["quantiles"] == {"5%": 200, "50%": 200, "95%": 900, "longest": 900}
    assert document["dataset"]["unit"] == "tokens"
    said = document["recommendation"]
    assert (said["verdict"], said["best"], said["next"], said["probability"]) == ("use", "longformer", "bert", 1)
    assert said["ratio_lo"] <= said["ratio"] <= said["ratio_hi"]
    assert said["text"].startswith("Use longformer")
    rows = document["expected"]
    assert [row["series"] for row in rows] == ["longformer", "bert"]
    assert rows[0]["total_ns"] == pytest.approx(130e6, rel=0.02)
    assert rows[0]["batched_total_ns"] is None
    above = {row["metric"]: row for row in document["above"]}
    assert above["latency"]["share"] == pytest.approx(1 / 3)


def test_report_for_a_dataset(here: Main, folder: Path) -> None:
    words = ("report", folder / "traces", "--dataset", folder / "my.jsonl", "--field", "text", "--tokenizer", "words")
    document = json.loads(here(*words, "--html", folder / "r.html", "--json")[1])
    assert set(document) >= {"tables", "dataset", "expected", "above", "recommendation", "html"}
    assert document["recommendation"]["best"] == "longformer"
    assert "For your data" in (folder / "r.html").read_text()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["recommend", "{tmp}/traces"], "say which inputs: --dataset FILE, or --length 512,2048"),
        (["recommend"], "PATH"),
        (["recommend", "{tmp}/traces", "--length", "5,x"], "--length 'x' is no length"),
        (["recommend", "{tmp}/traces", "--length", "0"], "--length '0' is no length"),
        (["recommend", "{tmp}/traces", "--length", "5", "--dataset", "f"], "give one of them"),
        (["recommend", "{tmp}/traces", "--length", "5", "--field", "f"], "--field and --tokenizer are for a file"),
        (["recommend", "{tmp}/traces", "--length", "5", "--metric", "beauty"], "--metric"),
        (["recommend", "{tmp}/traces", "--length", "5", "--metric", "throughput"], "collect with --throughput"),
        (
            ["recommend", "{tmp}/traces", "--length", "5", "--unit", "pages"],
            "--unit pages, but the lengths of this study",
        ),
        (["recommend", "{tmp}/traces", "--length", "5", "--mode", "decode"], "--mode decode: this study has inference"),
        (["recommend", "{tmp}/traces", "--dataset", "{tmp}/no.txt"], "no.txt: no such file"),
        (
            ["recommend", "{tmp}/traces", "--dataset", "{tmp}/my.jsonl", "--field", "t"],
            "no field t; it has: text (text)",
        ),
        (["recommend", "{tmp}/nowhere", "--length", "5"], "no such file or folder"),
        (["report", "{tmp}/traces", "--field", "n"], "--field says something of your inputs"),
    ],
)
def test_errors_are_one_line_and_exit_2(here: Main, folder: Path, words: list[str], reason: str) -> None:
    code, out, err = here(*(word.format(tmp=folder) for word in words))
    assert code == 2
    assert out == ""
    assert len(err.strip().splitlines()) == 1
    assert reason in err
