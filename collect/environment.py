"""Facts of the machine, one small function each. A fact that cannot be had is left out, never an error.

Called in the collector, not in a worker: a worker's main thread is pinned to one core.
"""

from __future__ import annotations

import contextlib
import os
import platform
import socket
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import tracekit


def cpu_model() -> str:
    """The processor's name."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def usable_cores() -> int:
    """How many physical cores this process may run on; hardware threads of one core count once."""
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cpus = os.sched_getaffinity(0)
    with contextlib.suppress(OSError):
        siblings = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
        return len({Path(siblings.format(cpu)).read_text() for cpu in cpus})
    return len(cpus)


def memory_bytes() -> int:
    """Physical memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load_average() -> list[float]:
    """Load over 1, 5 and 15 minutes."""
    return list(os.getloadavg())


def frequency_governor() -> str:
    """The governor of the first core."""
    return Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").read_text().strip()


_FACTS: dict[str, Callable[[], Any]] = {
    "host_name": socket.gethostname,
    "cpu_model": cpu_model,
    "cores": os.cpu_count,
    "usable_cores": usable_cores,
    "memory_bytes": memory_bytes,
    "load_average": load_average,
    "frequency_governor": frequency_governor,
    "system": platform.platform,
}


def collect() -> dict[str, Any]:
    """Every fact that can be had, by name."""
    facts: dict[str, Any] = {}
    for name, fact in _FACTS.items():
        with contextlib.suppress(Exception):
            facts[name] = fact()
    return facts


def machine_id() -> str:
    """Which machine this is, as part of a point's identity: host, processor, cores."""
    facts = collect()
    return "/".join(str(facts.get(name, "?")) for name in ("host_name", "cpu_model", "cores"))


def versions() -> dict[str, str]:
    """Versions of what a measurement depends on, without importing it."""
    found = {"tracekit": tracekit.__version__, "python": platform.python_version()}
    for package in ("torch", "transformers", "numpy"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def pinned() -> bool:
    """Whether OpenMP pins its threads to cores in this process (see `worker.quiet_start`)."""
    return os.environ.get("OMP_PROC_BIND", "false").lower() not in ("", "false")


def available_bytes() -> int | None:
    """Memory that could be had without swapping; None where unknown."""
    return _kilobytes(Path("/proc/meminfo"), "MemAvailable")


def resident_peak_bytes() -> int | None:
    """The most memory this process has held resident, libraries included; None where unknown."""
    return _kilobytes(Path("/proc/self/status"), "VmHWM")


def _kilobytes(path: Path, key: str) -> int | None:
    with contextlib.suppress(OSError, StopIteration, ValueError, IndexError):
        line = next(line for line in path.read_text().splitlines() if line.startswith(key))
        return int(line.split()[1]) << 10
    return None


def kernel_oom_kills() -> int:
    """How many processes the kernel has ended for want of memory, here and in our control group; 0 where unknown."""
    total = 0
    for path in (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events")):
        with contextlib.suppress(OSError, ValueError):
            fields = dict(line.split() for line in path.read_text().splitlines())
            total += int(fields.get("oom_kill", 0))
    return total
