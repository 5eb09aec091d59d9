"""One point in its own process, driven over a pipe by JSON messages.

The process is forked from a server that has torch and transformers loaded (`forkserver`; `spawn` where that is
missing), so that every point has a clean heap and a crash, a kill or an OOM ends nothing but itself. Nothing is pickled
on the way back. The child ignores Ctrl-C (its parent ends it), dies with its parent, and volunteers for the OOM
killer.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import tempfile
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from tracekit.points import Identity, Point
from tracekit.safety import sanitize

_PRELOAD = ["torch", "transformers", "tracekit.collect.session"]
_PR_SET_PDEATHSIG = 1
_DEAD_AFTER_S = 5.0


class PointFailedError(Exception):
    """A point that did not finish: `status` (oom, error, timeout, killed) and the reason, in one line."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


def context() -> Any:
    """The multiprocessing context of workers, with the preload set. Call before the first worker."""
    # torch 2.13 writes "USDT:" lines to stderr on every capture unless kineto is silenced before it loads.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(_PRELOAD)
    return chosen


class Worker:
    """The parent's side of one point's process. `timeout` in seconds holds for each request."""

    def __init__(self, identity: Identity, seed: int, timeout: float) -> None:
        self.identity = identity
        self._timeout = timeout
        self._log = tempfile.NamedTemporaryFile(prefix="tracekit-", suffix=".log", delete=False)  # noqa: SIM115
        chosen = context()
        self._pipe, theirs = chosen.Pipe()
        message = {"identity": msgspec.to_builtins(identity), "seed": seed}
        arguments = (theirs, json.dumps(message), self._log.name)
        self._process = chosen.Process(target=_serve, args=arguments, daemon=True)
        self._process.start()
        theirs.close()

    def request(self, command: str, **arguments: Any) -> Any:
        """Send a command and wait for its answer.

        Raises PointFailedError when the point failed, died, or took longer than the timeout; the process is gone then.
        """
        try:
            self._pipe.send_bytes(json.dumps({"command": command, **arguments}).encode())
            if not self._pipe.poll(self._timeout):
                raise PointFailedError("timeout", f"{command} took longer than {self._timeout:g} s")
            answer = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            failure = self._death()
            self.close()
            raise failure from None
        except PointFailedError:
            self.close()
            raise
        if "failed" in answer:
            self.close()
            raise PointFailedError(answer["failed"], answer["reason"])
        return answer["result"]

    def close(self) -> None:
        """End the process, whatever it is doing, and remove its log."""
        self._pipe.close()  # an idle worker ends by itself on this
        self._process.join(0.2)
        if self._process.is_alive():
            self._process.kill()
            self._process.join(_DEAD_AFTER_S)
        self._log.close()
        Path(self._log.name).unlink(missing_ok=True)

    def _death(self) -> PointFailedError:
        self._process.join(_DEAD_AFTER_S)
        code = self._process.exitcode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; the kernel may have run out of memory" if -code == signal.SIGKILL else ""
            return PointFailedError("killed", f"the process was ended by {name}{hint}")
        last = Path(self._log.name).read_text(errors="replace").strip().splitlines()[-1:]
        return PointFailedError("error", f"the process ended with code {code}: {sanitize(' '.join(last))}")


def _serve(pipe: Connection, spec: str, log: str) -> None:
    """The child: answer commands until the pipe closes."""
    _prepare_process(log)
    session: Any = None
    while True:
        try:
            message = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            if session is None:
                from .session import Session

                given = json.loads(spec)
                session = Session(msgspec.convert(given["identity"], Identity), given["seed"])
            command = message.pop("command")
            if "point" in message:
                message["point"] = msgspec.convert(message["point"], Point)
            answer: dict[str, Any] = {"result": msgspec.to_builtins(getattr(session, command)(**message))}
        except Exception as error:
            answer = {"failed": classify(error), "reason": _reason(error)}
        with contextlib.suppress(OSError):
            pipe.send_bytes(json.dumps(answer).encode())


def classify(error: BaseException) -> str:
    """`oom` for an allocation that failed, on the host or the device, whatever type torch gives it; else `error`."""
    text = str(error)
    markers = ("DefaultCPUAllocator", "can't allocate memory", "CUDA out of memory", "out of memory")
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return "oom" if out_of_memory or any(marker in text for marker in markers) else "error"


def _reason(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return sanitize(f"{type(error).__name__}: {lines[0] if lines else 'no message'}", 500)


def _prepare_process(log: str) -> None:
    """Die with the parent, leave Ctrl-C to it, be the first to go when memory ends, keep the user's terminal quiet."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
