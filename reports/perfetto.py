"""Hand a trace to the Perfetto UI: a page on loopback reads it and passes it on by postMessage. Nothing is uploaded.

The server shows one page and one file under a path nobody can guess, to requests that name this host, and ends when the
trace has been handed over. postMessage rather than `?url=`, because browsers ask before a public page may fetch from
loopback, and fail silently when told no. `direct` is the other way, as Perfetto's own `open_trace_in_ui` goes: the UI
fetches the file itself, from the one port that its content security policy allows.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import quote, urlsplit

from tracekit.errors import TraceError, UsageError
from tracekit.points import looks_like_trace
from tracekit.safety import safe_filename, sanitize

from .page import environment

UI = "https://ui.perfetto.dev"
DIRECT_PORT = 9001  # the one from which the UI's policy lets it fetch
_LOOPBACK = "127.0.0.1"
_ANY_PORT = "leave it out to take any free one"
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; connect-src 'self'"


def check_trace(path: Path) -> None:
    """Raise TraceError unless `path` is a regular file that looks like a trace, OSError when it may not be read."""
    if not path.exists():
        raise TraceError(f"{sanitize(path)}: no such file; name a trace (.json, .json.gz)")
    if not path.is_file():
        raise TraceError(f"{sanitize(path)}: not a file; name one trace")
    path.open("rb").close()
    if not looks_like_trace(path):
        raise TraceError(f"{sanitize(path)}: not a profiler trace; name a .json or .json.gz that the profiler wrote")


def check_ui(address: str) -> None:
    """Raise UsageError unless `address` is one that a page can open and send messages to."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an open bracket, a port that is no number
        usable = False
    if not usable:
        raise UsageError(f"--ui {sanitize(address)}: write an http address, such as {UI}")


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that closes its tab half-way is no event, and a library prints nothing."""


class TraceServer:
    """Serves one trace to the browser on this machine. A context manager; `address` is what to open.

    `fetched` is set once the whole file was sent, `handed_over` once the UI has it. `title`: what the UI calls it, else
    the file's name. `expand`: a regular expression of the groups of tracks to unfold. `direct`: the UI fetches the
    file, without our page; the port is then DIRECT_PORT unless given. Raises UsageError when the port is taken or the
    UI is no http address.
    """

    def __init__(
        self, path: Path, ui: str = UI, port: int = 0, *, title: str = "", expand: str = "", direct: bool = False
    ) -> None:
        check_ui(ui)
        self.path = path
        self.direct = direct
        self.title = sanitize(title or path.name)
        self.fetched = threading.Event()
        self.handed_over = threading.Event()
        self._token = secrets.token_urlsafe(16)
        self._ui = _with_commands(ui, expand) if expand else ui
        port = port or (DIRECT_PORT if direct else 0)
        try:
            self._server = _Server((_LOOPBACK, port), _handler(self))
        except (OSError, OverflowError) as error:
            advice = "--direct needs this port: end what has it, or leave --direct out" if direct else _ANY_PORT
            raise UsageError(f"--port {port}: {error}; {advice}") from None
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The page to open in a browser: ours, or, `direct`, the UI's."""
        if self.direct:
            return _with_parameter(self._ui, "url", f"http://{_LOOPBACK}:{self.port}{self._trace_path}")
        return f"http://{_LOOPBACK}:{self.port}/{self._token}/"

    @property
    def _trace_path(self) -> str:
        return f"/{self._token}/{safe_filename(self.title) if self.direct else 'trace'}"

    @property
    def shared_with(self) -> str | None:
        """The one other origin whose pages may read the file; None: no other."""
        parts = urlsplit(self._ui)
        return f"{parts.scheme}://{parts.netloc}" if self.direct else None

    @property
    def hosts(self) -> set[str]:
        """What a request's Host header may say; others come from pages that resolve a name of theirs to loopback."""
        return {f"{name}:{self.port}" for name in (_LOOPBACK, "localhost")}

    def routes(self) -> dict[str, str]:
        """Path -> what it gives."""
        if self.direct:
            return {self._trace_path: "trace"}
        return {f"/{self._token}/": "page", self._trace_path: "trace", f"/{self._token}/done": "done"}

    def page(self) -> tuple[bytes, str]:
        """The page, and its content security policy."""
        nonce = secrets.token_urlsafe(16)
        base = f"/{self._token}"
        html = (
            environment()
            .get_template("open.html.j2")
            .render(
                title=self.title,
                ui=self._ui,
                nonce=nonce,
                trace_path=self._trace_path,
                done_path=f"{base}/done",
            )
        )
        return html.encode(), f"{_POLICY}; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'"

    def __enter__(self) -> TraceServer:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _with_commands(ui: str, expand: str) -> str:
    """The UI's address with the command that unfolds groups of tracks; it promises to keep the command's name."""
    commands = [{"id": "dev.perfetto.ExpandTracksByRegex", "args": [expand]}]
    return _with_parameter(ui, "startupCommands", json.dumps(commands))


def _with_parameter(ui: str, name: str, value: str) -> str:
    joint = "&" if "?" in ui.partition("#")[2] else "?" if "#" in ui else "/#!/?"
    return f"{ui if '#' in ui else ui.rstrip('/')}{joint}{name}={quote(value, safe='')}"


def _handler(owner: TraceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            route = self._route()
            if route == "page":
                html, policy = owner.page()
                self._head("text/html; charset=utf-8", len(html), {"Content-Security-Policy": policy})
                self.wfile.write(html)
            elif route == "trace":
                self._send_trace()
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            if self._route() != "done":
                self.send_error(404)
                return
            self._head("text/plain", 0)
            owner.handed_over.set()

        def _send_trace(self) -> None:
            try:
                file = owner.path.open("rb")
            except OSError:  # moved or deleted since it was checked; the page says so
                self.send_error(410)
                return
            with file:
                shared = {"Access-Control-Allow-Origin": owner.shared_with} if owner.shared_with else None
                self._head("application/octet-stream", os.fstat(file.fileno()).st_size, shared)
                shutil.copyfileobj(file, self.wfile, 1 << 20)
            owner.fetched.set()
            if owner.direct:
                owner.handed_over.set()

        def _route(self) -> str | None:
            if self.headers.get("Host") not in owner.hosts:
                return None
            return owner.routes().get(urlsplit(self.path).path)

        def _head(self, kind: str, size: int, more: dict[str, str] | None = None) -> None:
            self.send_response(200)
            standard = {"Content-Type": kind, "Content-Length": str(size), "Cache-Control": "no-store"}
            guards = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
            for key, value in {**standard, **guards, **(more or {})}.items():
                self.send_header(key, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Requests are nobody's business."""

    return Handler
