"""What SECURITY.md promises of the source, and of runs over a trace that names files, addresses and modules."""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import hostile
from tracekit.analyze.load import load_study

PACKAGES = ("tracekit", "analyze", "reports", "collect")
# What can run code, start a process, reach the network or take an object out of bytes: modules, and functions by how
# they are called.
MODULES = {
    *("pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "copyreg", "yaml", "code", "codeop", "runpy"),
    *("subprocess", "multiprocessing", "pty", "ctypes", "importlib", "pkgutil", "webbrowser"),
    *("socket", "socketserver", "http", "urllib", "urllib3", "requests", "httpx", "aiohttp", "ftplib", "smtplib"),
    *("xml", "zipfile", "tarfile", "fsspec", "hta", "torch", "transformers", "safetensors", "tokenizers"),
}
CALLS = re.compile(
    r"(?:builtins\.)?(?:eval|exec|compile|__import__|input|breakpoint)"
    r"|os\.(?:system|popen|exec\w+|spawn\w+|posix_spawn\w*|fork\w*|startfile)"
    r"|(?:np|numpy)\.(?:load|loads|fromfile|memmap|genfromtxt)|(?:pl|polars)\.(?:scan_\w+|read_database\w*)"
    r"|.*\.(?:deserialize|from_url|urlopen)"
)
WRITES = re.compile(
    r".*\.(?:write_text|write_bytes|rename|symlink_to|hardlink_to|link_to|touch|mkdir|unlink|rmdir|sink_\w+|mkstemp|mkdtemp)"
    r"|os\.(?:open|replace|rename|remove|unlink|makedirs|symlink|link|truncate|chmod|mkfifo)|shutil\.\w+|tempfile\.\w+"
)
READS = re.compile(r"(?:.*\.)?(?:open|fdopen|read_text|read_bytes|joinpath)|(?:pl|polars)\.read_\w+")
# Who may, and why.
ALLOWED = {
    ("tracekit/__init__.py", "importlib"): "public names, from a fixed list",
    ("tracekit/cli.py", "importlib"): "commands, from a fixed list",
    ("tracekit/cli.py", "os.open"): "/dev/null, when the reader of a pipe has gone",
    ("tracekit/commands/open.py", "webbrowser"): "our own page on loopback",
    ("tracekit/commands/open.py", "webbrowser.open"): "our own page on loopback",
    ("tracekit/commands/open.py", "tempfile.TemporaryDirectory"): "the file that is served",
    ("tracekit/safety.py", "*"): "the one place that writes results",
    ("tracekit/points.py", "path.open"): "files that the user names, or below a folder that the user names",
    ("tracekit/points.py", "gzip.open"): "the same",
    ("tracekit/rules.py", "path.read_text"): "--components FILE",
    ("analyze/foreign.py", "path.read_text"): "the points.toml in a folder that the user names",
    ("analyze/stream.py", "os.open"): "the one way to a trace: waits for no pipe",
    ("analyze/stream.py", "os.fdopen"): "the same",
    ("analyze/dataset_file.py", "self.path.open"): "--dataset FILE",
    ("analyze/cache.py", "*"): "writes the cache",
    ("analyze/kept.py", "*"): "writes the cache",
    ("analyze/dataset_file.py", "tokenizers"): "the tokenizer.json that the user names",
    ("analyze/dataset_file.py", "pl.scan_csv"): "the user's own file",
    ("analyze/dataset_file.py", "pl.scan_parquet"): "the user's own file",
    ("analyze/modules.py", "ranges.rename"): "of columns",
    ("reports/formats.py", "safe.rename"): "of columns",
    ("tracekit/process.py", "ctypes"): "mallopt, on ourselves",
    ("analyze/gpu.py", "hta"): "--hta",
    ("reports/page.py", "importlib"): "our own static files",
    ("reports/page.py", "resources.files('tracekit.reports.static').joinpath"): "by fixed names",
    ("reports/page.py", "resources.files('tracekit.reports.static').joinpath(name).read_text"): "by fixed names",
    ("reports/export.py", "marker.open"): "the schema.json of the output folder",
    ("reports/perfetto.py", "path.open"): "the trace that the user names: can it be read?",
    ("reports/perfetto.py", "owner.path.open"): "the one file that is served",
    ("reports/pictures.py", "importlib"): "whether the extra is installed",
    ("reports/perfetto.py", "http"): "the server on loopback",
    ("reports/perfetto.py", "urllib"): "parts of addresses; opens none",
    ("reports/perfetto.py", "shutil.copyfileobj"): "the one file that is served",
}
COLLECT_RUNS_MODELS = {
    *("torch", "transformers", "safetensors", "importlib", "multiprocessing", "ctypes", "socket"),
    *("shutil.copyfileobj", "shutil.rmtree", "tempfile.TemporaryDirectory", "tempfile.mkstemp", "os.open"),
}


def sources(root: Path) -> Iterator[tuple[str, ast.Module]]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(("tracekit/analyze/", "tracekit/reports/", "tracekit/collect/")):  # links
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def used(tree: ast.AST) -> Iterator[str]:
    """Names of MODULES, CALLS and WRITES in a source: of imports the top-level module, of calls how they are written."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (top for one in node.names if (top := one.name.partition(".")[0]) in MODULES)
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            yield from [top] if (top := node.module.partition(".")[0]) in MODULES else []
            yield from (f"from {node.module}" for _ in [0] if node.module in ("os", "shutil", "tempfile", "builtins"))
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if any(kind.fullmatch(called) for kind in (CALLS, WRITES, READS)):
                yield f"{called} to write" if _opens_to_write(node, called) else called
            yield from (
                "a shell"
                for one in node.keywords
                if one.arg == "shell" and not (isinstance(one.value, ast.Constant) and one.value.value is False)
            )


def _opens_to_write(node: ast.Call, called: str) -> bool:
    """Whether an `open` has a mode that is not known to be for reading."""
    if called.rpartition(".")[2] not in ("open", "fdopen") or called in ("webbrowser.open", "os.open"):
        return False
    place = 0 if isinstance(node.func, ast.Attribute) and called not in ("io.open", "os.fdopen", "gzip.open") else 1
    modes = [one.value for one in node.keywords if one.arg == "mode"] or node.args[place : place + 1]
    return any(not (isinstance(mode, ast.Constant) and mode.value in ("r", "rb", "rt")) for mode in modes)


def test_only_named_places_run_code_reach_out_or_touch_files(root: Path) -> None:
    found = {(name, what) for name, tree in sources(root) for what in used(tree)}
    strange = {key for key in found if key not in ALLOWED and (key[0], "*") not in ALLOWED}
    assert sorted(one for one in strange if not one[0].startswith("collect/")) == []
    assert {what for _, what in strange if not _touches_a_file(what)} <= COLLECT_RUNS_MODELS
    assert {key for key in ALLOWED if key[1] != "*"} <= found


def _touches_a_file(what: str) -> bool:
    """Of what collect does: its own files, and what the system says of itself."""
    return bool(READS.fullmatch(what) or WRITES.fullmatch(what))


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from urllib.request import urlopen",
        "eval(name)",
        "os.system(name)",
        "f(name, shell=True)",
        "from os import system",
        "path.open('w')",
        "open(name, mode)",
        "path.write_text('')",
        "__import__(name)",
        "pl.LazyFrame.deserialize(data)",
    ],
)
def test_the_search_finds_what_it_is_for(code: str) -> None:
    assert list(used(ast.parse(code)))
    assert not list(used(ast.parse("re.compile(name); model.eval(); text.replace('a', 'b'); f(name, shell=False)")))
    assert list(used(ast.parse("path.open('rb'); open(name, mode='a')"))) == ["path.open", "open to write"]


def test_no_link_in_the_checkout_leads_out_of_it(root: Path) -> None:
    for path in (root / "tracekit").iterdir():
        assert path.resolve().is_relative_to(root)


# -- runs

_HOOK = """
import json, os, sys
log = open(sys.argv[1], "w", buffering=1)
busy = False
def hook(event, args):
    global busy
    if busy or event not in WATCHED: return
    busy = True
    said = [os.fsdecode(a) if isinstance(a, (str, bytes, os.PathLike)) else repr(a) for a in args]
    log.write(json.dumps([event, said]) + "\\n")
    busy = False
WATCHED = {
    "open", "import", "pickle.find_class", "webbrowser.open", "urllib.Request",
    "socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname",
    "subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn", "os.posix_spawn",
    "os.rename", "os.remove", "os.mkdir", "os.link", "os.symlink", "os.truncate",
}
sys.addaudithook(hook)
from tracekit.cli import main
for words in json.loads(sys.argv[2]):
    log.write(json.dumps(["run", words]) + "\\n")
    code = main(words)
    log.write(json.dumps(["ended", [str(code)]]) + "\\n")
"""


@dataclass(frozen=True)
class Watched:
    """What runs over the study did: audit events in order; the place of it all; connections to the named address."""

    events: list[tuple[str, list[str]]]
    place: Path
    connections: list[object]

    def of(self, *names: str) -> list[list[str]]:
        return [args for name, args in self.events if name in names]


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Iterator[Watched]:
    """Every command over points whose every text is a path, an address or a module of a place that nobody may touch."""
    place = tmp_path_factory.mktemp("watched")
    (place / "forbidden").mkdir()
    bait = place / "forbidden" / "bait.json"
    bait.write_text('{"traceEvents": []}')
    (place / "forbidden" / "evil.py").write_text("raise SystemExit('imported')\n")
    connections: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        ended = threading.Event()

        def listen() -> None:
            while not ended.is_set():
                try:
                    connections.append(listener.accept())
                except TimeoutError:
                    continue

        thread = threading.Thread(target=listen)
        thread.start()
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/trace.json"
        names = [str(bait), bait.as_uri(), address, f"{place}/forbidden/evil.py:run", "../forbidden/bait.json"]
        hostile.write_study(place / "in", labels=[f"{bait} {address}"], names=names)
        events = _run(place, root)
        ended.set()
        thread.join()
    yield Watched(events, place, connections)


def _run(place: Path, root: Path) -> list[tuple[str, list[str]]]:
    traces, out = place / "in", place / "out"
    one = next(path for path in sorted(traces.rglob("*.json")) if path.parent != traces and "failed" not in path.name)
    foreign = next(traces.glob("<img*"))
    commands = [
        ["check", one],
        ["check", foreign, "--json"],
        ["report", traces, "--html", out / "report.html", "--top", "3"],
        ["report", foreign, "--json"],
        ["export", traces, "--out", out / "tables", "--format", "csv"],
        ["export", traces, "--out", out / "latency.parquet", "--table", "latency"],
        ["query", traces, "select * from latency"],
        ["open", "--save", out / "lanes.json.gz", one, foreign],
        ["open", "--no-browser", "--timeout", "0.01", one],
    ]
    words = json.dumps([[str(word) for word in command] for command in commands])
    done = subprocess.run(
        [sys.executable, "-c", _HOOK, str(place / "events"), words],
        cwd=root,
        env={"PATH": "/usr/bin:/bin", "HOME": str(place / "home"), "TRACEKIT_CACHE_DIR": str(place / "cache"),
             "TMPDIR": str(place / "out"), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    events = [json.loads(line) for line in (place / "events").read_text().splitlines()]
    codes = [args[0] for name, args in events if name == "ended"]
    assert codes == ["0"] * 8 + ["1"], done.stderr  # the last waits for nobody
    return [(name, args) for name, args in events]


def test_nothing_outside_is_opened(watched: Watched, root: Path) -> None:
    mine = [watched.place / name for name in ("in", "out", "cache")]
    code = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent.parent, root}
    code |= {Path(entry).resolve() for entry in sys.path if entry}
    system = {"/dev/null", "/dev/urandom", "/etc/localtime", "/proc", "/sys", "/usr/share/zoneinfo", "/etc/mime.types"}
    allowed = [*mine, *code, *map(Path, system)]
    opened = {(args[0], args[1], int(args[2])) for args in watched.of("open") if not args[0].isdigit()}
    assert len(opened) > 50
    outside = [one for one in opened if not any((root / one[0]).resolve().is_relative_to(place) for place in allowed)]
    assert outside == []
    assert any((root / one[0]).resolve().is_relative_to(watched.place / "in") for one in opened)


def test_nothing_outside_the_output_is_written(watched: Watched, root: Path) -> None:
    mine = [watched.place / name for name in ("out", "cache")]
    opened = [(args[0], int(args[2])) for args in watched.of("open") if not args[0].isdigit()]
    written = [path for path, flags in opened if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC)]
    changed = [path for args in watched.of("os.rename", "os.remove", "os.mkdir", "os.symlink", "os.link") for path in args
               if path.startswith(("/", "."))]  # fmt: skip
    assert written
    assert changed
    for path in (*written, *changed):
        assert path == "/dev/null" or any((root / path).resolve().is_relative_to(place) for place in mine), path
    assert sorted(path.name for path in watched.place.iterdir()) == ["cache", "events", "forbidden", "in", "out"]
    assert sorted(path.name for path in (watched.place / "forbidden").iterdir()) == ["bait.json", "evil.py"]


def test_no_process_starts_and_nobody_is_called(watched: Watched) -> None:
    assert (
        watched.of("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.spawn", "os.posix_spawn")
        == []
    )
    assert (
        watched.of("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "urllib.Request", "webbrowser.open")
        == []
    )
    assert watched.of("pickle.find_class") == []
    assert watched.connections == []
    (bound,) = watched.of("socket.bind")
    assert re.fullmatch(r"\('127\.0\.0\.1', 0\)", bound[1])


def test_no_module_of_a_model_is_imported(watched: Watched) -> None:
    imported = {args[0].partition(".")[0] for args in watched.of("import")}
    assert "polars" in imported
    assert not imported & {"torch", "transformers", "safetensors", "hta", "evil", "pandas"}


# -- files


def test_what_can_be_read_from_a_header_fits_the_tables(tmp_path: Path) -> None:
    """A number beyond all reason, or a text that is nested too deeply or no text, costs its own file."""
    head: dict[str, Any] = {
        "identity": {"model": "m", "length": 64, "batch": 1, "threads": 1},
        "samples": [{"wall_ns": 5, "cpu_ns": 5, "run_delay_ns": 0}] * 5,
        "throughput": [{"batch": 1, "samples_ns": [5, 5]}],
        "memory": {"bytes": 100, "method": "x"},
        "tokens": 64,
    }
    deep = "[" * 5000 + "]" * 5000
    sound = json.dumps(head)
    damaged = [
        sound.replace('"batch": 1', f'"batch": {10**23}'),
        sound.replace('"batch": 1', '"batch": 0'),
        sound.replace('"bytes": 100', f'"bytes": {1 << 63}'),
        sound.replace('"tokens": 64', f'"tokens": {1 << 70}'),
        sound.replace('"method": "x"', f'"method": "x", "more": {deep}'),
    ]
    (tmp_path / "sound.json").write_text(f'{{"tracekit": {sound}, "traceEvents": []}}')
    for number, text in enumerate(damaged):
        (tmp_path / f"{number}.json").write_text(f'{{"tracekit": {text}, "traceEvents": []}}')
        (tmp_path / f"{number}.failed.json").write_text(text)
    (tmp_path / "x.failed.json").write_bytes(b'{"identity": {"model": "\xff", "length": 1}}')
    (tmp_path / "zero.json").write_text(f'{{"tracekit": {sound.replace("[5, 5]", "[0, -5]")}, "traceEvents": []}}')
    study = load_study([tmp_path])
    assert {finding.code: finding.count for finding in study.findings}["unreadable_file"] == 2 * len(damaged) + 1
    assert study.latency().height == 2
    assert study.throughput().height == 1
    study.tipping_points()


def test_what_the_document_names_exists(root: Path) -> None:
    text = (root / "SECURITY.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:tests|docs|benchmarks|tracekit|analyze|reports|collect)/[\w./]+)`", text))
    assert len(named) > 10
    assert [name for name in sorted(named) if not (root / name).exists()] == []
