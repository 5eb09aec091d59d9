"""What is compared with what."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.analyze.matching import Capture, Matched, captures, in_words, match
from tracekit.analyze.study import Study
from tracekit.analyze.trace import Trace
from tracekit.errors import UsageError
from tracekit.points import Identity, Point

AXES: dict[str, tuple[Any, Any]] = {
    "model": ("bert", "bert2"),
    "mode": ("inference", "training"),
    "batch": (1, 8),
    "length": (128.0, 512.0),
    "attention": ("sdpa", "eager"),
    "dtype": ("float32", "bfloat16"),
    "device": ("cpu", "cuda"),
    "preset": ("base", "tiny"),
    "overrides": ({}, {"hidden_size": 64}),
    "optimizer": ("sgd", "adamw"),
    "checkpointing": (False, True),
    "compile": ("none", "default"),
    "pretrained": (False, True),
}
ENVIRONMENT: dict[str, tuple[Any, Any]] = {
    "machine": ("a", "b"),
    "threads": (1, 2),
    "isolation": ("process", "none"),
    "architecture": ("12345678", "87654321"),
    "annotate": ("components", "modules"),
    "trust_remote_code": (False, True),
}


def point(status: str = "ok", **identity: Any) -> Point:
    return Point(identity=Identity(**{"model": "bert", "length": 128.0, **identity}), status=status)


def capture(status: str = "ok", **identity: Any) -> Capture:
    made = point(status, **identity)
    return Capture(Trace("a.json", made) if status == "ok" else None, made)


def foreign(name: str) -> Capture:
    return Capture(Trace(name), None)


def sizes(found: Matched) -> list[tuple[str, int, int]]:
    return [(cell.label, len(cell.base), len(cell.new)) for cell in found.cells]


def test_the_same_settings_match_without_a_word() -> None:
    ours = [capture(length=n) for n in (128.0, 256.0)]
    found = match(ours, [capture(length=n) for n in (256.0, 128.0)])
    assert sizes(found) == [("bert", 1, 1), ("bert", 1, 1)]
    assert [cell.identity.length for cell in found.cells if cell.identity] == [128, 256]
    assert (found.base_only, found.new_only, found.announced) == ([], [], [])


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_of_one_value_a_side_is_matched_and_announced(axis: str) -> None:
    ours, theirs = AXES[axis]
    found = match([capture(**{axis: ours})], [capture(**{axis: theirs})])
    assert [(len(cell.base), len(cell.new)) for cell in found.cells] == [(1, 1)]
    assert [told[0] for told in found.announced] == [axis]
    assert found.announced[0][1] != found.announced[0][2]
    assert all(found.announced[0])


@pytest.mark.parametrize("axis", AXES)
def test_an_axis_of_several_values_is_a_key(axis: str) -> None:
    ours, theirs = AXES[axis]
    found = match([capture(**{axis: ours}), capture(**{axis: theirs})], [capture(**{axis: theirs})])
    assert [(len(cell.base), len(cell.new)) for cell in found.cells] == [(1, 1)]
    assert found.cells[0].base[0].point == point(**{axis: theirs})
    assert [one.point for one in found.base_only] == [point(**{axis: ours})]
    assert found.announced == []


@pytest.mark.parametrize("axis", ENVIRONMENT)
def test_the_environment_never_decides(axis: str) -> None:
    ours, theirs = ENVIRONMENT[axis]
    found = match([capture(**{axis: ours}), capture(**{axis: theirs})], [capture(**{axis: theirs})])
    assert sizes(found) == [("bert", 2, 1)]
    assert found.announced == []


def test_curves_of_other_environments_are_called_alike() -> None:
    ours = [capture(length=128.0, threads=1), capture(length=256.0, threads=2, trust_remote_code=True)]
    assert {cell.label for cell in match(ours, ours).cells} == {"bert"}


def test_settings_belong_to_a_curve_and_not_to_a_length() -> None:
    """At 256 either side has one attention, and these differ; the curve as a whole has a counterpart at 128."""
    base = [capture(attention=a, length=n) for a, n in (("sdpa", 128.0), ("eager", 128.0), ("sdpa", 256.0))]
    new = [capture(attention="eager", length=n) for n in (128.0, 256.0)]
    found = match(base, new)
    assert [(c.identity.attention, c.identity.length) for c in found.cells if c.identity] == [("eager", 128)]
    assert found.announced == []
    assert [one.point.length for one in found.new_only if one.point] == [256]


def test_each_model_may_have_its_own_counterpart() -> None:
    base = [capture(model="bert", attention="sdpa"), capture(model="longformer", attention="eager")]
    new = [capture(model="bert", attention="eager"), capture(model="longformer", attention="eager")]
    found = match(base, new)
    assert [(len(cell.base), len(cell.new)) for cell in found.cells] == [(1, 1), (1, 1)]
    assert found.announced == [("attention", "sdpa", "eager")]


def test_captures_of_both_sides_may_be_any_number() -> None:
    found = match([capture() for _ in range(3)], [capture() for _ in range(5)])
    assert sizes(found) == [("bert", 3, 5)]


def test_what_failed_is_matched_by_what_it_was_to_be() -> None:
    study = Study("new", [Trace("a.json", point(length=128.0))], [point("oom", length=256.0)])
    assert [one.ok for one in captures(study)] == [True, False]
    found = match([capture(length=128.0), capture(length=256.0)], captures(study))
    assert [[one.ok for one in cell.new] for cell in found.cells] == [[True], [False]]


def test_files_of_which_nobody_says_anything_are_matched_by_name() -> None:
    base = [foreign("old/a.json"), foreign("old/b.json"), foreign("again/a.json")]
    found = match(base, [foreign("new/a.json"), foreign("new/c.json")])
    assert sizes(found) == [("a.json", 2, 1)]
    assert [in_words(one) for one in (*found.base_only, *found.new_only)] == ["b.json", "c.json"]
    assert match([foreign("a.json")], [foreign("b.json")]).announced == [("name", "a.json", "b.json")]
    assert match([foreign("old/a.json")], [foreign("new/a.json")]).announced == []


def test_a_file_of_which_nobody_says_anything_is_announced_by_its_name_alone() -> None:
    assert match([capture()], [foreign("b.json")]).announced == [("name", "a.json", "b.json")]


def test_a_name_that_is_no_text_is_shown_as_one() -> None:
    """File names are bytes; tables hold UTF-8."""
    (cell,) = match([foreign("\udcff.json")], [foreign("\udcff.json")]).cells
    assert cell.label == "\\udcff.json"


@pytest.mark.parametrize(
    ("base", "new", "words"),
    [
        ([capture(), capture(model="x")], [capture(model="y"), capture(model="z")], "model is bert and x in BASE"),
        (
            [capture(length=float(n)) for n in (1, 2, 3, 4, 5000)],
            [capture(length=512.0)],
            "length is 1 tokens, 2 tokens, 3 tokens and 2 more in BASE, and 512 tokens in NEW; points are matched on",
        ),
        ([foreign("a.json"), foreign("b.json")], [foreign("c.json")], "no file of NEW is called as one of BASE is"),
        ([capture()], [], "NEW holds nothing to compare"),
        ([], [capture()], "BASE holds nothing to compare"),
    ],
)
def test_nothing_in_common_is_an_error_that_says_what_differs(
    base: list[Capture], new: list[Capture], words: str
) -> None:
    with pytest.raises(UsageError) as raised:
        match(base, new)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_an_error_shows_no_hostile_name_as_it_is() -> None:
    with pytest.raises(UsageError) as raised:
        match([capture(model="\x1b[2J"), capture(model="b")], [capture(model="\x1b[31m")])
    assert "\x1b" not in str(raised.value)


def test_lengths_are_shown_as_people_write_them() -> None:
    (told,) = match([capture(length=0.5, length_unit="seconds")], [capture(length=131072.0)]).announced
    assert told == ("length", "0.5 seconds", "131,072 tokens")
    assert "131,072 tokens" in in_words(capture(length=131072.0))


POINTS = st.lists(
    st.builds(
        capture,
        st.sampled_from(["ok", "ok", "oom"]),
        model=st.sampled_from("ab"),
        attention=st.sampled_from(["sdpa", "eager"]),
        length=st.sampled_from([1.0, 2.0]),
        batch=st.sampled_from([1, 2]),
        machine=st.sampled_from(["", "m"]),
    )
    | st.builds(foreign, st.sampled_from(["x/a.json", "y/a.json", "b.json"])),
    min_size=1,
    max_size=7,
)


def ids(side: Any) -> list[int]:
    return sorted(id(one) for one in side)


@given(POINTS, POINTS)
def test_every_capture_is_in_one_place_and_sides_can_be_swapped(base: list[Capture], new: list[Capture]) -> None:
    try:
        found = match(base, new)
    except UsageError:
        with pytest.raises(UsageError):
            match(new, base)
        return
    assert ids([*found.base_only, *(one for cell in found.cells for one in cell.base)]) == ids(base)
    assert ids([*found.new_only, *(one for cell in found.cells for one in cell.new)]) == ids(new)
    assert all(cell.base and cell.new for cell in found.cells)
    back = match(new, base)
    assert {(*ids(c.base), 0, *ids(c.new)) for c in found.cells} == {(*ids(c.new), 0, *ids(c.base)) for c in back.cells}
    assert {(axis, theirs, ours) for axis, ours, theirs in found.announced} == set(back.announced)
    where = [(c.label, c.identity.length if c.identity else None) for c in found.cells]
    assert len(set(where)) == len(where)  # a table tells them apart


def test_a_study_of_no_file_has_no_captures() -> None:
    assert captures(Study("empty", [])) == []
