"""One point in its own process, driven over a pipe by JSON messages.

The process is forked from a server that has torch and transformers loaded (`forkserver`; `spawn` where there is none),
so that every point has a clean heap, and a crash, a kill or an OOM ends nothing but itself. Nothing is pickled on the
way back. The child ignores Ctrl-C (its parent ends it), dies with its parent, and volunteers for the OOM killer.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from tracekit.errors import TracekitError, UsageError
from tracekit.points import Identity
from tracekit.safety import sanitize

from . import environment
from .serve import answer, serve, session

_PRELOAD = ["torch", "transformers", "tracekit.collect.session"]
_DEAD_AFTER_S = 5.0
_ENVIRONMENT = {
    # torch 2.13 writes "USDT:" lines to stderr on every capture unless kineto is silenced before it loads.
    "KINETO_LOG_LEVEL": "99",
    "TOKENIZERS_PARALLELISM": "false",
    # A worker that was killed in the middle of something leaves semaphores, which multiprocessing clears away aloud.
    "PYTHONWARNINGS": "ignore:resource_tracker:UserWarning",
    # Unpinned, the threads of a process that slept between two steps wake on one core and wait for each other: a step
    # of 2 ms then takes 10 to 120 ms (measured, 2 cores). OpenMP reads both when torch is loaded.
    "OMP_PROC_BIND": "close",
    "OMP_PLACES": "cores",
}


class PointFailedError(Exception):
    """A point that did not finish: `status` (oom, error, timeout, killed, usage) and the reason, in one line."""

    def __init__(self, status: str, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@contextlib.contextmanager
def quiet_start() -> Iterator[None]:
    """Around the start of a process: its environment, and no Ctrl-C for it, not even while it loads torch.

    What the user has set in the environment stays as it is.
    """
    added = {name: value for name, value in _ENVIRONMENT.items() if name not in os.environ}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a blocked signal is inherited
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _context(isolation: str) -> Any:
    if isolation == "spawn" or "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(_PRELOAD)
    return chosen


class Worker:
    """The parent's side of one point's process. `timeout` in seconds holds for each request."""

    def __init__(self, identity: Identity, seed: int, timeout: float, isolation: str = "forkserver") -> None:
        self._timeout = timeout
        self._idle = True
        self._oom_kills = environment.kernel_oom_kills()
        handle, name = tempfile.mkstemp(prefix="tracekit-", suffix=".log")
        os.close(handle)
        self._log = Path(name)
        spec = json.dumps({"identity": msgspec.to_builtins(identity), "seed": seed})
        context = _context(isolation)
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs, spec, name), daemon=True)
        try:
            with quiet_start():
                self._process.start()
        except (EOFError, OSError) as error:
            self._log.unlink(missing_ok=True)
            raise TracekitError(f"no process could be started: {sanitize(error) or 'the fork server died'}") from None
        theirs.close()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, command: str) -> Any:
        """`request`, but raise UsageError for what the user asked of the point that cannot be."""
        try:
            return self.request(command)
        except PointFailedError as failure:
            if failure.status == "usage":
                raise UsageError(failure.reason) from None
            raise

    def request(self, command: str, **arguments: Any) -> Any:
        """Send a command to the `Session` of the process and wait for what it returns, as plain JSON values.

        Raises PointFailedError when the command failed, or the process died or took longer than the timeout; there is
        no use in asking more of it after these two.
        """
        answer = self._answer(command, arguments)
        if "failed" in answer:
            raise PointFailedError(answer["failed"], answer["reason"])
        return answer["result"]

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        self._idle = False
        try:
            self._pipe.send_bytes(json.dumps({"command": command, "arguments": arguments}).encode())
            if not self._pipe.poll(self._timeout):
                raise PointFailedError("timeout", f"{command} took longer than {self._timeout:g} s")
            answer: dict[str, Any] = json.loads(self._pipe.recv_bytes())
        except (EOFError, OSError):
            raise self._death() from None
        self._idle = True
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing, and remove its log."""
        self._pipe.close()
        if self._idle:  # it ends by itself on this, and clears up
            self._process.join(_DEAD_AFTER_S)
        if self._process.is_alive():
            self._process.kill()
        self._process.join(_DEAD_AFTER_S)
        self._log.unlink(missing_ok=True)

    def _death(self) -> PointFailedError:
        self._process.join(_DEAD_AFTER_S)
        code = self._process.exitcode
        if code == -signal.SIGKILL and environment.kernel_oom_kills() > self._oom_kills:
            return PointFailedError("oom", "the kernel ended the process: the machine ran out of memory")
        if code is not None and code < 0:
            return PointFailedError("killed", f"the process was ended by {signal.Signals(-code).name}")
        last = self._log.read_text(errors="replace").strip().splitlines()[-1:] if self._log.exists() else []
        return PointFailedError("error", f"the process ended with code {code}: {sanitize(' '.join(last), 300)}")


class InProcess(Worker):
    """A worker without a process of its own, to look into a model with a debugger: no timeout, and no second heap."""

    def __init__(self, identity: Identity, seed: int) -> None:
        self._spec = json.dumps({"identity": msgspec.to_builtins(identity), "seed": seed})
        self._session: Any = None
        os.environ.update({name: value for name, value in _ENVIRONMENT.items() if name not in os.environ})

    def _answer(self, command: str, arguments: dict[str, Any]) -> dict[str, Any]:
        if self._session is None:
            self._session = session(self._spec)
        return answer(self._session, command, json.loads(json.dumps(arguments)))

    def close(self) -> None:
        """Let go of the model."""
        self._session = None
