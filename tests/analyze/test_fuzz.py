"""The differential fuzzer, for a while; `python -m tests.fuzz` goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import bases, fuzz, mutate, strict
from tracekit.analyze.facts import facts

SEED = 7


@pytest.mark.parametrize("part", range(4))
def test_mutants_are_equal_recovered_or_rejected(part: int, tmp_path: Path) -> None:
    kinds = []
    for number in range(part, 120, 4):
        mutant = mutate.mutant(SEED, number)
        outcome = fuzz.judged(mutant.data, tmp_path / f"m{number}.json", fuzz.BLOCKS[number % len(fuzz.BLOCKS)])
        assert outcome.kind != "failed", f"{SEED}/{number} {mutant.mutations}: {outcome.what}"
        kinds.append(outcome.kind)
    assert kinds.count("equal") > 8
    assert kinds.count("recovered") > 3


def test_mutants_through_the_command_line(tmp_path: Path) -> None:
    for number in range(3):
        path = tmp_path / f"m{number}.json"
        path.write_bytes(mutate.mutant(SEED, number).data)
        assert fuzz.through_command_line(path) is None


def test_a_mutant_is_the_same_every_time() -> None:
    assert mutate.mutant(3, 5) == mutate.mutant(3, 5)
    assert mutate.mutant(3, 5).data != mutate.mutant(4, 5).data


@pytest.mark.parametrize("style", bases.STYLES)
def test_what_nobody_changed_is_equal(style: str, tmp_path: Path) -> None:
    text = bases.written(bases.own_bases()["synthetic"].copy(style))
    assert fuzz.judged(text.encode(), tmp_path / "t.json") == fuzz.Outcome("equal")


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1e-3", 1), ("1.0005", 1001), ("-0", 0), ("1e400000000", None), ("9" * 5000, None), ("x", None)],
)
def test_the_strict_reader_takes_times_by_their_digits(text: str, expected: int | None) -> None:
    event = {"ph": "X", "cat": "cpu_op", "name": "a", "pid": 1, "tid": 1, "ts": 0, "dur": 1}
    reading = strict.read(json.dumps([event]).replace('"ts": 0', f'"ts": "{text}"').encode())
    assert reading is not None
    assert [event["ts"] for event in reading.events] == ([] if expected is None else [expected])


def test_the_fuzzer_sees_a_wrong_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fuzz, "facts", lambda trace: {**facts(trace), "n_gpu": 1})
    text = bases.written(bases.own_bases()["short"].copy("compact"))
    assert fuzz.judged(text.encode(), tmp_path / "t.json") == fuzz.Outcome("failed", "n_gpu is 1, not 0")
