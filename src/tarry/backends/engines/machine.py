"""What this machine has for instances: processors and memory, as the kernel tells and as the server's control group allows.

A server in a container or in a systemd service with a limit has no more than that limit, and its instances are in the same group.
Only control groups of version 2 are asked; with version 1 the machine's own numbers stand.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from tarry.core.placement import Machine

_ROOT = Path("/")


def measure_machine(root: Path = _ROOT) -> Machine:
    """Measure it now: a few small files of the kernel's. ``root`` is where ``proc`` and ``sys`` are."""
    memory = _table(root / "proc/meminfo")
    total, free = memory["MemTotal:"] * 1024, memory["MemAvailable:"] * 1024
    vcpus = float(len(os.sched_getaffinity(0)))
    for group in _groups(root):
        with contextlib.suppress(OSError, ValueError):
            limit = int((group / "memory.max").read_text())  # "max" is no number, and no limit
            # Pages that mirror files on disk are given back on demand.
            used = int((group / "memory.current").read_text()) - _table(group / "memory.stat").get("inactive_file", 0)
            total, free = min(total, limit), min(free, limit - used)
        with contextlib.suppress(OSError, ValueError):
            quota, period = (group / "cpu.max").read_text().split()
            vcpus = min(vcpus, int(quota) / int(period))
    return Machine(vcpus=max(int(vcpus), 1), memory_bytes=total, memory_free_bytes=max(free, 0))


def oom_kills(root: Path = _ROOT) -> int | None:
    """How many processes of this server and its instances the kernel has ended for want of memory; None: it does not say."""
    for group in _groups(root):
        with contextlib.suppress(OSError):
            return _table(group / "memory.events").get("oom_kill")
    return None


def _groups(root: Path) -> Iterator[Path]:
    """The control group of this process and those around it, innermost first."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    top = root / "sys/fs/cgroup"
    for line in lines:
        if line.startswith("0::/"):
            group = top / line.removeprefix("0::/")
            yield from (one for one in (group, *group.parents) if one.is_relative_to(top))


def _table(file: Path) -> dict[str, int]:
    """Lines of a name and a number."""
    return {words[0]: int(words[1]) for line in file.read_text().splitlines() if len(words := line.split()) > 1}
