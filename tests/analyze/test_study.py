"""Studies: folders of points, what their curves are called, and what is wrong with them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import tracekit
from tracekit import points
from tracekit.analyze import curves
from tracekit.analyze.doubts import DOUBT
from tracekit.analyze.load import load, load_study
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError
from tracekit.points import Identity, PeakMemory, Point, Profile, Sample, Trial

Spans = Callable[..., dict[str, Any]]


def make(
    model: str = "bert", length: float = 128, walls: tuple[int, ...] = (90, 100, 130, 140), **fields: Any
) -> Point:
    names = set(Identity.__struct_fields__)
    identity = Identity(model=model, length=length, **{k: v for k, v in fields.items() if k in names})
    samples = [Sample(wall_ns=w, cpu_ns=w // 2, run_delay_ns=w // 10) for w in walls]
    rest = {k: v for k, v in fields.items() if k not in names}
    return Point(**{"identity": identity, "tokens": int(length), "samples": samples, **rest})


def store(folder: Path, point: Point, events: list[dict[str, Any]]) -> Path:
    path = point.identity.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(points.header(point) + b'"traceEvents": ' + json.dumps(events).encode() + b"}")
    return path


@pytest.fixture
def events(span: Spans) -> list[dict[str, Any]]:
    return [span("tracekit::model#", 0, 100, "user_annotation"), span("aten::mm", 10, 50)]


def test_latency_is_median_and_quartiles_of_the_samples() -> None:
    row = curves.latency(make())
    assert row == {
        "median_ns": 115.0,
        "lo_ns": 97.5,
        "hi_ns": 132.5,
        "min_ns": 90.0,
        "samples": 4,
        "cpu_median_ns": 57.5,
        "run_delay_share": pytest.approx(46 / 460),
        "profiled_share": None,
    }
    profiled = curves.latency(make(profile=Profile(steps=2, warmup=1, wall_ns=460)))
    assert profiled is not None
    assert profiled["profiled_share"] == 2.0
    skewed = curves.latency(make(walls=(10, 11, 12, 900)))
    assert skewed is not None
    assert skewed["median_ns"] == 11.5
    one = curves.latency(make(walls=(7,)))
    assert one is not None
    assert (one["lo_ns"], one["median_ns"], one["hi_ns"]) == (7, 7, 7)
    assert curves.latency(make(walls=())) is None


def test_throughput_is_the_best_trial() -> None:
    trials = [
        Trial(batch=1, samples_ns=[10**9]),
        Trial(batch=4, samples_ns=[2 * 10**9, 10**9, 2 * 10**9]),
        Trial(batch=8, samples_ns=[]),
    ]
    assert curves.throughput(make(throughput=trials, throughput_ended="no gain")) == {
        "best_batch": 4,
        "samples_per_s": 2.0,
        "tokens_per_s": 256.0,
        "ended": "no gain",
    }
    assert curves.throughput(make()) is None


def test_labels_name_only_what_varies() -> None:
    def named(*given: Point) -> list[str]:
        return list(curves.labels(given).values())

    assert named(make(attention="sdpa"), make(attention="sdpa", length=256)) == ["bert"]
    assert named(make(attention="sdpa"), make("longformer", attention="eager")) == ["bert (sdpa)", "longformer (eager)"]
    assert named(make(batch=1), make(batch=8)) == ["bert (batch 1)", "bert (batch 8)"]
    assert named(make(overrides={}), make(overrides={"a": 1})) == ["bert (no overrides)", "bert (a=1)"]
    assert named(make("vit", overrides={"a": 1}), make("swin", overrides={"b": 2})) == ["vit", "swin"]
    training = [make(mode="training", optimizer=name) for name in ("adamw", "sgd")]
    assert named(make(), training[0]) == ["bert", "bert (training)"]
    assert named(make(), *training) == ["bert", "bert (training, adamw)", "bert (training, sgd)"]
    assert len(set(named(make(architecture="x"), make(architecture="y")))) == 2


def test_a_folder_is_a_study_baseline_first(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    memory = PeakMemory(bytes=5, method="m", parameter_bytes=3)
    for length in (256, 128):
        store(tmp_path, make("alpha", length, baseline="bert", memory=memory), events)
        store(tmp_path, make("bert", length), events)
    failed = make("bert", 512, status="oom", reason="no room", walls=())
    failed.identity.path(tmp_path, points.FAILED_SUFFIX).write_bytes(points.encode(failed))
    study = load(tmp_path)
    assert isinstance(study, Study)
    assert [(p.identity.model, p.identity.length) for p in study.points] == [
        ("bert", 128),
        ("bert", 256),
        ("alpha", 128),
        ("alpha", 256),
        ("bert", 512),
    ]
    assert study.latency().select("series", "length").rows() == [
        ("bert", 128),
        ("bert", 256),
        ("alpha", 128),
        ("alpha", 256),
    ]
    assert study.peak_memory()["peak_bytes"].to_list() == [5, 5]
    assert study.failures().select("length", "status", "reason").rows() == [(512, "oom", "no room")]
    assert study.throughput().columns == [*curves.IDENTITY, *curves.THROUGHPUT]
    components = study.components()
    assert components.columns[: len(curves.IDENTITY)] == list(curves.IDENTITY)
    assert components.group_by("series").len().height == 2
    # Four samples, that waited for a core a tenth of their time and for nobody knows what four tenths.
    found = [(f.code, f.severity, f.count, f.where) for f in study.findings]
    assert found == [
        ("busy_machine", "warning", 4, "bert at 128 and others"),
        ("waiting", "warning", 4, "bert at 128 and others"),
        ("few_repeats", "note", 4, "bert at 128 and others"),
    ]
    assert "table" in study._repr_html_()


def test_unreadable_and_other_files_are_findings(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    store(tmp_path, make(), events)
    (tmp_path / "settings.json").write_text('{"a": 1}')
    (tmp_path / "cut.json").write_text('{"traceEvents": [')
    (tmp_path / "damaged.json").write_text('{"tracekit": {"identity": 3}, "traceEvents": []}')
    (tmp_path / "bad.failed.json").write_text("nonsense")
    study = load_study([tmp_path])
    found = {f.code: f.count for f in study.load_findings}
    assert found == {"skipped_file": 1, "unreadable_file": 3}


@pytest.mark.parametrize("content", [None, {"a.json": "{}"}, {"a.json": '{"traceEvents": [{'}])
def test_folders_without_traces_are_errors(tmp_path: Path, content: dict[str, str] | None) -> None:
    for name, text in (content or {}).items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TraceError, match="no traces"):
        load(tmp_path)


def test_a_file_is_a_trace_and_a_damaged_header_a_finding(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    trace = load(store(tmp_path, make(), events))
    assert isinstance(trace, Trace)
    assert trace.point == make()
    odd = tmp_path / "odd.json"
    odd.write_text(json.dumps({"traceEvents": events, "tracekit": {"identity": 3}}))
    damaged = Trace(odd)
    assert damaged.point is None
    assert "header_damaged" in [f.code for f in damaged.findings]
    newer = Trace(store(tmp_path, make(schema=99, length=7), events))
    assert [f.code for f in newer.findings] == ["newer_schema"]


def test_several_paths_are_one_study(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    store(tmp_path / "a", make(), events)
    single = tmp_path / "b.json"
    single.write_text(json.dumps({"traceEvents": events}))
    study = load_study([tmp_path / "a", single])
    assert study.components()["series"].unique(maintain_order=True).to_list() == ["bert", "b.json"]
    assert study.title == "a + b.json"


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="no such file"):
        load(tmp_path / "none")


def test_public_names_resolve() -> None:
    assert tracekit.load is load
    assert tracekit.Study is Study
    with pytest.raises(AttributeError):
        _ = tracekit.nonsense
    assert set(tracekit.__all__) >= {"load", "sweep", "write_html", "Study", "Trace"}


def test_what_a_reader_must_know_of_a_model_is_said_once(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    for length in (128, 256):
        store(tmp_path, make("mamba", length, notes=["reference kernel"]), events)
        store(tmp_path, make("rwkv", length, notes=["reference kernel"]), events)
    noted = [f for f in load_study([tmp_path]).findings if f.code == "model_note"]
    assert [(f.severity, f.where, f.cost) for f in noted] == [("note", "mamba, rwkv", "reference kernel")]


def test_time_to_the_first_token(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    first = [Sample(wall_ns=wall, cpu_ns=None) for wall in (10, 20, 60)]
    store(tmp_path, make("gpt2", mode="decode", first_token=first), events)
    store(tmp_path, make("gpt2"), events)
    assert load_study([tmp_path]).first_token().select("mode", "median_ns", "samples").rows() == [("decode", 20.0, 3)]


def test_doubts_name_their_point_and_number(tmp_path: Path, events: list[dict[str, Any]]) -> None:
    trials = [Trial(batch=1, samples_ns=[10])]
    store(tmp_path, make("bert", 128, walls=(100,) * 5, throughput=trials), events)
    store(tmp_path, make("good", 64, samples=[Sample(wall_ns=100, cpu_ns=100)] * 5), events)
    study = load_study([tmp_path])
    doubts = study.doubts()
    assert doubts.schema == {**curves.IDENTITY, **DOUBT}
    assert doubts.select("series", "length", "tokens", "metric", "code").rows() == [
        ("bert", 128, 128, "latency", "busy_machine"),
        ("bert", 128, 128, "latency", "waiting"),
        ("bert", 128, 128, "throughput", "few_repeats"),
        ("bert", 128, 128, "throughput", "busy_machine"),
    ]
    assert doubts["size"].to_list() == [0.1, pytest.approx(0.4), None, 0.1]
    assert {f.code: (f.count, f.where) for f in study.findings}["busy_machine"] == (1, "bert at 128")
    assert load_study([store(tmp_path / "one", make("good", 64, walls=()), events)]).doubts().height == 0


def test_a_table_is_computed_once_and_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    study = Study("none", [])
    calls: list[object] = []

    def scaling(*given: object) -> pl.DataFrame:
        calls.append(given)
        return pl.DataFrame({"a": [1]})

    monkeypatch.setattr("tracekit.analyze.scaling.scaling", scaling)
    study.scaling().insert_column(0, pl.Series("b", [2]))
    assert study.scaling(1000).columns == ["a"]
    assert study.scaling(seed=0, draws=1000).columns == ["a"]
    assert len(calls) == 1
    study.scaling(seed=1)
    assert len(calls) == 2
