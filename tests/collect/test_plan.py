"""Plans: what is asked for, what cannot be, and what a budget leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tracekit.collect import estimate, models
from tracekit.collect.models.entry import LADDERS
from tracekit.collect.plan import Planned, Request, make, overrides_for
from tracekit.errors import UsageError


def curves(points: tuple[Planned, ...]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((p.identity.model, p.identity.attention) for p in points))


def test_the_bare_model_brings_its_baseline_and_the_ladder(tmp_path: Path) -> None:
    plan = make(Request(["longformer"]), tmp_path)
    assert curves(plan.points) == [("bert", "sdpa"), ("longformer", "eager")]
    assert tuple(dict.fromkeys(p.identity.length for p in plan.points)) == LADDERS["tokens"]
    assert plan.left_out == ()
    assert [len(group) for group in plan.groups()] == [2] * len(LADDERS["tokens"])


def test_without_baseline(tmp_path: Path) -> None:
    plan = make(Request(["longformer"], lengths=[64], baseline=False), tmp_path)
    assert curves(plan.points) == [("longformer", "eager")]


def test_attention_is_asked_of_those_that_have_it(tmp_path: Path) -> None:
    plan = make(Request(["bert", "longformer"], lengths=[64], attention=["sdpa", "eager"]), tmp_path)
    assert curves(plan.points) == [("bert", "sdpa"), ("bert", "eager"), ("longformer", "eager")]


def test_a_model_without_what_others_are_asked_for_is_measured_as_it_is(tmp_path: Path) -> None:
    plan = make(Request(["hubert", "l-hubert"], lengths=[1], attention=["sdpa"]), tmp_path)
    assert curves(plan.points) == [("hubert", "sdpa"), ("l-hubert", "local:50")]


def test_captures_are_points_of_their_own_far_apart(tmp_path: Path) -> None:
    plan = make(Request(["bert"], [64, 128], captures=3), tmp_path)
    assert len(plan.points) == len({p.path for p in plan.points}) == 6
    assert {p.path.relative_to(tmp_path).parts[0] for p in plan.points} == {"capture-1", "capture-2", "capture-3"}
    order = [(group[0].capture, group[0].identity.length) for group in plan.groups()]
    assert order == [(1, 64), (1, 128), (2, 64), (2, 128), (3, 64), (3, 128)]
    assert len({p.identity.digest() for p in plan.points if p.identity.length == 64}) == 1


def test_a_budget_counts_captures_of_a_length_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "flops_per_second", lambda _threads: 5e10)  # else measured anew for every plan
    whole = make(Request(["bert"], [64, 128], captures=2), tmp_path)
    cut = make(Request(["bert"], [64, 128], captures=2), tmp_path, budget_s=whole.seconds * 0.9)
    assert [(p.identity.length, p.capture) for p in cut.points] == [(64, 1), (64, 2)]
    assert [(p.identity.length, p.capture) for p in cut.left_out] == [(128, 1), (128, 2)]


def test_variants_of_one_model(tmp_path: Path) -> None:
    overrides = {"num_hidden_layers": 2, "wide.hidden_size": 128}
    plan = make(Request(["bert", "wide=bert"], lengths=[64], overrides=overrides), tmp_path)
    by_label = {p.identity.model: p.identity for p in plan.points}
    assert by_label["bert"].overrides == {"num_hidden_layers": 2}
    assert by_label["wide"].overrides == {"num_hidden_layers": 2, "hidden_size": 128}
    assert by_label["wide"].architecture == "bert"
    assert overrides_for({"a": 1, "x.a": 2}, "x") == {"a": 2}


def test_a_budget_cuts_whole_lengths_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "flops_per_second", lambda _threads: 5e10)  # else measured anew for every plan
    full = make(Request(["longformer"]), tmp_path)
    cut = make(Request(["longformer"]), tmp_path, budget_s=full.seconds / 4)
    assert 0 < len(cut.points) < len(full.points)
    assert len(cut.points) + len(cut.left_out) == len(full.points)
    assert max(p.identity.length for p in cut.points) < min(p.identity.length for p in cut.left_out)
    assert len(make(Request(["longformer"]), tmp_path, budget_s=0.001).points) == 2  # the first length is always made


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"models": ["longformr"]}, "did you mean longformer"),
        ({"models": ["zzz"]}, "tracekit models"),
        ({"models": []}, "name a model"),
        ({"models": ["longformer"], "attention": ["flash"]}, "longformer has no 'flash' attention; it has: eager"),
        ({"models": ["bert"], "dtype": "int8"}, "float32"),
        ({"models": ["bert"], "preset": "huge"}, "base, tiny"),
        ({"models": ["bert"], "device": "tpu"}, "cpu, cuda"),
        ({"models": ["bert"], "batch": 0}, "at least 1"),
        ({"models": ["bert"], "threads": 0}, "at least 1"),
        ({"models": ["bert"], "overrides": {"gpt.x": 1}}, "no model of this sweep is called 'gpt'"),
        ({"models": ["bert"], "overrides": {"num_hidden_layers": "two"}}, "whole number"),
        ({"models": ["bert"], "overrides": {"hidden_size": 0}}, "whole number"),
        ({"models": ["x=bert", "x=longformer"]}, "stands for two models"),
        ({"models": ["nystromformer"], "lengths": [100]}, "the nearest it can: 128"),
        ({"models": ["swin"], "lengths": [112]}, "a window of 7 x 7 patches; the nearest it can: 193"),
        ({"models": ["bert"], "lengths": [2.5]}, "tokens are whole"),
        ({"models": ["bert"], "lengths": {"seconds": [2]}}, "no model of this sweep takes lengths in seconds"),
        ({"models": ["bert"], "lengths": []}, "name a length"),
        ({"models": ["bert"], "annotate": "all"}, "components, layers, none"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, options: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError) as error:
        make(Request(**options), tmp_path)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", models.names())
def test_every_entry_is_complete(name: str) -> None:
    entry = models.get(name)
    assert entry.source
    assert entry.attention
    assert entry.baseline is None or models.get(entry.baseline).baseline is None
    lengths, least, most = {
        "tokens": ((2048, 4096), 1.9, 4.1),
        "seconds": ((16, 32), 1.9, 4.1),
        "pixels": ((448, 896), 3.8, 17),  # tokens grow with the square
    }[entry.length_unit]
    small, large = (entry.flops("base", length, {}) for length in lengths)
    assert small is not None
    assert large is not None
    assert least < large / small < most


def test_a_link_in_the_folder_does_not_lead_a_point_out_of_it(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    out.mkdir()
    elsewhere.mkdir()
    (tmp_path / "link").symlink_to(out)
    assert make(Request(["bert"], lengths=[64]), tmp_path / "link").points
    (out / "bert").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="a link leads out of"):
        make(Request(["bert"], lengths=[64]), out)
