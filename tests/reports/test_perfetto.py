"""`tracekit open`: one page and one trace, to this machine's browser alone."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tracekit.cli import main
from tracekit.errors import TraceError, UsageError
from tracekit.reports.perfetto import TraceServer, check_trace, check_ui


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "<b>\u202ex<script>.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"traceEvents": [{"ph": "X", "ts": 1}]}).encode()))
    return path


@pytest.fixture
def server(trace: Path) -> Iterator[TraceServer]:
    with TraceServer(trace) as running:
        yield running


def ask(
    server: TraceServer, path: str, method: str = "GET", host: str | None = None
) -> tuple[int, bytes, dict[str, str]]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        connection.request(method, path, headers={"Host": host or f"127.0.0.1:{server.port}"})
        response = connection.getresponse()
        return response.status, response.read(), dict(response.headers)


def raw(port: int, request: str) -> bytes:
    """The whole answer, up to the end of the connection, and so to the end of the server's work on it."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(request.encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def test_serves_the_page_and_the_bytes(server: TraceServer, trace: Path) -> None:
    base = urlsplit(server.address).path
    status, page, headers = ask(server, base)
    assert status == 200
    assert b"<b>\xe2" not in page
    assert b"<script>.json" not in page
    assert "\u202e".encode() not in page
    assert b"&lt;b&gt;\\u202ex" in page
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"  # the token is in the address
    assert "Cross-Origin-Opener-Policy" not in headers  # it would cut the tie to Perfetto's window
    status, body, _ = ask(server, f"{base}trace")
    assert (status, body) == (200, trace.read_bytes())
    assert server.fetched.wait(5)
    assert not server.handed_over.is_set()
    assert ask(server, f"{base}done", "POST")[0] == 200
    assert server.handed_over.wait(5)


def test_the_policy_lets_only_the_pages_own_script_run(server: TraceServer) -> None:
    base = urlsplit(server.address).path
    (_, page, headers), (_, _, again) = ask(server, base), ask(server, base)
    policy = dict(part.strip().split(" ", 1) for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == policy["frame-ancestors"] == "'none'"
    assert policy["connect-src"] == "'self'"
    nonce = policy["script-src"].removeprefix("'nonce-").removesuffix("'")
    assert page.count(b"<script") == page.count(f'<script nonce="{nonce}">'.encode()) == 1
    assert again["Content-Security-Policy"] != headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/trace", "/wrong/trace", "/../etc/passwd", "/status", "/wrong/"])
def test_nothing_else_is_served(server: TraceServer, path: str) -> None:
    assert ask(server, path)[0] == 404
    assert ask(server, path, "POST")[0] == 404
    assert ask(server, path, "HEAD")[:2] == (501, b"")
    assert not server.handed_over.is_set()


def test_under_the_token_there_are_no_other_files(server: TraceServer) -> None:
    base = urlsplit(server.address).path
    for path in (f"{base}../{base}x", f"{base}trace/..", f"{base}%2e%2e", f"{base}trace.json", base.rstrip("/")):
        assert ask(server, path)[0] == 404
    assert ask(server, f"{base}done")[0] == 404  # a link or an image cannot end the server


def test_other_hosts_are_refused(server: TraceServer) -> None:
    base = urlsplit(server.address).path
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1:1", "127.0.0.1"):
        assert ask(server, f"{base}trace", host=host)[0] == 404
        assert ask(server, f"{base}done", "POST", host=host)[0] == 404
    assert b" 404 " in raw(server.port, f"GET {base}trace HTTP/1.0\r\n\r\n")
    assert not server.fetched.is_set()
    assert not server.handed_over.is_set()
    assert ask(server, base, host=f"localhost:{server.port}")[0] == 200


def test_addresses_cannot_be_guessed(trace: Path) -> None:
    with TraceServer(trace) as one, TraceServer(trace) as two:
        assert urlsplit(one.address).path != urlsplit(two.address).path
        assert len(urlsplit(one.address).path) > 20


def test_a_lost_file_or_connection_makes_no_noise(trace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    trace.write_bytes(trace.read_bytes() + b" " * (32 << 20))  # more than the kernel takes before it blocks
    with TraceServer(trace) as server:
        base = urlsplit(server.address).path
        request = f"GET {base}trace HTTP/1.0\r\nHost: 127.0.0.1:{server.port}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
            connection.sendall(request.encode())
            assert connection.recv(64)
        trace.unlink()
        assert b" 410 " in raw(server.port, request)
        assert not server.fetched.is_set()
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def direct(trace: Path) -> Iterator[TraceServer]:
    with TraceServer(trace, port=free_port(), title="a <b>", expand="x y", direct=True) as running:
        yield running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def test_direct_gives_the_file_to_the_ui_and_to_no_other(direct: TraceServer, trace: Path) -> None:
    address = urlsplit(direct.address)
    assert (address.scheme, address.netloc) == ("https", "ui.perfetto.dev")
    given = parse_qs(address.fragment.removeprefix("!/?"))
    assert json.loads(given["startupCommands"][0]) == [{"id": "dev.perfetto.ExpandTracksByRegex", "args": ["x y"]}]
    target = urlsplit(given["url"][0])
    assert target.netloc == f"127.0.0.1:{direct.port}"
    token = target.path.split("/")[1]
    assert len(token) > 20
    for path in ("/", "/trace", f"/{token}/", f"/{token}/done", "/status"):
        assert ask(direct, path)[0] == ask(direct, path, "POST")[0] == 404
    assert ask(direct, target.path, host="evil.example")[0] == 404
    assert not direct.handed_over.is_set()
    status, body, headers = ask(direct, target.path)
    assert (status, body) == (200, trace.read_bytes())
    assert headers["Access-Control-Allow-Origin"] == "https://ui.perfetto.dev"
    assert direct.handed_over.wait(5)


def test_the_page_shares_with_nobody(server: TraceServer) -> None:
    for path in ("", "trace"):
        assert "Access-Control-Allow-Origin" not in ask(server, urlsplit(server.address).path + path)[2]


@pytest.mark.parametrize(
    ("ui", "begins"),
    [
        ("https://x.example/", "https://x.example/#!/?url=http%3A"),
        ("https://x.example/#!/viewer", "https://x.example/#!/viewer?url=http%3A"),
        ("https://x.example/#!/?a=b", "https://x.example/#!/?a=b&url=http%3A"),
    ],
)
def test_direct_keeps_what_the_address_says(trace: Path, ui: str, begins: str) -> None:
    with TraceServer(trace, ui, free_port(), direct=True) as server:
        assert server.address.startswith(begins)
        assert server.shared_with == "https://x.example"


def test_direct_says_which_port_it_needs(server: TraceServer, trace: Path) -> None:
    with pytest.raises(UsageError, match="needs this port"):
        TraceServer(trace, port=server.port, direct=True)


@pytest.mark.parametrize("name", ["lanes.json", "LANES.JSON.GZ"])
def test_save_writes_and_opens_nothing(
    store_point: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    point = store_point(tmp_path / "study", "bert", 64, 1.5)
    saved = tmp_path / name
    assert main(["open", str(tmp_path / "study"), "--save", str(saved)]) == 0
    assert capsys.readouterr() == ("", f"saved: {saved}\n")
    data = saved.read_bytes()
    events = json.loads(gzip.decompress(data) if name.endswith("GZ") else data)["traceEvents"]
    raw = json.loads(point.read_bytes())["traceEvents"]
    assert [event for event in events if event.get("cat") != "tracekit"] == raw
    assert main(["open", str(point), "--save", str(saved), "--json", "--quiet"]) == 0
    assert json.loads(capsys.readouterr().out)["saved"] == str(saved)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "study"])  # nothing half-written


def test_what_cannot_be_served(tmp_path: Path, trace: Path) -> None:
    with TraceServer(trace) as running, pytest.raises(UsageError, match="--port"):
        TraceServer(trace, port=running.port)
    other = tmp_path / "other.json"
    other.write_text("{}")
    for path in (tmp_path, other, tmp_path / "none.json"):
        with pytest.raises(TraceError):
            check_trace(path)


def test_ui_addresses() -> None:
    for good in ("https://ui.perfetto.dev", "http://127.0.0.1:9000/#!/?x=1", "http://[::1]:80"):
        check_ui(good)
    for bad in ("javascript:alert(1)", "ftp://x", "http://", "http://[x", "http://x:port", "ui.perfetto.dev", ""):
        with pytest.raises(UsageError, match="--ui"):
            check_ui(bad)


@contextlib.contextmanager
def opened(trace: Path, root: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`tracekit open --no-browser` in a process that listens to Ctrl-C even where CI starts jobs deaf to it."""
    code = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    code += "from tracekit.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "open", str(trace), "--no-browser", *words]
    with subprocess.Popen(
        command, cwd=root, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        guard = threading.Timer(60, process.kill)
        guard.start()
        try:
            yield process
        finally:
            guard.cancel()
            process.kill()


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_no_browser_prints_the_address_and_ends_when_handed_over(trace: Path, root: Path) -> None:
    with opened(trace, root) as process:
        address = urlsplit(first_line(process))
        host = f"Host: {address.netloc}\r\nContent-Length: 0\r\n\r\n"
        assert b" 200 " in raw(address.port or 0, f"POST {address.path}done HTTP/1.0\r\n{host}")
        assert process.wait(10) == 0


@pytest.mark.parametrize(("fetch", "code"), [(False, 130), (True, 0)])
def test_ctrl_c_is_fine_once_the_trace_was_fetched(trace: Path, root: Path, fetch: bool, code: int) -> None:
    with opened(trace, root, "--raw") as process:
        address = urlsplit(first_line(process))
        assert process.stderr is not None
        assert "Ctrl-C" in process.stderr.readline()  # printed last, before the wait
        if fetch:
            answer = raw(address.port or 0, f"GET {address.path}trace HTTP/1.0\r\nHost: {address.netloc}\r\n\r\n")
            assert answer.endswith(trace.read_bytes())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == code
        assert "Traceback" not in process.stderr.read()


def test_json_is_the_envelope_with_the_address(trace: Path, root: Path) -> None:
    with opened(trace, root, "--json", "--quiet") as process:
        said = json.loads(first_line(process))
    assert list(said) == ["schema", "tool", "command", "inputs", "findings", "warnings", "address"]
    assert (said["command"], said["inputs"]) == ("open", [str(trace)])
    assert said["warnings"] == {"no_events": 1}
    assert said["address"].startswith("http://127.0.0.1:")


@pytest.mark.parametrize(
    ("words", "code", "reason"),
    [
        (["{tmp}/none.json"], 2, "no such file"),
        (["{tmp}", "--raw"], 2, "not a file"),
        (["{trace}", "{trace}", "--raw"], 2, "--raw"),
        (["{trace}", "--raw", "--save", "x.json"], 2, "--save"),
        (["{trace}", "--direct", "--save", "x.json"], 2, "--direct"),
        (["{trace}", "--save", "x.txt"], 2, ".json.gz"),
        (["{trace}", "--save", "{trace}"], 2, "the trace itself"),
        (["{trace}", "--save", "{tmp}"], 2, ".json.gz"),
        (["{trace}", "--save", "{tmp}/folder.json"], 2, "a folder"),
        (["{tmp}/folder.json"], 2, "no traces"),
        (["{tmp}/many"], 2, "at most 8"),
        (["{trace}", "--no-browser", "--timeout", "0.1"], 1, "no page fetched"),
        (["{trace}", "--timeout", "-1"], 2, "--timeout"),
        (["{trace}", "--timeout", "nan"], 2, "--timeout"),
        (["{trace}", "--timeout", "inf"], 2, "--timeout"),
        (["{trace}", "--port", "65536"], 2, "--port"),
        (["{trace}", "--no-browser", "--ui", "http://[x"], 2, "--ui"),
    ],
)
def test_errors(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, trace: Path, words: list[str], code: int, reason: str
) -> None:
    (tmp_path / "folder.json").mkdir()
    (tmp_path / "many").mkdir()
    for number in range(9):
        (tmp_path / "many" / f"{number}.json").write_bytes(b"[]")
    before = trace.read_bytes()
    try:
        assert main(["open", *(word.format(tmp=tmp_path, trace=trace) for word in words)]) == code
    except SystemExit as refused:  # by the parser
        assert refused.code == code
    said = capsys.readouterr().err
    assert reason in said
    assert said.splitlines()[-1].startswith("error: ")
    assert trace.read_bytes() == before
