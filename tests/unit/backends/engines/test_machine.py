"""What a machine has, read from the kernel's files."""

import os
from pathlib import Path

import pytest

from tarry.backends.engines.machine import measure_machine, oom_kills
from tarry.core.placement import Machine

MIB = 2**20
CPUS = len(os.sched_getaffinity(0))


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path / "proc/meminfo", "MemTotal:        8388608 kB\nMemFree: 1 kB\nMemAvailable:    4194304 kB\nHugePages_Total: 0\n"
    )
    return tmp_path


def group(root: Path, name: str, **files: str) -> None:
    for file, text in files.items():
        write(root / "sys/fs/cgroup" / name / file.replace("_", ".", 1), text)


def test_this_machine_has_something() -> None:
    machine = measure_machine()
    assert 0 < machine.memory_free_bytes < machine.memory_bytes
    assert 1 <= machine.vcpus <= CPUS


def test_without_control_groups_the_machine_counts(root: Path) -> None:
    assert measure_machine(root) == Machine(vcpus=CPUS, memory_bytes=8192 * MIB, memory_free_bytes=4096 * MIB)


def test_the_limits_of_all_groups_around_the_server_count(root: Path) -> None:
    write(root / "proc/self/cgroup", "1:name=systemd:/x\n0::/outer/inner\n")
    group(root, "outer/inner", memory_max="max", memory_current="5", memory_stat="", cpu_max="max 100000")
    used = {"memory_current": str(900 * MIB), "memory_stat": f"anon 5\ninactive_file {200 * MIB}\n"}
    group(root, "outer", memory_max=str(1000 * MIB), cpu_max="50000 100000", **used)
    assert measure_machine(root) == Machine(vcpus=1, memory_bytes=1000 * MIB, memory_free_bytes=300 * MIB)


def test_a_group_that_is_full_has_nothing_free(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/\n")
    group(root, "", memory_max=str(MIB), memory_current=str(2 * MIB), memory_stat="")
    assert measure_machine(root).memory_free_bytes == 0


def test_what_the_kernel_ended_for_want_of_memory_is_counted_by_the_servers_own_group(root: Path) -> None:
    assert oom_kills(root) is None
    write(root / "proc/self/cgroup", "4:memory:/x\n0::/outer/inner\n")
    group(root, "outer", memory_events="low 0\noom 5\noom_kill 5\n")
    assert oom_kills(root) == 5, "of the first around it that counts"
    group(root, "outer/inner", memory_events="low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert oom_kills(root) == 2
