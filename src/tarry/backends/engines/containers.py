"""One container of an instance as a tree of processes: its variables, its port, its log, its end."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import structlog

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.exit_codes import exit_code
from tarry.backends.engines.homes import Home, Sandbox
from tarry.backends.engines.launching import Program, launch
from tarry.backends.engines.listeners import Listeners
from tarry.backends.engines.logs import LogFiles
from tarry.backends.engines.machine import oom_kills
from tarry.backends.engines.processes import TOKEN_VARIABLE, end_carriers, gone, listener_is_ours, send, tree
from tarry.backends.engines.variables import Cloud, server_variables
from tarry.backends.images import PreparedImage
from tarry.core.errors import InstanceStartError
from tarry.core.instance import ping_failure
from tarry.ports import ContainerSpec, InstanceSpec, LogName

log = structlog.get_logger(__name__)

_PORT_TRIES = 5
_LISTEN_POLL_FIRST_S, _LISTEN_POLL_MAX_S = 0.02, 0.25
_KILLED_WITHIN_S = 5.0
_NOT_OURS = (
    f"On {_PORT_TRIES} ports in a row somebody else listened while the model server started: other programs, or processes of its "
    "own that nobody can tell for them. (Without a sandbox those are such as have left their session, their parents and their "
    "environment; where the server is not root, also those that are not dumpable.)"
)
_BLAME_LINES = 20
_LOOK_AT_LOG_S = 0.5
"""How often a log's length is looked at: what is written meanwhile it may be too long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Which container of which instance, and where it lives. ``token`` is in the environment of each of its processes."""

    instance: InstanceSpec
    container: ContainerSpec
    image: PreparedImage
    home: Home
    token: str

    @property
    def log_name(self) -> LogName:
        """Whose log its output is."""
        spec = self.instance
        return LogName(
            endpoint_name=spec.endpoint_name,
            variant_name=spec.variant_name,
            instance_id=spec.instance_id,
            container=self.container.hostname,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningProcess:
    """A container whose process has been started."""

    place: Place
    process: asyncio.subprocess.Process
    ports: range
    started_at: float
    """On the monotonic clock."""
    watch: "asyncio.Task[None]"
    oom_kills_before: int | None
    """What ``machine.oom_kills`` said when it was started."""

    @property
    def address(self) -> str:
        """The base URL of its server."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative: ended by that signal, whether the first process is its own or that of a sandbox."""
        code = self.process.returncode
        return None if code is None else exit_code(code)

    @property
    def cause(self) -> str | None:
        """What else is known of its end: whether memory may have been the reason. Without a count of the kernel's, nothing."""
        if self.exit_code != -signal.SIGKILL or self.oom_kills_before is None:
            return None
        kills = (oom_kills() or 0) - self.oom_kills_before
        if kills <= 0:
            return None
        return (
            f"While it ran, the kernel ended processes of this server for want of memory: {kills}, likely this one among them. "
            "Give the server more memory, or run fewer instances or a smaller model or batch."
        )


class Containers:
    """Starts and ends containers."""

    def __init__(
        self,
        ports: PortRange,
        logs: LogFiles,
        sandbox: Sandbox,
        region: str,
        cloud: Cloud | None,
        processes_max: int | None,
    ) -> None:
        self._ports = ports
        self._logs = logs
        self._sandbox = sandbox
        self._region = region
        self._cloud = cloud
        self._processes_max = processes_max
        self._listeners = Listeners()

    async def start(self, place: Place) -> RunningProcess:
        """Start the process, on another port if somebody was faster; returns when it listens, or has ended.

        Errors: InstanceStartError, OSError; then nothing of it is left.
        """
        deadline = time.monotonic() + place.instance.startup_timeout_s
        for _ in range(_PORT_TRIES):
            ports = self._ports.take(len(place.image.ports))
            running = None
            started = False
            try:
                running = await self._spawn(place, ports)
                started = await self._comes_to_listen(running, deadline)
                if started:
                    return running
            finally:
                if not started:
                    if running is not None:
                        await asyncio.shield(_end_processes(running, 0.0))
                    self._ports.give_back(ports)
            log.warning("a port was taken by somebody else", ports=list(ports), instance=place.instance.instance_id)
        raise InstanceStartError(_NOT_OURS)

    async def end(self, running: RunningProcess, grace_s: float) -> None:
        """SIGTERM to the group, SIGKILL to the whole tree after the grace; returns when all have ended."""
        await _end_processes(running, grace_s)

    async def recognise(self, port: int) -> bool:
        """See Listeners."""
        return await self._listeners.recognise(port)

    def release(self, running: RunningProcess) -> None:
        """Give the ports of an ended container back."""
        self._listeners.forget(running.ports[0])
        self._ports.give_back(running.ports)

    async def _spawn(self, place: Place, ports: range) -> RunningProcess:
        spec = place.instance
        image = place.image.on(ports)
        environment = self._environment(place, image, ports)
        program = Program(
            command=image.command, environment=environment, user=self._sandbox.user, processes_max=self._processes_max
        )
        wrapped = await asyncio.to_thread(self._sandbox.wrapped, place.home)
        started_at, kills = time.monotonic(), oom_kills()
        marks = {TOKEN_VARIABLE: place.token}
        output = self._logs.open(place.log_name)
        try:
            process = await launch(
                program, marks=marks, wrapped=wrapped, stdout=output, stderr=output, cwd=place.home.root / "home",
                start_new_session=True,
            )  # fmt: skip
        finally:
            os.close(output)
        watch = asyncio.create_task(self._watch(process, place), name=f"watch {spec.instance_id}")
        return RunningProcess(
            place=place, process=process, ports=ports, started_at=started_at, watch=watch, oom_kills_before=kills
        )

    async def _watch(self, process: asyncio.subprocess.Process, place: Place) -> None:
        """Keep a container's log short as long as it runs.

        When its first process has ended, the rest of its tree is of no use and may hold its port: end it.
        """
        while process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AT_LOG_S):
                    await process.wait()
            await self._keep_log_short(place)
        await end_carriers(place.token, _KILLED_WITHIN_S)
        await self._keep_log_short(place)

    async def _keep_log_short(self, place: Place) -> None:
        if self._logs.is_long(place.log_name):
            await asyncio.to_thread(self._logs.shorten, place.log_name)

    def _environment(self, place: Place, image: PreparedImage, ports: range) -> Mapping[str, str]:
        view = self._sandbox.view(place.home)
        given = server_variables(
            place.container.environment,
            cloud=self._cloud,
            credentials=place.instance.credentials,
            region=self._region,
            port=ports[0],
        )
        return {
            "PATH": image.path,
            "HOME": str(view.home),
            "TMPDIR": str(view.tmp),
            "LANG": "C.UTF-8",
            **image.environment,
            **given,
            "SAGEMAKER_BASE_DIR": str(view.base),  # OURS: without a sandbox it stands in for /opt/ml, which processes would share
            # AWS: what an image may use besides is told as XXXX-YYYY (SageMaker developer guide, multi-container endpoints).
            **({"SAGEMAKER_SAFE_PORT_RANGE": f"{ports[1]}-{ports[-1]}"} if len(ports) > 1 else {}),
            TOKEN_VARIABLE: place.token,
        }

    async def _comes_to_listen(self, running: RunningProcess, deadline: float) -> bool:
        """Wait until the container listens on its port, or has ended (then ``observe`` tells). False: the port is not ours.

        Errors: InstanceStartError when its time to start is over.
        """
        pause = _LISTEN_POLL_FIRST_S
        while True:
            ended = running.process.returncode is not None
            is_ours = partial(listener_is_ours, running.ports[0], running.process.pid, running.place.token)
            verdict = await asyncio.to_thread(self._listeners.look, running.ports[0], is_ours)
            if verdict is False:
                return False
            if ended:
                return not self._blames_the_port(running)
            if verdict:
                return True
            if time.monotonic() >= deadline:
                raise InstanceStartError(_never_listened(running.place))
            # Not wait_for: on Python 3.11 it can lose a cancellation that comes together with the end of what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await running.process.wait()
            pause = min(pause * 1.5, _LISTEN_POLL_MAX_S)

    def _blames_the_port(self, running: RunningProcess) -> bool:
        tail = " ".join(self._logs.tail(running.place.instance.instance_id, _BLAME_LINES)).lower()
        return "address already in use" in tail or "eaddrinuse" in tail


def _never_listened(place: Place) -> str:
    spec = place.instance
    failure = ping_failure(spec.endpoint_name, spec.variant_name, spec.instance_id, place.container.hostname)
    return f"{failure} It did not listen on the port that SAGEMAKER_BIND_TO_PORT names within {spec.startup_timeout_s} seconds."


async def _end_processes(running: RunningProcess, grace_s: float) -> None:
    process, token = running.process, running.place.token
    if process.returncode is None:
        members = await asyncio.to_thread(tree, process.pid, token)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
            os.killpg(process.pid, signal.SIGCONT)  # whoever is stopped does not hear the other before
        left = await gone(members, grace_s)
        if process.returncode is None:
            left += await asyncio.to_thread(tree, process.pid, token)
        send(signal.SIGKILL, left)
    await end_carriers(token, _KILLED_WITHIN_S)
    await process.wait()
    await running.watch
