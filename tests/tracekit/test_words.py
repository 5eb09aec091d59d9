"""The shared words: units, strings made safe, writes made atomic, components."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import components, units
from tracekit.components import Range, parse_range
from tracekit.errors import UsageError
from tracekit.safety import atomic_write, is_private, refuse_outside, safe_filename, sanitize


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (0, "0 ns"),
        (999, "999 ns"),
        (1000, "1.00 us"),
        (1_234_567, "1.23 ms"),
        (12_345_678, "12.3 ms"),
        (9.99e12, "9,990 s"),
    ],
)
def test_durations(ns: float, text: str) -> None:
    assert units.duration(ns) == text


def test_other_units() -> None:
    assert units.byte_size(2 << 20) == "2.00 MiB"
    assert units.byte_size(-1536) == "-1.50 KiB"
    assert units.length_text(1024, "tokens") == "1,024 tokens"
    assert units.length_text(2.5, "seconds") == "2.5 seconds"
    assert units.length_text(None) == "-"
    assert units.percent(0.1234) == "12.3%"
    assert units.percent(None) == "-"


def test_sums_of_durations() -> None:
    assert units.long_duration(7.2e12) == "2.00 h"
    assert units.long_duration(90e9) == "1.50 min"
    assert units.long_duration(2 * 86_400e9) == "2.00 d"
    assert units.long_duration(59e9) == units.duration(59e9) == "59.0 s"


def test_intervals_name_their_unit_once_if_it_is_one() -> None:
    assert units.with_interval(units.long_duration, 7.2e12, 3.6e12, 9e12) == "2.00 h [1.00, 2.50]"
    assert units.with_interval(units.long_duration, 7.2e12, 60e9, 9e12) == "2.00 h [1.00 min, 2.50 h]"
    assert units.with_interval(units.byte_size, 1024, 1024, 1025) == "1.00 KiB"
    assert units.with_interval(units.byte_size, 1024, None, 2048) == "1.00 KiB"


HOSTILE = [
    "\x1b[31mred",
    "a\nb",
    "\u202egnp.exe",
    "\x9b2J",
    "\ud800",
    "\u200bzero",
    "tab\there",
    "\x00",
    "\x7f",
    "\ufeff",
]


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_sanitize_shows_what_cannot_be_seen(name: str) -> None:
    shown = sanitize(name)
    assert shown.isprintable()
    shown.encode()
    assert "\\" in shown


@given(st.text(st.characters(), max_size=400))
def test_sanitized_text_is_one_printable_line(text: str) -> None:
    shown = sanitize(text)
    assert len(shown.splitlines()) <= 1
    assert not re.search("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]", shown)


def test_long_names_stay_distinct() -> None:
    a, b = sanitize("x" * 500 + "a"), sanitize("x" * 500 + "b")
    assert a != b
    assert len(a) <= 200


@given(st.text(max_size=200))
def test_file_names_are_safe_and_injective(text: str) -> None:
    name = safe_filename(text)
    assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,79}", name), name
    if text != name:
        assert safe_filename(text + "x") != name


def test_reserved_names() -> None:
    assert not re.match(r"(?i)(con|nul)(\.|$)", safe_filename("CON"))
    assert safe_filename("..") not in ("..", ".")


def test_atomic_write_leaves_all_or_nothing(tmp_path: Path) -> None:
    target = tmp_path / "sub" / "f.txt"
    with atomic_write(target) as file:
        file.write(b"one")
    assert target.read_bytes() == b"one"
    with pytest.raises(RuntimeError), atomic_write(target) as file:
        file.write(b"two")
        raise RuntimeError
    assert target.read_bytes() == b"one"
    assert [p.name for p in target.parent.iterdir()] == ["f.txt"]


def test_devices_and_folders_are_never_replaced(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for target in (fifo, tmp_path):
        with pytest.raises(UsageError), atomic_write(target):
            pass


def test_links_are_neither_followed_nor_replaced(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    (tmp_path / "link").symlink_to("mine.txt")
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("link", "dangling"):
        with pytest.raises(UsageError, match="not a regular file"), atomic_write(tmp_path / name) as file:
            file.write(b"other")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "link", "mine.txt"]
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_links_in_an_output_folder_must_not_lead_out_of_it(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    (out / "inner").mkdir(parents=True)
    elsewhere.mkdir()
    (out / "away").symlink_to(elsewhere)
    (out / "near").symlink_to("inner")
    (tmp_path / "alias").symlink_to(out)
    refuse_outside(out / "new" / "deep" / "x", out)
    refuse_outside(out / "near" / "x", out)
    refuse_outside(tmp_path / "alias" / "inner" / "x", tmp_path / "alias")  # the folder itself is the user's choice
    for path in (out / "away" / "x", out / "away" / "new" / "x", out / ".." / "x"):
        with pytest.raises(UsageError, match="a link leads out of"):
            refuse_outside(path, out)


@pytest.mark.parametrize(("mode", "private"), [(0o700, True), (0o755, True), (0o775, False), (0o757, False)])
def test_private_is_what_nobody_else_can_write(tmp_path: Path, mode: int, private: bool) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    folder.chmod(mode)
    assert is_private(folder) == private
    (tmp_path / "link").symlink_to(folder)
    (tmp_path / "file").write_text("")
    assert not any(map(is_private, (tmp_path / "link", tmp_path / "file", tmp_path / "none")))


@pytest.mark.parametrize(
    "one",
    [Range("attention", "core", "fn:sdpa"), Range("layer", "", "encoder.layer.3"), Range("ffn", "", "odd#path%23")],
)
def test_ranges_survive_their_name(one: Range) -> None:
    if "%23" not in one.path:
        assert parse_range(one.name) == one
    assert parse_range(one.name) is not None


def test_other_names_are_no_ranges() -> None:
    for name in ("aten::mm", "tracekit::", "tracekit::attention", "Tracekit::ffn#x", "tracekit::FFN#x"):
        assert parse_range(name) is None
    assert parse_range("tracekit::mask#fn:make") == Range("attention", "mask", "fn:make")


@pytest.mark.parametrize(
    ("class_name", "name", "in_layer", "expected"),
    [
        ("BertEmbeddings", "embeddings", False, "embedding"),
        ("BertSelfAttention", "self", False, "attention"),
        ("BertIntermediate", "intermediate", True, "ffn"),
        ("BertOutput", "output", True, "ffn"),
        ("BertOutput", "output", False, None),
        ("LlamaRotaryEmbedding", "rotary_emb", False, "positional"),
        ("Linear", "fc1", False, "ffn"),
        ("LayerNorm", "LayerNorm", False, "norm"),
        ("LlamaRMSNorm", "norm", False, "norm"),
        ("BertPooler", "pooler", False, "head"),
        ("BertLayer", "0", False, None),
        ("Dropout", "dropout", False, None),
        ("Linear", "ffn_output", True, "ffn"),  # ALBERT's halves of a feed-forward, and what stands between them
        ("NewGELUActivation", "activation", True, "ffn"),
        ("ConvDropoutLayerNorm", "post_attention", True, "attention"),  # SqueezeBERT's linear layers
        ("ConvDropoutLayerNorm", "output", True, "ffn"),
        ("Linear", "head", False, "head"),
    ],
)
def test_rules(class_name: str, name: str, in_layer: bool, expected: str | None) -> None:
    assert components.judge(class_name, name, in_layer=in_layer) == expected


def test_layers() -> None:
    assert components.is_layer("BertLayer")
    assert components.is_layer("GPT2Block")
    assert components.is_layer("SqueezeBertModule")
    assert not components.is_layer("ConvNextLayer")
    assert not components.is_layer("BertAttention")


def test_every_component_has_a_colour_of_its_own() -> None:
    assert len(set(components.COLOURS.values())) == len(components.COMPONENTS)
    assert {part.split(".")[0] for part in components.PART_COLOURS} <= set(components.COMPONENTS)
