"""Folders of traces that somebody else collected: lengths from names, points.toml, ranks; and the user's own rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tracekit.analyze.foreign import length_pattern
from tracekit.analyze.load import Reading, load, load_study
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.errors import TraceError, UsageError
from tracekit.rules import load_rules

Spans = Callable[..., dict[str, Any]]


@pytest.fixture
def put(span: Spans, tmp_path: Path) -> Callable[..., Path]:
    """Write a small foreign trace: `put("bert_128.json", header={...})`."""

    def put(name: str, header: dict[str, Any] | None = None, us: float = 10) -> Path:
        path = tmp_path / "study" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({**(header or {}), "traceEvents": [span("aten::mm", 0, us)]}))
        return path

    return put


def test_lengths_from_names(put: Callable[..., Path], tmp_path: Path) -> None:
    for model in ("bert", "longformer"):
        for length in (512, 128):
            put(f"{model}_{length}.pt.trace.json", us=length)
    put("notes.json")
    study = load(tmp_path / "study", length_from=r"_(\d+)\.pt")
    assert isinstance(study, Study)
    rows = study.components().select("series", "length", "length_unit", "host_ns").rows()
    assert rows == [
        ("bert", 128, "units", 128_000),
        ("bert", 512, "units", 512_000),
        ("longformer", 128, "units", 128_000),
        ("longformer", 512, "units", 512_000),
        ("notes.json", None, None, 10_000),
    ]
    assert [(f.code, f.where) for f in study.load_findings] == [("no_length", "notes.json")]
    assert study.latency().height == 0  # a profiled run tells no latency


def test_named_groups_say_which_is_which(put: Callable[..., Path], tmp_path: Path) -> None:
    put("run7/L256-bert.json")
    put("run8/L512-bert.json")
    study = load(tmp_path / "study", length_from=r"L(?P<length>\d+)-(?P<model>\w+)")
    assert study.components().select("model", "length").rows() == [("bert", 256), ("bert", 512)]


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        ("(", "no regular expression"),
        (r"\d+", "one group"),
        (r"(\w)\.json", "no number"),
        (r"b()e", "no number"),
        (r"-(\d+)x", "matches no file"),
    ],
)
def test_patterns_that_cannot_be_meant(put: Callable[..., Path], tmp_path: Path, pattern: str, reason: str) -> None:
    put("bert.json")
    with pytest.raises(UsageError, match=reason):
        load(tmp_path / "study", length_from=pattern)


def test_single_files_have_lengths_too(put: Callable[..., Path], tmp_path: Path) -> None:
    files = [put("bert_128.json"), put("bert_256.json"), put("notes.json")]
    reading = Reading(cache=False, length_from=length_pattern(r"_(\d+)"))
    study = load_study(files[:2], reading)
    assert study.components().select("series", "length").rows() == [("bert", 128), ("bert", 256)]
    with pytest.raises(UsageError, match=r"does not match notes\.json"):
        load_study(files, reading)


def test_ranks_are_never_lengths(put: Callable[..., Path], tmp_path: Path) -> None:
    for rank in range(3):
        put(f"job/trace_{rank}.json", {"distributedInfo": {"rank": rank, "world_size": 3}})
    study = load_study([tmp_path / "study"])
    assert study.components()["series"].to_list() == [f"rank {r}: job/trace_{r}.json" for r in range(3)]
    assert study.components()["length"].null_count() == 3
    assert [(f.code, f.count, f.where) for f in study.load_findings] == [("ranks", 3, "job")]
    with pytest.raises(TraceError, match="ranks of a distributed job"):
        load(tmp_path / "study", length_from=r"_(\d+)")
    for rank in range(2):
        put(f"lengths/rank{rank}-n128.json")
    assert load(tmp_path / "study" / "lengths", length_from=r"n(\d+)").components()["length"].to_list() == [128, 128]


def test_a_length_of_zero_is_refused(put: Callable[..., Path], tmp_path: Path) -> None:
    put("bert_0.json")
    put("bert_128.json")
    with pytest.raises(TraceError, match="length of 0"):
        load(tmp_path / "study", length_from=r"_(\d+)")


def test_points_toml_describes_the_files_beside_it(put: Callable[..., Path], tmp_path: Path) -> None:
    put("a.json")
    put("sub/b.json")
    toml = tmp_path / "study" / "points.toml"
    toml.write_text(
        '[[point]]\nfile = "a.json"\nmodel = "mine"\nlength = 64\nlatency_ms = [2.0, 4.0, 3.0]\n'
        '[[point]]\nfile = "sub/b.json"\nmodel = "mine"\nlength = 1.5\nlength_unit = "seconds"\ndevice = "cuda"\n'
    )
    study = load(tmp_path / "study")
    assert isinstance(study, Study)
    assert [(p.identity.model, p.identity.length, p.identity.length_unit, p.identity.device) for p in study.points] == [
        ("mine", 1.5, "seconds", "cuda"),
        ("mine", 64, "tokens", "unknown"),
    ]
    assert study.latency().select("length", "median_ns", "samples", "cpu_median_ns").rows() == [(64, 3e6, 3, None)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("[[point", "points.toml"),
        ('[[point]]\nfile = "a.json"\nmodel = "m"\n', "length"),
        ('[[point]]\nfile = "none.json"\nmodel = "m"\nlength = 1\n', "no such file: none.json"),
        ('[[point]]\nfile = "a.json"\nmodel = "m"\nlength = 1\nlenght_unit = "x"\n', "lenght_unit"),
        ('[[point]]\nfile = "a.json"\nmodel = "m"\nlength = nan\n', "must be numbers above 0"),
        ('[[point]]\nfile = "a.json"\nmodel = "m"\nlength = 1\nlatency_ms = [inf]\n', "must be numbers above 0"),
        ('[[points]]\nfile = "a.json"\nmodel = "m"\nlength = 1\n', r"\[\[point\]\]"),
        ("x = " + "[" * 10_000, "nested too deeply"),
        ('[[point]]\nfile = "a.json"\nmodel = "m"\nlength = 1\nbatch = 0\n', "batch"),
        (f'[[point]]\nfile = "a.json"\nmodel = "m"\nlength = 1\ntokens = {10**23}\n', "tokens"),
        ('[[point]]\nfile = "a.json"\nmodel = "m"\nlength = 1\nlatency_ms = [1e300]\n', "more than 30 days"),
        ('[[point]]\nfile = "/etc/passwd"\nmodel = "m"\nlength = 1\n', "beside or below"),
        ('[[point]]\nfile = "../study/a.json"\nmodel = "m"\nlength = 1\n', "beside or below"),
    ],
)
def test_a_points_toml_that_cannot_be_meant(put: Callable[..., Path], tmp_path: Path, text: str, reason: str) -> None:
    put("a.json")
    (tmp_path / "study" / "points.toml").write_text(text)
    with pytest.raises(UsageError, match=reason):
        load(tmp_path / "study")


def rules(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    return path


def test_rules_speak_before_ours(span: Spans, write: Callable[..., Path], tmp_path: Path) -> None:
    ours = load_rules(
        rules(
            tmp_path,
            '[[rule]]\npath = "enc.\\\\d+.mix"\ncomponent = "attention"\npart = "core"\n'
            '[[rule]]\nclass = "Gate"\ncomponent = "ffn"\n'
            '[[rule]]\nannotation = "my part.*"\ncomponent = "head"\n',
        )
    )
    mark, frame = "user_annotation", "python_function"
    cases = {
        "tracekit": [span("tracekit::ffn#enc.3.mix", 0, 30, mark), span("tracekit::ffn#enc.3.mixture", 40, 5, mark)],
        "modules": [span("nn.Module: BertAttention_0", 0, 30, frame), span("nn.Module: Gate_1", 5, 10, frame)],
        "annotations": [span("my part 1", 0, 20, mark), span("attention", 30, 10, mark), span("what", 50, 5, mark)],
    }
    expected = {
        "tracekit": {("attention", "core"): 30_000, ("ffn", ""): 5_000},
        "modules": {("attention", ""): 20_000, ("ffn", ""): 10_000},
        "annotations": {("head", ""): 20_000, ("attention", ""): 10_000, ("unattributed", "no_modules"): 5_000},
    }
    for source, events in cases.items():
        trace = Trace(write(events, name=f"{source}.json"), rules=ours)
        assert trace.range_source == source
        table = trace.components().select("component", "part", "host_ns")
        assert {(component, part): ns for component, part, ns in table.iter_rows()} == expected[source]
    layers = Trace(write(cases["annotations"])).layers()
    assert set(layers["layer"]) == {"my part 1", "attention", "what"}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = ", "not valid TOML"),
        ("x = " + "[" * 10_000, "nested too deeply"),
        ("a = 1", r"\[\[rule\]\]"),
        ('[[rule]]\ncomponent = "ffn"\n', "one of path, class, annotation"),
        ('[[rule]]\ncomponent = "ffn"\npath = "a"\nclass = "b"\n', "one of path, class, annotation"),
        ('[[rule]]\ncomponent = "nonsense"\npath = "a"\n', "component must be one of"),
        ('[[rule]]\ncomponent = "ffn"\npart = "core"\npath = "a"\n', "ffn has no part 'core'"),
        ('[[rule]]\ncomponent = "ffn"\npath = "("\n', "no regular expression"),
        ('[[rule]]\ncomponent = "ffn"\npath = 3\n', "must be text"),
        ('[[rule]]\ncomponent = "ffn"\npath = "a"\nclas = "b"\n', "unknown key 'clas'"),
    ],
)
def test_rules_that_cannot_be_meant(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        load_rules(rules(tmp_path, text))


def test_two_modules_of_one_name_are_two_layers(span: Spans, write: Callable[..., Path]) -> None:
    frame = "python_function"
    events = [
        span("nn.Module: Block_0", 0, 10, frame, **{"Python module id": 4}),
        span("nn.Module: Block_0", 20, 5, frame, **{"Python module id": 9}),
        span("nn.Module: Block_1", 40, 1, frame, **{"Python module id": 5}),
    ]
    layers = dict(Trace(write(events)).layers().select("layer", "host_ns").iter_rows())
    assert layers == {"Block_0 (id 4)": 10_000, "Block_0 (id 9)": 5_000, "Block_1": 1_000}
