"""Hand a trace to the Perfetto UI: a page on loopback reads it and passes it on by postMessage. Nothing is uploaded.

The server shows one page and one file under a path nobody can guess, to requests that name this host, and ends when the
trace has been handed over. postMessage rather than `?url=`, because browsers ask before a public page may fetch from
loopback, and fail silently when told no.
"""

from __future__ import annotations

import secrets
import shutil
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from tracekit.errors import TraceError, UsageError
from tracekit.points import looks_like_trace
from tracekit.safety import sanitize

from .page import environment

UI = "https://ui.perfetto.dev"
_LOOPBACK = "127.0.0.1"


def check_trace(path: Path) -> None:
    """Raise TraceError unless `path` is a regular file that looks like a trace."""
    if not path.exists():
        raise TraceError(f"{sanitize(path)}: no such file")
    if not path.is_file():
        raise TraceError(f"{sanitize(path)}: not a file; name one trace")
    if not looks_like_trace(path):
        raise TraceError(f"{sanitize(path)}: not a profiler trace")


class TraceServer:
    """Serves one trace to the browser on this machine. A context manager; `address` is what to open.

    Raises UsageError when the port is taken or the UI is no http address.
    """

    def __init__(self, path: Path, ui: str = UI, port: int = 0) -> None:
        if urlsplit(ui).scheme not in ("http", "https") or not urlsplit(ui).netloc:
            raise UsageError(f"--ui {sanitize(ui)}: write an http address")
        self.path = path
        self.handed_over = threading.Event()
        self._token = secrets.token_urlsafe(16)
        self._ui = ui
        try:
            self._server = ThreadingHTTPServer((_LOOPBACK, port), _handler(self))
        except (OSError, OverflowError) as error:
            raise UsageError(f"--port {port}: {error}; leave it out to take any free one") from None
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def port(self) -> int:
        """The port in use."""
        return int(self._server.server_address[1])

    @property
    def address(self) -> str:
        """The page to open in a browser."""
        return f"http://{_LOOPBACK}:{self.port}/{self._token}/"

    @property
    def hosts(self) -> set[str]:
        """What a request's Host header may say; others come from pages that resolve a name of theirs to loopback."""
        return {f"{name}:{self.port}" for name in (_LOOPBACK, "localhost")}

    def routes(self) -> dict[str, str]:
        """Path -> what it gives."""
        return {f"/{self._token}/": "page", f"/{self._token}/trace": "trace", f"/{self._token}/done": "done"}

    def page(self) -> tuple[bytes, str]:
        """The page, and its content security policy."""
        nonce = secrets.token_urlsafe(16)
        base = f"/{self._token}"
        html = (
            environment()
            .get_template("open.html.j2")
            .render(
                title=sanitize(self.path.name),
                ui=self._ui,
                nonce=nonce,
                trace_path=f"{base}/trace",
                done_path=f"{base}/done",
            )
        )
        policy = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'"
        return html.encode(), policy

    def __enter__(self) -> TraceServer:
        self._thread.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(owner: TraceServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            route = self._route()
            if route == "page":
                html, policy = owner.page()
                self._head("text/html; charset=utf-8", len(html), {"Content-Security-Policy": policy})
                self.wfile.write(html)
            elif route == "trace":
                with owner.path.open("rb") as file:
                    self._head("application/octet-stream", owner.path.stat().st_size)
                    shutil.copyfileobj(file, self.wfile)
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            if self._route() != "done":
                self.send_error(404)
                return
            self._head("text/plain", 0)
            owner.handed_over.set()

        def _route(self) -> str | None:
            if self.headers.get("Host") not in owner.hosts:
                return None
            return owner.routes().get(urlsplit(self.path).path)

        def _head(self, kind: str, size: int, more: dict[str, str] | None = None) -> None:
            self.send_response(200)
            standard = {"Content-Type": kind, "Content-Length": str(size), "Cache-Control": "no-store"}
            for key, value in {**standard, "X-Content-Type-Options": "nosniff", **(more or {})}.items():
                self.send_header(key, value)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Requests are nobody's business."""

    return Handler
