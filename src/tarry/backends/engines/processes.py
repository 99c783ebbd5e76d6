"""A model server is a tree of processes, and killing its first process ends neither its workers nor what outlived a crash.

Members of a tree are known by three signs: the session that the first process leads, descent from it (both only while that
process lives: afterwards its number may belong to somebody else), and a token in the environment that every descendant
inherits. Nothing without one of the signs is ever touched. ``psutil`` compares start times before it signals, so a reused
process number is never hit.
"""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterable

import psutil

TOKEN_VARIABLE = "_TARRY_INSTANCE"  # noqa: S105 - the name of a variable
_POLL_S = 0.02


def carriers(token: str) -> list[psutil.Process]:
    """All live processes whose token begins with ``token``."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(TOKEN_VARIABLE, "").startswith(token) and process.pid != os.getpid():
                found.append(process)
    return found


def tree(leader_pid: int, token: str) -> list[psutil.Process]:
    """The processes of the session that a live leader leads, its descendants, and all carriers of the token."""
    found = {process.pid: process for process in carriers(token)}
    with contextlib.suppress(psutil.Error):
        found |= {process.pid: process for process in psutil.Process(leader_pid).children(recursive=True)}
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid not in found and os.getsid(process.pid) == leader_pid:
                found[process.pid] = process
    return list(found.values())


def listener_is_ours(port: int, leader_pid: int, token: str) -> bool | None:
    """Whether the process listening on a TCP port is of the tree; None while nobody listens."""
    owners = _owners(port)
    if None in owners:
        # It began to listen while the owners of sockets were being looked up, or is hidden from us: a second look tells.
        owners = _owners(port)
    if not owners:
        return None
    pids = {process.pid for process in tree(leader_pid, token)}  # after them: the owner may be younger than an earlier look
    return all(pid in pids for pid in owners)


def _owners(port: int) -> list[int | None]:
    return [
        connection.pid
        for connection in psutil.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN and connection.laddr and connection.laddr.port == port
    ]


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Signal each process that is still the one it was."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def alive(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Those that still run; a zombie does not."""
    running = []
    for process in processes:
        with contextlib.suppress(psutil.Error):
            if process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
                running.append(process)
    return running


async def gone(processes: Iterable[psutil.Process], within_s: float) -> list[psutil.Process]:
    """Wait until all have ended or the time is over; returns those that are left."""
    deadline = time.monotonic() + within_s
    left = alive(processes)
    while left and time.monotonic() < deadline:
        await asyncio.sleep(_POLL_S)
        left = alive(left)
    return left


async def end_carriers(token: str, within_s: float = 5.0) -> list[int]:
    """SIGKILL everything that carries the token, again for what was born meanwhile; returns the ids of what was ended."""
    ended: list[int] = []
    while found := await asyncio.to_thread(carriers, token):
        ended += [process.pid for process in found]
        send(signal.SIGKILL, found)
        if await gone(found, within_s):
            break  # stuck in the kernel: it dies as soon as that lets it
    return ended
