"""`tracekit collect` as a user types it, and as a user ends it."""

from __future__ import annotations

import gzip
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tracekit import points

pytest.importorskip("torch")
pytest.importorskip("transformers")

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = ["--preset", "tiny", "--no-baseline", "--repeats", "2"]


def start(root: Path, *words: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tracekit", "collect", *map(str, words)]
    return subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def finals(out: Path) -> list[Path]:
    return sorted(out.rglob(f"*{points.TRACE_SUFFIX}"))


def assert_readable(path: Path) -> None:
    assert next(iter(json.loads(gzip.decompress(path.read_bytes())))) == "tracekit"
    assert points.read_point(path) is not None


def test_plan_progress_results_and_json(run_cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "traces"
    words = ["collect", "--model", "bert", *TINY, "--lengths", "16,32", "--out", out, "--json"]
    done = run_cli(*words)
    assert done.returncode == 0, done.stderr
    lines = done.stderr.splitlines()
    assert lines[0].startswith("plan: bert (sdpa); 16, 32 tokens")
    assert "about" in lines[1]
    assert [line.split()[:3] for line in lines[2:4]] == [["ok", "bert", "(sdpa)"]] * 2
    assert f"next: tracekit report {out}" in lines[-1]
    document = json.loads(done.stdout)
    assert (document["schema"], document["command"]) == (1, "collect")
    assert [Path(row["path"]) for row in document["points"]] == finals(out)
    again = run_cli(*words[:-1])
    assert "2 cached" in again.stderr
    assert again.stdout == ""


def test_dry_run_makes_nothing(run_cli: Run, tmp_path: Path) -> None:
    done = run_cli("collect", "--model", "longformer", "--out", tmp_path / "traces", "--dry-run", "--budget", 20)
    assert done.returncode == 0, done.stderr
    assert "plan: bert (sdpa), longformer (eager)" in done.stderr
    assert "left out" in done.stderr
    assert not (tmp_path / "traces").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--model", "longformr"], "did you mean longformer"),
        ([], "name a model"),
        (["--model", "bert", "--lengths", "a"], "no length"),
        (["--model", "bert", "--set", "layers"], "KEY=VALUE"),
        (["--model", "bert", "--set", "num_hiden_layers=2"], "near it: num_hidden_layers"),
        (["--model", "bert", "--set", "num_hidden_layers=two"], "whole number"),
        (["--model", "longformer", "--attention", "sdpa", "--no-baseline"], "it has: eager"),
        (["--model", "bert", "--repeats", "0"], "--repeats"),
        (["--model", "bert", "--budget", "-5"], "--budget"),
        (["--model", "bert", "--batch", "x"], "--batch"),
        (["--model", "bert", "--device", "cuda:77"], "cuda:77"),
        (["--model", "bert", "--out", "{tmp}/file"], "this is a file"),
        (["--model", "nystromformer", "--lengths", "100"], "the nearest it can: 128"),
    ],
)
def test_errors_are_one_line_and_exit_2(run_cli: Run, tmp_path: Path, words: list[str], reason: str) -> None:
    (tmp_path / "file").touch()
    out = [] if "--out" in words else ["--out", str(tmp_path / "traces")]
    done = run_cli("collect", *(word.format(tmp=tmp_path) for word in words), *out)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert reason in done.stderr
    assert done.stdout == ""


def test_failures_exit_1_and_out_of_memory_0(run_cli: Run, tmp_path: Path) -> None:
    wrong = run_cli(
        "collect", "--model", "bert", *TINY, "--lengths", 16, "--set", "num_attention_heads=7", "--out", tmp_path
    )
    assert wrong.returncode == 1
    assert "error  bert (sdpa) at 16 tokens: ValueError" in wrong.stderr
    large = run_cli("collect", "--model", "bert", *TINY, "--lengths", 65536, "--batch", 1 << 30, "--out", tmp_path)
    assert large.returncode == 0
    assert "oom  bert (sdpa)" in large.stderr


def test_ctrl_c_keeps_what_is_done(root: Path, run_cli: Run, tmp_path: Path) -> None:
    words = ["--model", "bert", *TINY, "--lengths", "16:4096", "--out", tmp_path]
    with start(root, *words) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.strip().startswith("ok"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait(30) == 130
    assert "interrupted; kept: " in rest
    kept = finals(tmp_path)
    assert 1 <= len(kept) < 9
    for path in kept:
        assert_readable(path)


@pytest.mark.slow
def test_killed_at_any_moment_it_goes_on_where_it_stopped(root: Path, run_cli: Run, tmp_path: Path) -> None:
    dice = random.Random(7)
    words = ["--model", "bert", "--model", "longformer", *TINY, "--lengths", "16:64", "--out", tmp_path]
    stamps: dict[Path, int] = {}
    for _ in range(3):
        with start(root, *words) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.strip().startswith("ok"):
                    break
            time.sleep(dice.uniform(0, 0.8))
            process.kill()
            process.stderr.read()
        for path in finals(tmp_path):
            assert_readable(path)
            assert stamps.setdefault(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns, "measured again"
    done = run_cli("collect", *words)
    assert done.returncode == 0, done.stderr
    whole = finals(tmp_path)
    assert len(whole) == 6
    for path in whole:
        assert_readable(path)
        assert stamps.get(path, path.stat().st_mtime_ns) == path.stat().st_mtime_ns, "measured again"
