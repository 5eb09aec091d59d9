"""One point's process, alone: what it inherits, how it ends, and what its failures are called."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tracekit.collect import environment
from tracekit.collect.plan import Request, make
from tracekit.collect.serve import classify
from tracekit.collect.sweep import run
from tracekit.collect.worker import PointFailedError, Worker, quiet_start
from tracekit.errors import UsageError
from tracekit.points import Identity

pytest.importorskip("torch")
pytest.importorskip("transformers")

LONG = """
import sys
from tracekit.collect.worker import Worker
from tracekit.points import Identity

if __name__ == "__main__":
    deep = {"num_hidden_layers": 3000}
    fields = dict(length=1024, attention="sdpa", preset="tiny", threads=1, overrides=deep)
    worker = Worker(Identity(model="bert", architecture="bert", **fields), 0, 60)
    worker._pipe.send_bytes(b'{"command": "prepare", "arguments": {}}')
    print(worker._process.pid, flush=True)
    worker._pipe.poll(60)
"""


def identity(length: int = 16) -> Identity:
    return Identity(model="bert", architecture="bert", length=length, attention="sdpa", preset="tiny", threads=2)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def test_a_worker_is_pinned_and_leaves_the_environment_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_PROC_BIND", raising=False)
    with quiet_start():
        assert environment.pinned()
    assert not environment.pinned()
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])
    with Worker(identity(), 0, 60) as worker:
        assert worker.request("prepare")["environment"] == {"threads_pinned": True}
        status = Path(f"/proc/{worker._process.pid}/status").read_text()
        assert Path(f"/proc/{worker._process.pid}/oom_score_adj").read_text().strip() == "1000"
    ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
    assert int(ignored.split()[1], 16) & (1 << (signal.SIGINT - 1))
    assert not alive(worker._process.pid or 0)


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_PROC_BIND", "false")
    with quiet_start():
        assert not environment.pinned()
    assert os.environ["OMP_PROC_BIND"] == "false"


def test_a_worker_dies_with_its_parent_in_the_middle_of_a_request() -> None:
    with subprocess.Popen([sys.executable, "-c", LONG], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        time.sleep(0.5)
        assert alive(pid)
        parent.kill()
        parent.wait()
        time.sleep(0.5)
        ended = not alive(pid)
        if not ended:
            os.kill(pid, signal.SIGKILL)
    assert ended


def test_commands_fail_and_the_worker_goes_on() -> None:
    with Worker(identity(), 0, 60) as worker:
        worker.request("prepare")
        with pytest.raises(PointFailedError, match="no such command") as failure:
            worker.request("no such command")
        assert failure.value.status == "error"
        assert worker.request("trial", batch=2)["batch"] == 2


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (
            RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
            "oom",
        ),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), "oom"),
        (type("OutOfMemoryError", (RuntimeError,), {})("x"), "oom"),
        (MemoryError(), "oom"),
        (OSError(12, "Cannot allocate memory"), "oom"),
        (ValueError("shapes do not fit"), "error"),
        (UsageError("no"), "error"),
    ],
)
def test_failures_by_their_name(error: Exception, status: str) -> None:
    assert classify(error) == status


def test_a_real_allocation_that_fails_is_out_of_memory(tmp_path: Path) -> None:
    """Scores of 4 heads over 400,000 tokens are 2.3 TiB: torch itself has to say no, in the middle of a forward."""
    request = Request(["bert"], lengths=[400_000], preset="tiny", attention=["eager"])
    (result,) = run(make(request, tmp_path))
    assert result.status == "oom", result.reason


def test_what_a_dead_run_left_is_swept_away_and_nothing_else(tmp_path: Path) -> None:
    plan = make(Request(["bert"], lengths=[16], preset="tiny"), tmp_path)
    folder = plan.points[0].path.parent
    dead, alive = folder / ".tracekit-dead", folder / ".tracekit-alive"
    for scratch in (dead, alive):
        scratch.mkdir(parents=True)
        (scratch / "export.json").touch()
    half, kept = folder / ".b1-n64-00000000.failed.json.abc.tmp", folder / ".mine"
    for path in (half, kept):
        path.touch()
    for path in (dead, half, kept):
        os.utime(path, (0, 0))
    assert [result.status for result in run(plan)] == ["ok"]
    assert not dead.exists()
    assert not half.exists()
    assert (alive / "export.json").exists(), "another collector may be at work in it"
    assert kept.exists()
