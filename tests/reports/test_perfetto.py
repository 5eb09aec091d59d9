"""`tracekit open`: one page and one trace, to this machine's browser alone."""

from __future__ import annotations

import gzip
import http.client
import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tracekit.errors import TraceError, UsageError
from tracekit.reports.perfetto import TraceServer, check_trace

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "<b>x.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": [{"ph": "X", "ts": 1}]}).encode()))
    return path


@pytest.fixture
def server(trace: Path) -> Iterator[TraceServer]:
    with TraceServer(trace) as running:
        yield running


def ask(
    server: TraceServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.port}"})
    response = connection.getresponse()
    result = response.status, response.read(), dict(response.headers)
    connection.close()
    return result


def test_serves_the_page_and_the_bytes(server: TraceServer, trace: Path) -> None:
    base = urlsplit(server.address).path
    status, page, headers = ask(server, base)
    assert status == 200
    assert b"<b>x" not in page
    assert b"&lt;b&gt;x.json.gz" in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    status, body, _ = ask(server, f"{base}trace")
    assert (status, body) == (200, trace.read_bytes())
    assert not server.handed_over.is_set()
    assert ask(server, f"{base}done", "POST")[0] == 200
    assert server.handed_over.is_set()


@pytest.mark.parametrize("path", ["/", "/trace", "/wrong/trace", "/../etc/passwd", "/status", "/wrong/"])
def test_nothing_else_is_served(server: TraceServer, path: str) -> None:
    assert ask(server, path)[0] == 404
    assert ask(server, path, "POST")[0] == 404


def test_other_hosts_are_refused(server: TraceServer) -> None:
    base = urlsplit(server.address).path
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1:1"):
        assert ask(server, f"{base}trace", host=host)[0] == 404
    assert ask(server, base, host=f"localhost:{server.port}")[0] == 200


def test_addresses_cannot_be_guessed(trace: Path) -> None:
    with TraceServer(trace) as one, TraceServer(trace) as two:
        assert urlsplit(one.address).path != urlsplit(two.address).path
        assert len(urlsplit(one.address).path) > 20


def test_what_cannot_be_served(tmp_path: Path, trace: Path) -> None:
    with TraceServer(trace) as running, pytest.raises(UsageError, match="--port"):
        TraceServer(trace, port=running.port)
    with pytest.raises(UsageError, match="--ui"):
        TraceServer(trace, ui="javascript:alert(1)")
    other = tmp_path / "other.json"
    other.write_text("{}")
    for path in (tmp_path, other, tmp_path / "none.json"):
        with pytest.raises(TraceError):
            check_trace(path)


def test_no_browser_prints_the_address_and_ends_when_handed_over(trace: Path, root: Path) -> None:
    words = [sys.executable, "-m", "tracekit", "open", str(trace), "--no-browser", "--timeout", "30"]
    with subprocess.Popen(words, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = urlsplit(process.stdout.readline().strip())
        guard = threading.Timer(30, process.kill)
        guard.start()
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=5)
        connection.request("POST", f"{address.path}done")
        connection.getresponse().read()
        assert process.wait(10) == 0
        guard.cancel()


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["{tmp}/none.json"], 2, "no such file"),
        (["{tmp}"], 2, "not a file"),
        (["{trace}", "--no-browser", "--timeout", "0.1"], 1, "nothing fetched"),
        (["{trace}", "--timeout", "-1"], 2, "--timeout"),
        (["{trace}", "--no-browser", "--ui", "ftp://x"], 2, "--ui"),
    ],
)
def test_errors(run_cli: Run, tmp_path: Path, trace: Path, words: list[str], code: int, reason: str) -> None:
    done = run_cli("open", *(word.format(tmp=tmp_path, trace=trace) for word in words))
    assert done.returncode == code
    assert reason in done.stderr
    assert "Traceback" not in done.stderr
