"""The child's side of a worker: answer the commands of one point until the pipe closes."""

from __future__ import annotations

import contextlib
import ctypes
import json
import multiprocessing
import os
import signal
import sys
import threading
from multiprocessing import connection
from pathlib import Path
from typing import Any

import msgspec

from tracekit.errors import UsageError
from tracekit.points import Identity, Point
from tracekit.safety import first_line

_PR_SET_PDEATHSIG = 1
_OUT_OF_MEMORY = ("DefaultCPUAllocator", "can't allocate memory", "out of memory", "Cannot allocate memory")


def serve(pipe: connection.Connection, spec: str, log: str) -> None:
    """Answer each message `{command, arguments}` with `{result}` or `{failed, reason}`."""
    _settle(log)
    held: Any = None
    while True:
        try:
            message = json.loads(pipe.recv_bytes())
        except (EOFError, OSError):
            return
        try:
            held = held or session(spec)
            said = answer(held, message["command"], message["arguments"])
        except Exception as error:
            said = {"failed": classify(error), "reason": _reason(error)}
        with contextlib.suppress(OSError):
            pipe.send_bytes(json.dumps(said).encode())


def session(spec: str) -> Any:
    """The session that a spec describes."""
    from .session import Session  # here, so that spawning and reporting failures need no torch

    given = json.loads(spec)
    return Session(msgspec.convert(given["identity"], Identity), given["seed"])


def answer(held: Any, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What a session says to a command: `{result}`, or `{failed, reason}`."""
    try:
        return {"result": _call(held, command, arguments)}
    except Exception as error:
        asked = command in ("check", "describe")  # elsewhere, that something cannot be is news of the point
        status = "usage" if asked and isinstance(error, UsageError) else classify(error)
        return {"failed": status, "reason": _reason(error)}


def _call(session: Any, command: str, arguments: dict[str, Any]) -> Any:
    if "point" in arguments:
        arguments["point"] = msgspec.convert(arguments["point"], Point)
    return msgspec.to_builtins(getattr(session, command)(**arguments))


def classify(error: BaseException) -> str:
    """`oom` for an allocation that failed, on host or device, whatever type torch gives it; else `error`."""
    out_of_memory = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return "oom" if out_of_memory or any(marker in str(error) for marker in _OUT_OF_MEMORY) else "error"


def _reason(error: BaseException) -> str:
    return str(error) if isinstance(error, UsageError) else first_line(error)


def _settle(log: str) -> None:
    """Leave Ctrl-C and the terminal to the parent, be the first to go when memory ends, and die with the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
        handle = os.open(log, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
    with contextlib.suppress(OSError, AttributeError):  # the parent here is the fork server
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        connection.wait([parent.sentinel])
        os._exit(1)
