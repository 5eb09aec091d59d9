"""Points: identity, file names, and the header that must be found in any file's first bytes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit import points
from tracekit.errors import TraceError
from tracekit.points import Identity, PeakMemory, Point, Sample


def point(**overrides: Any) -> Point:
    identity = Identity(model="bert", length=512, overrides={"num_hidden_layers": 2}, machine="m")
    return Point(
        identity=identity, samples=[Sample(wall_ns=5, cpu_ns=4)], memory=PeakMemory(bytes=7, method="x"), **overrides
    )


def write(path: Path, one: Point, compress: bool = True) -> Path:
    data = points.header(one) + b'"schemaVersion": 1, "traceEvents": []}'
    path.write_bytes(gzip.compress(data) if compress else data)
    return path


@pytest.mark.parametrize("compress", [True, False])
def test_a_point_is_read_from_the_head_of_its_file(tmp_path: Path, compress: bool) -> None:
    one = point(reason="x" * 300_000)  # longer than the first read
    path = write(tmp_path / "p.json.gz", one, compress)
    assert points.read_point(path) == one
    with points.open_text(path) as file:
        assert next(iter(json.load(file))) == "tracekit"


def test_a_redumped_file_still_says_what_it_is(tmp_path: Path) -> None:
    document = {"tracekit": msgspec.to_builtins(point()), "traceEvents": []}
    path = tmp_path / "p.json"
    path.write_text(json.dumps(document, indent=3))
    assert points.read_point(path) == point()


@pytest.mark.parametrize("data", [b"", b"{}", b'{"traceEvents": []}', b"[1]", gzip.compress(b"{}", mtime=0)[:15]])
def test_other_files_are_not_points(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other.json"
    path.write_bytes(data)
    assert points.read_point(path) is None


@pytest.mark.parametrize(
    "data",
    [
        b'{"tracekit": {"identity": 5}, "traceEvents": []}',
        b'{"tracekit": {"identity": ',
        b'{"tracekit": {"identity": {"model": "m", "length": 1}, "samples": [{"wall_ns": 1%s, "cpu_ns": 1}]}}'
        % (b"0" * 400),
        b'{"tracekit": {"identity": {"model": "m", "length": 1, "batch": 9223372036854775808}}}',
    ],
)
def test_a_damaged_header_is_an_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "p.json"
    path.write_bytes(data)
    with pytest.raises(TraceError):
        points.read_point(path)


def test_newer_and_older_schemas_are_read() -> None:
    raw = msgspec.to_builtins(point())
    raw |= {"schema": 99, "unheard_of": {"x": 1}}
    assert points.decode(json.dumps(raw).encode()).schema == 99
    assert points.decode(b'{"identity": {"model": "bert", "length": 5}}').identity.model == "bert"


def test_the_name_holds_the_whole_identity() -> None:
    base = point().identity
    path = base.path(Path("traces"))
    assert path.parent == Path("traces/bert/inference-default-float32-cpu")
    assert path.name == f"b1-n512-{base.digest()}.pt.trace.json.gz"
    for field, value in {
        "overrides": {},
        "machine": "n",
        "threads": 3,
        "compile": "model",
        "checkpointing": True,
    }.items():
        other = msgspec.structs.replace(base, **{field: value})
        assert other.path(Path("traces")) != path, field
    assert msgspec.structs.replace(base, length=2.5).path(Path()).name.startswith("b1-n2.5-")


@given(st.text(max_size=50))
def test_no_model_name_leaves_the_folder(name: str) -> None:
    path = Identity(model=name, length=1, device=name).path(Path("/out"))
    assert path.resolve().is_relative_to("/out")
    assert len(path.relative_to("/out").parts) == 3


def test_digest_does_not_depend_on_key_order() -> None:
    a = Identity(model="m", length=1, overrides={"a": 1, "b": 2})
    b = Identity(model="m", length=1, overrides={"b": 2, "a": 1})
    assert a.digest() == b.digest()


def test_find_files_leaves_out_hidden_and_temporary(tmp_path: Path) -> None:
    for name in ("a/x.pt.trace.json.gz", "b.json", ".partial/y.json", ".b.json.123.tmp", "c.json.tmp", "d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("{}")
    assert [p.relative_to(tmp_path).as_posix() for p in points.find_files(tmp_path)] == [
        "a/x.pt.trace.json.gz",
        "b.json",
    ]
