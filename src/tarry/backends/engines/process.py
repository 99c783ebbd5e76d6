"""Model servers as plain processes of this machine: nothing to install, gone when the server is gone.

Each instance has a directory of its own (home, temporary files, ``opt/ml`` with its model), an environment built from nothing, a
port, a log file and a session of processes. Three things keep it from outliving its server: the kernel kills the first process
when the server dies, the engine ends the whole tree when that process ends, and a token in the environment, which names
this data directory, lets the next start find what still survived. Nothing without that token is ever touched.
"""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.logs import InstanceLogs
from tarry.backends.engines.processes import (
    LAUNCHER,
    TOKEN_VARIABLE,
    end_carriers,
    gone,
    listener_is_ours,
    send,
    tree,
)
from tarry.backends.images import ImageCatalogue, PreparedImage
from tarry.backends.model_data import ModelData
from tarry.core.errors import InstanceStartError
from tarry.files import write_file
from tarry.ports import EngineStatus, InstanceSpec

log = structlog.get_logger(__name__)

_PORT_TRIES = 5
_LISTEN_POLL_FIRST_S, _LISTEN_POLL_MAX_S = 0.02, 0.25
_KILLED_WITHIN_S = 5.0
_BLAME_LINES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class _Running:
    """One instance whose process has been started."""

    spec: InstanceSpec
    process: asyncio.subprocess.Process
    port: int
    token: str
    watch: "asyncio.Task[None]"

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"


class ProcessEngine:
    """ports.Engine on processes. ``start`` before use, ``close`` at the end; both belong to the server's main thread."""

    def __init__(self, directory: Path, *, images: ImageCatalogue, model_data: ModelData, ports: PortRange, region: str) -> None:
        """``directory`` is the server's data directory: ``instances/``, ``logs/`` and ``engine-token`` are kept in it."""
        self._directory = directory
        self._images = images
        self._model_data = model_data
        self._ports = ports
        self._region = region
        self._logs = InstanceLogs(directory / "logs")
        self._token = ""
        self._starting: dict[str, asyncio.Task[tuple[str, ...]]] = {}
        self._running: dict[str, _Running] = {}

    async def open(self) -> None:
        """End what an earlier server of this directory left running, and remove its instance directories."""
        self._token = _read_or_make_token(self._directory / "engine-token")
        ended = await end_carriers(self._token)
        if ended:
            log.warning("ended processes that an earlier server left behind", pids=ended)
        await asyncio.to_thread(shutil.rmtree, self._directory / "instances", ignore_errors=True)
        await self._model_data.start()

    async def close(self, *, grace_s: float = 10.0) -> None:
        """Stop all instances, at once."""
        ids = {*self._starting, *self._running}
        await asyncio.gather(*(self.stop(instance_id, grace_s=grace_s) for instance_id in ids))

    async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """See ports.Engine. Returns when the instance's own processes listen on the address, or have ended."""
        running = self._running.get(spec.instance_id)
        if running is not None and running.process.returncode is None:
            return (running.address,)
        starting = self._starting.get(spec.instance_id)
        if starting is None:
            starting = asyncio.create_task(self._start(spec), name=f"start {spec.instance_id}")
            self._starting[spec.instance_id] = starting
            starting.add_done_callback(lambda _: self._starting.pop(spec.instance_id, None))
        try:
            return await asyncio.shield(starting)
        except asyncio.CancelledError:
            if _is_cancelled():
                await self.stop(spec.instance_id, grace_s=0.0)
                raise
            raise InstanceStartError("The instance was stopped while it was starting.") from None

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """See ports.Engine. An instance that is being started is stopped too."""
        starting = self._starting.get(instance_id)
        if starting is not None:
            starting.cancel()
            await asyncio.wait({starting})
        running = self._running.get(instance_id)
        if running is not None:
            await self._end(running, grace_s)
            await self._forget(running)

    async def observe(self) -> list[EngineStatus]:
        """See ports.Engine."""
        return [
            EngineStatus(instance_id=instance_id, addresses=(running.address,), exit_code=running.process.returncode)
            for instance_id, running in self._running.items()
        ]

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """See ports.Engine."""
        return await asyncio.to_thread(self._logs.tail, instance_id, lines)

    async def _start(self, spec: InstanceSpec) -> tuple[str, ...]:
        try:
            if (ended := self._running.get(spec.instance_id)) is not None:
                await self._forget(ended)
            image = await self._images.prepare(spec.containers[0].image)
            home = self._home(spec.instance_id)
            try:
                _make_home(home)
                source = spec.containers[0].model_data
                url = None if source is None else source.s3_uri
                await self._model_data.lay_out(url, home / "opt/ml/model", timeout_s=spec.model_data_timeout_s)
                return (await self._launch(spec, image, home),)
            except BaseException:
                await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)
                raise
        except OSError as error:
            raise InstanceStartError(f"The instance could not be started: {error}.") from error

    async def _launch(self, spec: InstanceSpec, image: PreparedImage, home: Path) -> str:
        """Start the process, on another port if somebody was faster."""
        deadline = time.monotonic() + spec.startup_timeout_s
        for _ in range(_PORT_TRIES):
            port = self._ports.take()
            running = None
            try:
                running = await self._spawn(spec, image, home, port)
                if await self._comes_to_listen(running, deadline):
                    self._running[spec.instance_id] = running
                    log.info("instance started", instance=spec.instance_id, endpoint=spec.endpoint_name, port=port)
                    return running.address
            finally:
                if spec.instance_id not in self._running:
                    if running is not None:
                        await asyncio.shield(self._end(running, 0.0))
                    self._ports.give_back(port)
            log.warning("port was taken by somebody else", port=port, instance=spec.instance_id)
        raise InstanceStartError(f"{_PORT_TRIES} ports in a row were taken by other programs while the model server started.")

    async def _spawn(self, spec: InstanceSpec, image: PreparedImage, home: Path, port: int) -> _Running:
        token = f"{self._token}/{spec.instance_id}"
        if bad := [
            name for name, value in spec.containers[0].environment.items() if "\0" in name + value or "=" in name or not name
        ]:
            raise InstanceStartError(f"The variable {bad[0]!r} of the model's Environment cannot be handed to a process.")
        output = self._logs.open(spec.endpoint_name, spec.variant_name, spec.instance_id)
        try:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *image.command,
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=home / "home", env=self._environment(spec, image, home, port), start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(output)
        watch = asyncio.create_task(_end_orphans(process, token), name=f"watch {spec.instance_id}")
        return _Running(spec=spec, process=process, port=port, token=token, watch=watch)

    def _environment(self, spec: InstanceSpec, image: PreparedImage, home: Path, port: int) -> Mapping[str, str]:
        """The child's variables, built from nothing: nothing of the server's own leaks, and the platform's come last."""
        return {
            "PATH": image.path,
            "HOME": str(home / "home"),
            "TMPDIR": str(home / "tmp"),
            "LANG": "C.UTF-8",
            **image.environment,
            **spec.containers[0].environment,
            "AWS_REGION": self._region,
            "AWS_DEFAULT_REGION": self._region,
            "SAGEMAKER_BASE_DIR": str(home / "opt/ml"),  # OURS: stands in for /opt/ml, which processes would share
            "SAGEMAKER_BIND_TO_PORT": str(port),
            TOKEN_VARIABLE: f"{self._token}/{spec.instance_id}",
        }

    async def _comes_to_listen(self, running: _Running, deadline: float) -> bool:
        """Wait until the instance listens on its port, or has ended (then ``observe`` tells). False: the port is not ours.

        Errors: InstanceStartError when its time to start is over.
        """
        pause = _LISTEN_POLL_FIRST_S
        while True:
            ended = running.process.returncode is not None
            verdict = await asyncio.to_thread(_listener, running)
            if verdict is False:
                return False
            if ended:
                return not await self._blames_the_port(running)
            if verdict:
                return True
            if time.monotonic() >= deadline:
                # AWS: the sentence of the SDK's troubleshooting page; what follows it is ours.
                variant = running.spec.variant_name
                raise InstanceStartError(
                    f"The primary container for production variant {variant} did not pass the ping health check. "
                    "Please check CloudWatch logs for this endpoint. It did not listen on the port that SAGEMAKER_BIND_TO_PORT "
                    f"names within {running.spec.startup_timeout_s} seconds."
                )
            # Not wait_for: on Python 3.11 it can lose a cancellation that comes together with the end of what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await running.process.wait()
            pause = min(pause * 1.5, _LISTEN_POLL_MAX_S)

    async def _blames_the_port(self, running: _Running) -> bool:
        tail = " ".join(await self.log_tail(running.spec.instance_id, _BLAME_LINES)).lower()
        return "address already in use" in tail or "eaddrinuse" in tail

    async def _end(self, running: _Running, grace_s: float) -> None:
        """SIGTERM to the group, SIGKILL to the whole tree after the grace; returns when all have ended."""
        process = running.process
        if process.returncode is None:
            members = await asyncio.to_thread(tree, process.pid, running.token)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
            left = await gone(members, grace_s)
            if process.returncode is None:
                left += await asyncio.to_thread(tree, process.pid, running.token)
            send(signal.SIGKILL, left)
        await end_carriers(running.token, _KILLED_WITHIN_S)
        await process.wait()
        await running.watch

    async def _forget(self, running: _Running) -> None:
        self._running.pop(running.spec.instance_id, None)
        self._ports.give_back(running.port)
        await asyncio.to_thread(shutil.rmtree, self._home(running.spec.instance_id), ignore_errors=True)

    def _home(self, instance_id: str) -> Path:
        if not instance_id or "/" in instance_id or "\0" in instance_id or instance_id in {".", ".."}:
            raise InstanceStartError(f"{instance_id!r} cannot be the id of an instance.")
        return self._directory / "instances" / instance_id


async def _end_orphans(process: asyncio.subprocess.Process, token: str) -> None:
    """When an instance's first process has ended, the rest of its tree is of no use and may hold its port: end it."""
    await process.wait()
    await end_carriers(token, _KILLED_WITHIN_S)


def _listener(running: _Running) -> bool | None:
    return listener_is_ours(running.port, tree(running.process.pid, running.token))


def _is_cancelled() -> bool:
    """Whether the current task was asked to end (and not merely something that it waited for)."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _make_home(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)
    for part in ("home", "tmp", "opt/ml"):
        (home / part).mkdir(parents=True)


def _read_or_make_token(file: Path) -> str:
    """The secret by which processes of this data directory are known, made at its first use."""
    with contextlib.suppress(FileNotFoundError):
        if token := file.read_text("ascii").strip():
            return token
    file.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    write_file(file, token.encode("ascii"))
    return token
