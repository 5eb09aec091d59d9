"""`tracekit check` as a user runs it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]


def event(name: str, start: float, dur: float, cat: str = "cpu_op", **args: Any) -> dict[str, Any]:
    return {"ph": "X", "cat": cat, "name": name, "pid": 1, "tid": 1, "ts": start, "dur": dur, "args": args}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    events = [
        event("ProfilerStep#1", 0, 100, "user_annotation"),
        {**event("aten::addmm", 10, 50), "args": {"Input Dims": [[2], [2, 2], [2, 2]]}},
        event("aten::mm", 20, 10),
        event("aten::mm", 22, 3),
        event("cudaLaunchKernel", 30, 5, "cuda_runtime", correlation=3),
        event("k", 200, 7, "kernel", device=0, stream=7, correlation=3),
        event("k", 205, 5, "kernel", device=0, stream=8, correlation=3),
    ]
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"traceEvents": events}))
    return path


def test_facts(run_cli: Run, path: Path) -> None:
    done = run_cli("check", path, "--json")
    document = json.loads(done.stdout)
    assert (done.returncode, document["command"], document["schema"], document["warnings"]) == (0, "check", 1, {})
    facts = document["facts"]
    assert facts | {
        "n_cpu_op": 3, "n_annotation": 1, "n_steps": 1, "n_gpu": 2, "cpu_busy_ns": 100_000, "cpu_op_busy_ns": 50_000,
        "self_ns": {"aten::mm": 10_000, "aten::addmm": 35_000, "aten::sum": 0},
        "total_ns": {"aten::mm": [2, 13_000], "aten::addmm": [1, 50_000], "aten::sum": [0, 0]},
        "outermost_ns": {"aten::mm": [1, 10_000], "aten::addmm": [1, 50_000], "aten::sum": [0, 0]},
        "gpu_sum_ns": 12_000, "gpu_busy_ns": 10_000, "gpu_span_ns": 10_000, "n_linked": 2, "gpu_linked_ns": 12_000,
    } == facts  # fmt: skip


def test_text_says_what_it_can_tell_and_what_not(run_cli: Run, path: Path) -> None:
    done = run_cli("check", path, env={"COLUMNS": "120", "NO_COLOR": "1"})
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "collected elsewhere: 3 operators on one host thread" in text
    assert "no memory over time profile with profile_memory=True" in text
    assert "yes FLOPs, cost by shape 1 shapes" in text
    assert "This trace is sound." in text


def test_strict_fails_on_warnings_only(run_cli: Run, path: Path) -> None:
    assert run_cli("check", path, "--strict").returncode == 0  # notes do not count
    path.write_text(path.read_text()[:-30])
    assert run_cli("check", path).returncode == 0
    done = run_cli("check", path, "--strict", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    document = json.loads(run_cli("check", path, "--strict", "--json").stdout)
    assert document["warnings"] == {"truncated": 1}


def test_what_is_no_trace_is_one_line(run_cli: Run, tmp_path: Path) -> None:
    for given, reason in ((tmp_path, "is a folder"), (tmp_path / "none", "No such file")):
        done = run_cli("check", given)
        assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
        assert reason in done.stderr


def test_nothing_of_a_point_reaches_the_terminal_raw(
    run_cli: Run, store_point: Callable[..., Path], tmp_path: Path
) -> None:
    path = store_point(tmp_path, "b\x1b]0;x\x07ert", 128, 1.0, identity={"length_unit": "to\x1b[2Jkens"})
    done = run_cli("check", path)
    assert done.returncode == 0, done.stderr
    assert not set(done.stdout) & {"\x1b", "\x07"}
    assert "to\\x1b[2Jkens" in done.stdout


def test_rules_and_cache_options(run_cli: Run, path: Path, tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rule]]\nclass = "("\ncomponent = "ffn"\n')
    done = run_cli("check", path, "--components", rules)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert run_cli("check", path, "--no-cache", "--components", tmp_path / "none.toml").returncode == 2


def test_repair(run_cli: Run, path: Path, tmp_path: Path) -> None:
    whole = path.read_text()
    path.write_text(whole[: whole.rindex('{"ph"') + 9])
    copy = tmp_path / "copy.json.gz"
    done = run_cli("check", path, "--repair", copy, "--json", "--strict")
    document = json.loads(done.stdout)
    assert (done.returncode, document["warnings"]) == (1, {"truncated": 1})
    assert document["repaired"] == {
        "path": str(copy), "events": 6, "mended": 0, "dropped": 0, "bytes": copy.stat().st_size,
    }  # fmt: skip
    again = json.loads(run_cli("check", copy, "--json").stdout)
    assert (again["facts"], again["warnings"]) == (document["facts"], {"repaired": 1})
    shown = run_cli("check", path, "--repair", tmp_path / "plain.json", env={"COLUMNS": "200"})
    assert "Repaired copy:" in shown.stdout
    assert "0 events dropped (truncated 1)" in " ".join(shown.stdout.split())
    assert json.loads((tmp_path / "plain.json").read_text())["traceEvents"] == json.loads(whole)["traceEvents"][:6]


def test_repair_refuses(run_cli: Run, path: Path, tmp_path: Path) -> None:
    before = path.read_bytes()
    done = run_cli("check", path, "--repair", path)
    assert (done.returncode, path.read_bytes()) == (2, before)
    assert "is the file to be repaired; choose another name" in done.stderr
    path.write_text("hello")
    done = run_cli("check", path, "--repair", tmp_path / "copy.json")
    assert (done.returncode, done.stderr.count("\n"), (tmp_path / "copy.json").exists()) == (2, 1, False)
