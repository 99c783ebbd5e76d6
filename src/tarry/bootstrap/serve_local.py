"""One instance of an image with a model archive from this disk, without a server: for people who debug their model."""

import asyncio
import hashlib
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.engines.sandbox import choose_sandbox
from tarry.backends.model_data import ModelData
from tarry.backends.modelserver import HttpModelServer
from tarry.bootstrap.images import catalogue_of
from tarry.core.catalog import ModelDataSource
from tarry.core.errors import InstanceStartError
from tarry.core.names import S3Location
from tarry.ports import ContainerSpec, InstanceSpec, ListedObject, ModelRequest, OpenObject, Staged
from tarry.settings import EngineSettings, load

LOG_LINES = 200
_ID = "local"
_READ_BYTES = 1024 * 1024
_PING_PAUSE_S = 0.1

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What to start, and what to ask it: ``request`` None asks nothing but pings."""

    archive: Path
    image: str
    environment: Mapping[str, str]
    environments_dir: Path | None
    data_dir: Path | None = None
    """Whose images there are besides the built-in ones, and whose settings say where instances run."""
    startup_timeout_s: int = 480
    """How long /ping may take after the model server was started."""
    request: "Request | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request body and its headers."""

    body: bytes
    headers: Mapping[str, str]
    timeout_s: float = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of the request; ``elapsed_s`` in seconds."""

    status: int
    content_type: str
    body: bytes
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How it went: seconds until it listened, and until /ping was 200 (None: it never was); what it has printed.

    Seconds count from the start of the model server: its environment has been built and the model unpacked by then.
    """

    listened_s: float
    healthy_s: float | None
    answer: Answer | None
    log: tuple[str, ...]


async def serve_local(wanted: Wanted, say: Say) -> Report:
    """Start it, ping it until it is healthy, ask, stop it. ``say`` hears of the environment's build. SIGTERM cancels this.

    Errors: InvalidRequest (settings of ``data_dir``), ImageNotFound, ImageBroken, ModelDataError, InstanceStartError, and those
    of ports.ModelServer.invoke.
    """
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    loop.add_signal_handler(signal.SIGTERM, lambda: None if this is None else this.cancel())
    try:
        return await _serve(wanted, say)
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


async def _serve(wanted: Wanted, say: Say) -> Report:
    settings = EngineSettings() if wanted.data_dir is None else load(wanted.data_dir, {}).engine
    secrets = () if wanted.data_dir is None else (wanted.data_dir,)
    with tempfile.TemporaryDirectory(prefix="tarry-") as directory:
        engine = ProcessEngine(
            Path(directory),
            images=catalogue_of(wanted.data_dir, wanted.environments_dir, say),
            model_data=ModelData(_OneFile(wanted.archive), Path(directory) / "models"),
            ports=PortRange(*settings.ports),
            sandbox=await choose_sandbox(settings.sandbox, settings.user, Path(directory), secrets),
            region="us-east-1",
            processes_max=settings.processes_max,
        )
        models = HttpModelServer(engine.recognise)
        await engine.open()
        try:
            return await _try(wanted, engine, models)
        finally:
            await engine.close()


async def _try(wanted: Wanted, engine: ProcessEngine, models: HttpModelServer) -> Report:
    (address,) = await engine.start(_spec(wanted))
    (status,) = await engine.observe()
    listened_s = status.running_s
    began = time.monotonic() - listened_s
    healthy = await _healthy(address, engine, models, began + wanted.startup_timeout_s)
    healthy_s = time.monotonic() - began if healthy else None
    answer = await _ask(address, models, wanted.request) if healthy and wanted.request else None
    log = await engine.log_tail(_ID, LOG_LINES)
    return Report(listened_s=listened_s, healthy_s=healthy_s, answer=answer, log=log)


def _spec(wanted: Wanted) -> InstanceSpec:
    container = ContainerSpec(
        image=wanted.image,
        model_data=ModelDataSource(s3_uri=f"s3://file/{wanted.archive.name}"),
        environment=dict(wanted.environment),
    )
    return InstanceSpec(
        instance_id=_ID,
        endpoint_name=_ID,
        variant_name=_ID,
        instance_type=_ID,
        containers=(container,),
        model_data_timeout_s=3600,
        startup_timeout_s=wanted.startup_timeout_s,
    )


async def _healthy(address: str, engine: ProcessEngine, models: HttpModelServer, deadline: float) -> bool:
    while time.monotonic() < deadline:
        (status,) = await engine.observe()
        if status.exit_code is not None:
            return False
        if (await models.ping(address)).healthy:
            return True
        await asyncio.sleep(_PING_PAUSE_S)
    return False


async def _ask(address: str, models: HttpModelServer, request: Request) -> Answer:
    async def chunks() -> AsyncIterator[bytes]:
        yield request.body

    began = time.monotonic()
    asked = ModelRequest(headers=request.headers, size=len(request.body), chunks=chunks())
    async with models.invoke(address, asked, timeout_s=request.timeout_s) as response:
        body = b"".join([chunk async for chunk in response.chunks])
    return Answer(status=response.status, content_type=response.content_type, body=body, elapsed_s=time.monotonic() - began)


class _OneFile:
    """An ObjectStore with one object, whatever it is asked for: a file of this disk."""

    def __init__(self, file: Path) -> None:
        self._file = file

    @asynccontextmanager
    async def open(self, location: S3Location) -> AsyncIterator[OpenObject]:
        try:
            stream = await asyncio.to_thread(self._file.open, "rb")
        except OSError as error:
            raise InstanceStartError(f"{self._file} cannot be read: {error.strerror}.") from error
        with stream:
            facts = self._file.stat()
            etag = hashlib.sha256(f"{facts.st_mtime_ns} {facts.st_size}".encode()).hexdigest()

            async def chunks() -> AsyncIterator[bytes]:
                while chunk := await asyncio.to_thread(stream.read, _READ_BYTES):
                    yield chunk

            yield OpenObject(content_type="application/x-tar", size=facts.st_size, etag=etag, chunks=chunks())

    def list(self, prefix: S3Location) -> AsyncIterator[ListedObject]:
        raise NotImplementedError

    async def stage(
        self, location: S3Location, *, content_type: str, metadata: Mapping[str, str], chunks: AsyncIterator[bytes]
    ) -> Staged:
        raise NotImplementedError

    async def publish(self, staged: Staged) -> None:
        raise NotImplementedError

    async def discard(self, staged: Staged) -> None:
        raise NotImplementedError
