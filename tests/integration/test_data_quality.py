"""A recovered trace never looks like a clean one: every way to look at it says what was lost."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.corpus import every
from tests.pages import Parsed

Main = Callable[..., tuple[int, str, str]]

RECOVERED = (
    *("trunc_mid_number", "unescaped_quote", "missing_commas", "two_documents"),
    *("gpu_dur_overflow", "partial_overlap", "ts_string"),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("recovered")
    for case in every.cases("json", "schema", "gpu", "limits"):
        if case.name in RECOVERED:
            case.write(made)
    assert sorted(path.stem for path in made.iterdir()) == sorted(RECOVERED)
    return made


def words(text: str) -> str:
    return " ".join(text.split())


def sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


@pytest.mark.parametrize("name", RECOVERED)
def test_terminal_page_and_json_say_the_same(
    name: str, here: Main, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    path, page = folder / f"{name}.json", tmp_path / "page.html"
    document = json.loads(here("report", path, "--json")[1])
    findings: list[dict[str, Any]] = document["findings"]
    assert findings == json.loads(here("check", path, "--json")[1])["findings"]
    assert findings
    terminals = [words(here("report", path, "--html", page)[1]), words(here("check", path)[1])]
    shown = words(Parsed(page.read_text(encoding="utf-8")).text)
    for f in findings:
        where, advice = f["where"] and f" ({f['where']})", f["advice"] and f" {sentence(f['advice'])}"
        for terminal in terminals:
            assert f"{f['severity']} {f['code']} x{f['count']:,}: {f['cost']}{where}" in terminal
            assert advice in terminal
        count = f" \u00d7{f['count']:,}" if f["count"] > 1 else ""
        assert f"{f['severity']}: {f['code']}{count} {sentence(f['cost'])}{where}.{advice}" in shown
    warned = "usable, with the warnings above" if document["warnings"] else "sound"
    assert f"This trace is {warned}." in terminals[1]
    assert ('class="notices"' in page.read_text(encoding="utf-8")) == bool(document["warnings"])


def test_commands_without_that_block_say_it_in_a_line(here: Main, folder: Path, tmp_path: Path) -> None:
    path = folder / "trunc_mid_number.json"
    line = "warning: data quality: truncated x1 (tracekit report says what that costs)\n"
    ways: tuple[tuple[object, ...], ...] = (
        ("export", path, "--table", "operators", "--out", "-"),
        ("export", path, "--out", tmp_path / "tables"),
        ("query", path, "select * from operators"),
        ("query", path, "--tables"),
        ("open", path, "--save", tmp_path / "lanes.json"),
    )
    for command, *rest in ways:
        code, _, err = here(command, *rest)
        assert (code, err.splitlines(keepends=True)[0]) == (0, line)
    for command, *rest in (ways[0], ways[2], ways[4]):
        assert here(command, *rest, "--quiet")[2] == ""
    document = json.loads(here("query", path, "select * from operators", "--json")[1])
    assert document["warnings"] == {"truncated": 1}
    for command, *rest in (ways[2], ways[3]):  # a note is no warning
        assert here(command, folder / "ts_string.json", *rest[1:])[2] == ""


def test_recommendations_too(here: Main, tmp_path: Path, store_point: Callable[..., Path]) -> None:
    for length in (128, 512):
        path = store_point(tmp_path, "bert", length, 5.0)
        store_point(tmp_path, "longformer", length, 4.0, baseline="bert")
    path.write_bytes(path.read_bytes()[:-9])
    code, out, err = here("recommend", tmp_path, "--length", 200)
    assert code == 0
    assert "longformer" in out
    assert err.startswith("warning: data quality: ")
    assert "truncated x1" in err
