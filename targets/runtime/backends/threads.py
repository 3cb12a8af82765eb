"""How many threads are worth starting on this machine."""

from __future__ import annotations

import os
from pathlib import Path

_CPU_DIR = Path("/sys/devices/system/cpu")
_CGROUP_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def resolve_threads(threads: int) -> int:
    """The number of threads to start.

    Args:
        threads: what was asked for; 0 stands for every physical core that this process may use.

    Returns:
        At least 1. With 0: the physical cores of the affinity mask, bounded by the container's CPU quota,
        because two hyperthreads of a core share one matrix unit.
    """
    if threads > 0:
        return threads
    return max(1, min(_physical_cores(), _quota()))


def _affinity() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _physical_cores() -> int:
    cpus = _affinity()
    cores = set()
    for cpu in cpus:
        siblings = _CPU_DIR / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        try:
            cores.add(siblings.read_text(encoding="ascii").strip())
        except OSError:
            return len(cpus)
    return len(cores)


def _quota() -> int:
    try:
        limit, period = _CGROUP_QUOTA.read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return 1 << 16
    if limit == "max":
        return 1 << 16
    return max(1, round(int(limit) / int(period)))
