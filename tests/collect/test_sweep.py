"""Real sweeps of tiny models in real processes: what is written, what is kept, and how points die."""

from __future__ import annotations

import dataclasses
import gzip
import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tracekit import Study, Trace, load, points, write_html
from tracekit.collect import models
from tracekit.collect import sweep as sweeping
from tracekit.collect.plan import Plan, Request, make
from tracekit.collect.rounds import Effort
from tracekit.collect.sweep import Result, run
from tracekit.collect.worker import Worker
from tracekit.errors import MissingExtraError, UsageError

pytest.importorskip("torch")
pytest.importorskip("transformers")

QUICK = Effort(repeats=2, timeout=120)


def plan(out: Path, models: tuple[str, ...] = ("bert",), lengths: tuple[int, ...] = (16,), **options: Any) -> Plan:
    force = options.pop("force", False)
    request = Request(models, lengths=lengths, **{"preset": "tiny", "baseline": False, **options})
    return make(request, out, force=force)


def collected(made: Plan, effort: Effort = QUICK, **options: Any) -> list[Result]:
    return list(run(made, effort, **options))


def statuses(results: list[Result]) -> list[str]:
    return [result.status for result in results]


def test_a_point_file_says_everything(tmp_path: Path) -> None:
    done = collected(
        plan(tmp_path, ("bert", "longformer"), (16, 32), overrides={"num_hidden_layers": 1}), command=["x"]
    )
    assert statuses(done) == ["ok"] * 4
    for result in done:
        assert result.path is not None
        document = json.loads(gzip.decompress(result.path.read_bytes()))
        assert next(iter(document)) == "tracekit"
        names = [event.get("name") for event in document["traceEvents"]]
        assert sum(str(name).startswith("ProfilerStep#") for name in names) == 3
        assert names.count("tracekit::phase#forward") == 3
        assert names.count("tracekit::model#") == 3
        point = points.read_point(result.path)
        assert point is not None
        assert point.identity == result.planned.identity
        assert (point.tokens, point.seed, point.command) == (point.identity.length, 0, ["x"])
        assert [sample.round for sample in point.samples] == [0, 1]
        assert all(sample.wall_ns > 0 and (sample.cpu_ns or 0) > 0 for sample in point.samples)
        assert [(work.round, work.series) for work in point.calibration] == [(0, 32), (1, 32)]
        assert point.config["num_hidden_layers"] == 1
        assert point.memory is not None
        assert point.memory.bytes > point.memory.parameter_bytes >= point.parameters * 4
        assert point.profile is not None
        assert (point.profile.steps, point.profile.exporter) == (3, "native")
        assert {"cpu_model", "load_average"} <= set(point.environment)
        assert {"torch", "transformers", "tracekit", "python"} <= set(point.versions)
    baselines = {r.planned.identity.model: points.read_point(r.path).baseline for r in done if r.path}  # type: ignore[union-attr]
    assert baselines == {"bert": None, "longformer": "bert"}
    sweeps = [{s.sweep for s in points.read_point(r.path).samples} for r in done if r.path]  # type: ignore[union-attr]
    assert sweeps[0] == sweeps[1] != sweeps[2]  # the models of one length were timed in the same rounds
    assert not list(tmp_path.rglob(".*"))


def test_finished_points_are_kept_and_force_redoes_them(tmp_path: Path) -> None:
    first = collected(plan(tmp_path))[0]
    assert first.path is not None
    before = first.path.stat()
    assert statuses(collected(plan(tmp_path))) == ["cached"]
    assert first.path.stat().st_mtime_ns == before.st_mtime_ns
    assert statuses(collected(plan(tmp_path, force=True))) == ["ok"]
    assert first.path.stat().st_mtime_ns != before.st_mtime_ns
    first.path.write_bytes(first.path.read_bytes()[:200])  # a damaged file is no finished point
    assert statuses(collected(plan(tmp_path))) == ["ok"]


def test_out_of_memory_is_a_result_and_longer_inputs_are_skipped(tmp_path: Path) -> None:
    made = plan(tmp_path, lengths=(1 << 16, 1 << 17), batch=1 << 30)  # inputs of 512 TB: no address space holds them
    done = collected(made)
    assert statuses(done) == ["oom", "skipped"]
    assert done[0].path is not None
    failed = points.read_failed(done[0].path)
    assert failed.identity == made.points[0].identity
    assert "allocate" in failed.reason
    assert statuses(collected(made, skip_after_oom=False)) == ["oom", "oom"]


def test_a_success_removes_the_failure(tmp_path: Path) -> None:
    made = plan(tmp_path)
    path = made.points[0].failed_path
    path.parent.mkdir(parents=True)
    path.write_text("{}")
    assert statuses(collected(made)) == ["ok"]
    assert not path.exists()


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> list[Worker]:
    """Every worker that is started, in order."""
    started: list[Worker] = []

    class Seen(Worker):
        def __init__(self, *given: Any) -> None:
            super().__init__(*given)
            started.append(self)

    monkeypatch.setattr(sweeping, "Worker", Seen)
    return started


def killer(workers: list[Worker], when: str) -> Callable[[str], None]:
    def said(doing: str) -> None:
        if doing.startswith(when):
            os.kill(workers[0]._process.pid, signal.SIGKILL)

    return said


def test_a_killed_point_is_told_and_the_others_go_on(tmp_path: Path, workers: list[Worker]) -> None:
    made = plan(tmp_path, ("bert", "longformer"))
    done = collected(made, said=killer(workers, "timing bert"))
    assert {r.planned.identity.model: r.status for r in done} == {"bert": "killed", "longformer": "ok"}
    killed = next(r for r in done if r.status == "killed")
    assert killed.path is not None
    assert "SIGKILL" in points.read_failed(killed.path).reason
    assert statuses(collected(made)) == ["ok", "ok"]  # `made` was planned before longformer was finished
    assert statuses(collected(plan(tmp_path, ("bert", "longformer")))) == ["cached", "cached"]


def test_a_point_that_hangs_times_out(tmp_path: Path) -> None:
    done = collected(plan(tmp_path), Effort(repeats=1, timeout=0.01))
    assert statuses(done) == ["timeout"]
    assert "longer than 0.01 s" in done[0].reason


def test_an_error_in_the_model_is_one_line(tmp_path: Path) -> None:
    done = collected(plan(tmp_path, overrides={"num_attention_heads": 7}))  # does not divide the width
    assert statuses(done) == ["error"]
    assert done[0].reason.startswith("ValueError: ")
    assert "\n" not in done[0].reason


def test_no_process_is_left(tmp_path: Path, workers: list[Worker]) -> None:
    running = run(plan(tmp_path, lengths=(16, 32)), QUICK)
    next(running)
    running.close()
    assert workers
    assert not any(worker._process.is_alive() for worker in workers)


def test_a_spent_budget_skips(tmp_path: Path) -> None:
    assert statuses(collected(plan(tmp_path), budget_s=-1)) == ["skipped"]


def test_check_refuses_what_only_torch_knows(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="near it: num_hidden_layers"):
        sweeping.check(plan(tmp_path, overrides={"num_hiden_layers": 2}))
    with pytest.raises(UsageError, match="cuda:99"):
        sweeping.check(plan(tmp_path, device="cuda:99"))


def test_sweep_from_python(tmp_path: Path) -> None:
    given: dict[str, Any] = {"lengths": 16, "attention": "sdpa", "isolation": "forkserver"}
    found = list(sweeping.sweep("bert", preset="tiny", out=tmp_path, effort=QUICK, **given))
    assert [(point.status, point.identity.length) for point in found] == [("ok", 16)]


def test_throughput_is_measured_where_asked(tmp_path: Path) -> None:
    done = collected(plan(tmp_path), Effort(repeats=1, throughput=True))
    assert done[0].path is not None
    point = points.read_point(done[0].path)
    assert point is not None
    assert [trial.batch for trial in point.throughput][:3] == [1, 2, 4]
    assert point.throughput_ended in ("memory", "time", "no gain", "size")
    assert all(len(trial.samples_ns) == 3 for trial in point.throughput)


def test_names_that_break_the_native_exporter_are_kept(tmp_path: Path) -> None:
    """torch 2.13 writes invalid JSON for a quote in a name; the Python exporter of the same profile is used then."""
    from torch.profiler import record_function

    from tracekit.collect.profile import run_profiled

    def step() -> None:
        with record_function('a "quoted" name'):
            pass

    exported, profile = run_profiled(step, "cpu", 1, tmp_path)
    names = [event.get("name") for event in json.loads(exported.read_text())["traceEvents"]]
    assert 'a "quoted" name' in names
    assert profile.exporter in ("native", "python")


@pytest.mark.parametrize("module", ["torch", "transformers"])
def test_a_missing_extra_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, module: str) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'torch-tracekit\[collect\]'") as error:
        list(sweeping.sweep("bert", lengths=[16], out=tmp_path))
    assert module in str(error.value)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None, reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("how", ["component", "model"])
def test_compiled_models_say_what_is_lost(tmp_path: Path, how: str) -> None:
    made = plan(tmp_path, overrides={"num_hidden_layers": 1}, compile=how)
    done = collected(made, Effort(repeats=2, timeout=500))
    assert statuses(done) == ["ok"]
    assert done[0].path is not None
    trace = Trace(done[0].path)
    assert trace.point is not None
    assert trace.point.first_step_s is not None
    assert any("compiled" in note for note in trace.point.notes)
    found = set(trace.components().filter(pl.col("component") != "unattributed")["component"])
    assert ({"embedding", "attention", "ffn"} <= found) == (how == "component")


def test_training_is_charged_to_components_and_phases(tmp_path: Path) -> None:
    done = collected(plan(tmp_path, mode="training", checkpointing=True, optimizer="sgd"))
    assert statuses(done) == ["ok"]
    assert done[0].path is not None
    trace = Trace(done[0].path)
    rows = trace.components()
    assert {"forward", "recompute", "backward", "optimizer"} <= set(rows["phase"])
    assert {"attention", "ffn", "loss", "optimizer"} <= set(rows["component"])
    assert trace.point is not None
    assert trace.point.identity.optimizer == "sgd"
    assert any("quadratic memory" in note for note in trace.point.notes)


def test_decoding_tells_the_first_token_and_each_further_one(tmp_path: Path) -> None:
    study = load(tmp_path) if statuses(collected(plan(tmp_path, ("gpt2",), (64,), mode="decode"))) == ["ok"] else None
    assert isinstance(study, Study)
    assert study.first_token()["samples"].item() >= 2
    assert study.latency()["mode"].item() == "decode"
    held = study.points[0].memory
    assert held is not None
    assert held.held_bytes == 2 * 2 * 64 * 64 * 4  # keys and values of two layers, 64 tokens, width 64, float32


def test_an_attention_that_never_runs_fails_the_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wavlm = models.get("wavlm")
    monkeypatch.setitem(models._ENTRIES, "wavlm", dataclasses.replace(wavlm, attention=("local:50",)))
    made = plan(tmp_path, ("wavlm",), (1,), isolation="none")  # a forked server has the entries as they are
    done = collected(made)
    assert statuses(done) == ["error"]
    assert "never called 'local:50'" in done[0].reason


def test_a_model_without_checkpointing_says_so(tmp_path: Path) -> None:
    done = collected(plan(tmp_path, ("mpnet",), mode="training", checkpointing=True, isolation="none"))
    assert statuses(done) == ["error"]
    assert "MPNetModel has no gradient checkpointing" in done[0].reason


@pytest.mark.parametrize("isolation", ["spawn", "none"])
def test_isolation(tmp_path: Path, isolation: str) -> None:
    assert statuses(collected(plan(tmp_path, isolation=isolation))) == ["ok"]
    # a point that was measured among the remains of others is no substitute for one that was not
    assert plan(tmp_path).points[0].finished == (isolation == "spawn")


def test_bfloat16_gives_a_full_report(tmp_path: Path) -> None:
    done = collected(plan(tmp_path, ("bert", "longformer"), (32, 64), dtype="bfloat16"))
    assert statuses(done) == ["ok"] * 4
    study = load(tmp_path)
    assert isinstance(study, Study)
    assert study.latency().height == study.peak_memory().height == 4
    assert {"attention", "ffn", "embedding"} <= set(study.components()["component"])
    types = study.operators(by=["shapes"])
    assert types.height > 0
    write_html(study, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size > 100_000
