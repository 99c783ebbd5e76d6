"""Starting containers, and speaking to the servers in them."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from tarry.core.catalog import ModelDataSource
from tarry.core.placement import Machine


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSpec:
    """What an engine needs to start one container of an instance. ``hostname`` tells containers apart, in logs too."""

    image: str
    hostname: str | None = None
    model_data: ModelDataSource | None = None
    additional_model_data: Mapping[str, ModelDataSource] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key pair that an instance signs with."""

    access_key_id: str
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class InstanceSpec:
    """What an engine needs to start one instance: its containers in the order in which a request passes through them.

    ``role_arn``: whom its containers are to S3 and SNS, with ``credentials``; None: nobody, and they get none.
    """

    instance_id: str
    endpoint_name: str
    variant_name: str
    instance_type: str
    containers: tuple[ContainerSpec, ...]
    model_data_timeout_s: int
    startup_timeout_s: int
    role_arn: str | None = None
    credentials: Credentials | None = None
    network_isolation: bool = False
    """Its containers are to reach nobody, where the engine can see to that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineStatus:
    """One instance as the engine sees it: ``addresses`` as ``start`` returned them.

    ``exit_code`` is None while all its containers run, else that of the first that ended (negative: ended by that signal), and
    ``ended`` is the place of that one among them. ``running_s``: seconds since the last of them was started. ``cause`` is what
    else the engine knows of that end, in a sentence.
    """

    instance_id: str
    addresses: tuple[str, ...]
    exit_code: int | None
    ended: int | None = None
    running_s: float = 0.0
    cause: str | None = None


class Engine(Protocol):
    """Starts and stops instances. Process instances die with this server; others are found again by label or name."""

    async def start(self, spec: InstanceSpec) -> tuple[str, ...]:
        """Prepare the images' environments and the model data, start the containers, return the base URLs of their servers.

        Returns when nobody but the instance can answer there: at the latest as soon as it listens, or has ended (``observe``
        tells). Health is the caller's business. Repeating it for a running instance returns the same addresses. Cancelling it
        leaves nothing behind.
        Errors: ImageNotFound, ImageBroken, ModelDataError, InstanceStartError; InsufficientCapacity before anything is done.
        """
        ...

    async def stop(self, instance_id: str, *, grace_s: float = 30.0) -> None:
        """SIGTERM, then SIGKILL after the grace, to the whole process tree; waits for the end. Unknown ids are no error."""
        ...

    async def observe(self) -> list[EngineStatus]:
        """All instances that this engine has started and not yet been told to stop."""
        ...

    async def measure(self) -> Machine:
        """What the machine that instances run on has, and has free, at this moment."""
        ...

    async def log_tail(self, instance_id: str, lines: int) -> tuple[str, ...]:
        """The last lines of the model server's output; empty for an unknown id. Kept after the instance has ended."""
        ...


class Images(Protocol):
    """Image reference → can we start it, and what does it say of itself?"""

    async def check(self, reference: str) -> None:
        """Raise ImageNotFound, with what to do, unless some known image matches the reference's repository and tag."""
        ...

    async def served_at_once(self, reference: str, environment: Mapping[str, str]) -> int | None:
        """How many requests a container of this image works on at once with this Environment of its model.

        None where it does not say, or is not known.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRequest:
    """One POST /invocations. ``size`` is the length of the body in bytes."""

    headers: Mapping[str, str]
    size: int
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResponse:
    """The container's answer; its bytes stream through ``chunks``. ``size`` in bytes, None where the container does not say."""

    status: int
    content_type: str
    chunks: AsyncIterator[bytes]
    size: int | None = None


@dataclass(frozen=True, slots=True)
class PingAnswer:
    """How GET /ping went: ``healthy`` for 200 in time; else ``said`` has status and beginning of the body, or the error."""

    healthy: bool
    said: str = ""


class ModelServer(Protocol):
    """The container contract over HTTP: /ping and /invocations."""

    async def ping(self, address: str, *, timeout_s: float = 2.0) -> PingAnswer:
        """What GET /ping answers in time; never raises."""
        ...

    def invoke(self, address: str, request: ModelRequest, *, timeout_s: float) -> AbstractAsyncContextManager[ModelResponse]:
        """POST /invocations. The time limit covers everything until the last byte of the answer has been read.

        Errors: ModelServerNotConnected (it has seen nothing of the request); Throttled where this process lacks the means (open
        files) to ask; also while reading ``chunks``: ModelServerUnreachable, ModelServerTimeout, ModelResponseInvalid. Leaving
        the context early closes the connection.
        """
        ...
