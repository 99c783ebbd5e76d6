"""One server process, from its first flag to its last signal.

Start: lock DIR, migrate, connect everything, bind, write ``server.json``, answer /health with 200. SIGTERM or SIGINT: no more
accepts and claims, wait the drain time for what is running, give the rest back to the queue uncounted, stop the instances,
exit 0. A second signal ends the wait.
"""

import asyncio
import contextlib
import gc
import os
import resource
import shutil
import signal
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog
import uvloop
from rich.console import Console
from rich.markup import escape

from tarry.bootstrap.build import Tarry, build
from tarry.bootstrap.directory import DataDirectory, ServerInfo
from tarry.bootstrap.http import Server, http_server, patience_s
from tarry.bootstrap.images import environments_of
from tarry.bootstrap.log import configure_log, standard_error
from tarry.core.errors import InvalidRequest
from tarry.settings import ServerSettings, Settings

log = structlog.get_logger(__name__)

BACKLOG = 2048
GC_THRESHOLD = 10_000
"""New objects between two collections. Python's 700 are a few requests, and most of their objects are about to go anyway."""
THREADS_MAX = 64
"""For what blocks: they wait for the disk far more than they reckon, and a model that is unpacked for minutes, or a slow disk's
fsync, must not keep everybody else's bytes waiting. Python's own number is the processors' plus four."""

UMASK = 0o022
"""DIR keeps all others out by its own mode; instances that are another user have to read what is shown to them of it."""


def _raise_file_limit() -> None:
    """Each connection and each open blob is a descriptor: take as many as the system lets this process have."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _keep_descriptors_to_ourselves() -> None:
    """What whoever started this server has left open (a lock, a pipe, a directory) is not for the programs that it starts."""
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    for number in numbers:
        if number > 2:
            with contextlib.suppress(OSError):  # that of the list itself
                os.set_inheritable(number, False)


def run_server(settings: Settings) -> None:
    """Run until a signal ends it.

    Errors: InvalidRequest for what the caller can mend (DIR in use, port taken, bad certificate).
    """
    configure_log(settings.log.level)
    _raise_file_limit()
    _keep_descriptors_to_ourselves()
    os.umask(UMASK)
    directory = DataDirectory(settings.data_dir)
    directory.open()
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(settings, directory))
    finally:
        directory.remove_server()
        directory.close()


async def _serve(settings: Settings, directory: DataDirectory) -> None:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="tarry-io"))
    signals = _Signals()
    listener = _bind(settings.server)
    info = ServerInfo(
        url=_url(settings.server, listener),
        pid=os.getpid(),
        tls_cert=_text(settings.server.tls_cert),
        engine=settings.engine.kind,
        environments=str(environments_of(settings)),
    )
    http = http_server(settings.server)
    scope = directory.fix_scope(settings.scope.region, settings.scope.account_id)  # last: a start that is refused fixes nothing
    tarry = await build(settings, directory, scope, (settings.server.public_url or info.url).rstrip("/"))
    http.config.loaded_app = tarry.app
    try:
        await tarry.start()
        serving = asyncio.create_task(http.serve(sockets=[listener]), name="http")
        directory.write_server(info)
        _settle_memory()
        tarry.app.ready = True
        _notify_supervisor("READY=1")
        _say_ready(info, settings)
        ends: set[asyncio.Future[Any]] = {serving, signals.first_task, tarry.failed}
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await _stop(settings, tarry, http, serving, signals)
    finally:
        await tarry.close()
    if tarry.failed.done() and (error := tarry.failed.exception()):
        raise error


async def _stop(settings: Settings, tarry: Tarry, http: Server, serving: "asyncio.Task[None]", signals: "_Signals") -> None:
    drain_s, now = settings.server.drain_timeout_s, asyncio.get_running_loop().time
    deadline = now() + patience_s(drain_s)
    tarry.app.ready = False
    _notify_supervisor("STOPPING=1")
    http.should_exit = True
    log.info("stopping", drain_timeout_s=drain_s)
    drain = asyncio.create_task(tarry.drain(drain_s))
    ends: set[asyncio.Future[Any]] = {drain, signals.second_task}
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    forced = 0 if drain.done() else await tarry.drain(0.0)
    returned = await drain + forced
    ends = {serving, signals.second_task}
    await asyncio.wait(ends, timeout=max(deadline - now(), 0.0), return_when=asyncio.FIRST_COMPLETED)
    http.force_exit = True  # what is still under way has had its time
    await serving
    await http.end_requests()
    log.info("stopped accepting", returned_to_queue=returned)


def _settle_memory() -> None:
    """What is there now stays: half a million objects (service descriptions above all) that no collection need look at again."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)


class _Signals:
    """SIGTERM and SIGINT: the first starts the stop, the second ends its wait."""

    def __init__(self) -> None:
        self._first, self._second = asyncio.Event(), asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal)
        self.first_task = asyncio.create_task(self._first.wait())
        self.second_task = asyncio.create_task(self._second.wait())

    def _on_signal(self) -> None:
        (self._second if self._first.is_set() else self._first).set()


def _bind(settings: ServerSettings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise InvalidRequest(
            f"Cannot listen on {settings.host}:{settings.port}: {error.strerror}. Choose another --port (0 picks a free one)."
        ) from None
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


def _url(settings: ServerSettings, listener: socket.socket) -> str:
    scheme = "https" if settings.tls_cert else "http"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.host, settings.host)  # noqa: S104 - read, not bound
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    return f"{scheme}://{host}:{listener.getsockname()[1]}"


def _notify_supervisor(state: str) -> None:
    """Tell systemd (or whoever gave NOTIFY_SOCKET) the state: the sd_notify protocol, one datagram."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor, contextlib.suppress(OSError):
        supervisor.sendto(state.encode(), address)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path.absolute())


def _say_ready(info: ServerInfo, settings: Settings) -> None:
    console = Console(file=standard_error(), soft_wrap=True, highlight=False)
    where = escape(str(settings.data_dir))
    console.print(f"[bold green]Tarry is ready[/] at {info.url} (process {info.pid}, data in {where})")
    console.print(f'Point AWS programs at it:  eval "$({_command()} env --data-dir {where})"')


def _command() -> str:
    """How this program is called from a shell."""
    return "tarry" if shutil.which("tarry") else escape(str(Path(sys.argv[0])))
