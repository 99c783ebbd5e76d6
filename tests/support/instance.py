"""One instance of an image on the process engine, asked over HTTP: what an image promises, without the rest of the server."""

import asyncio
import io
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import aiohttp
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.homes import Sandbox
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.engines.sandbox import choose_sandbox
from tarry.backends.images import ImageCatalogue
from tarry.backends.model_data import ModelData
from tarry.core.catalog import ModelDataSource
from tarry.ports import ContainerSpec, InstanceSpec

ENVIRONMENTS = Path(os.environ.get("TARRY_TEST_ENVIRONMENTS", Path(__file__).parents[2] / ".image-environments"))
_URL = "s3://bucket/model.tar.gz"
_READY_S_MAX = 300.0


class Instance:
    """``start`` it with the files of a model archive; it is ready when ``start`` returns. In a sandbox, where there is one."""

    def __init__(self, directory: Path, sandbox: Sandbox) -> None:
        self.objects = ModelObjects()
        self.engine = ProcessEngine(
            directory,
            images=ImageCatalogue([], ENVIRONMENTS),
            model_data=ModelData(self.objects, directory / "models"),
            ports=PortRange(20000, 29999),
            sandbox=sandbox,
            region="us-east-1",
        )
        self.http = aiohttp.ClientSession(skip_auto_headers=["Content-Type", "Accept"])
        self.address = ""

    async def start(self, image: str, files: dict[str, bytes], **environment: str) -> None:
        """Anew, if one runs; returns when it answers a ping. AssertionError with its log if it ends before."""
        await self.engine.stop("i-1", grace_s=0)
        self.objects.objects[_URL] = archive_of(files)
        container = ContainerSpec(image=image, model_data=ModelDataSource(s3_uri=_URL), environment=environment)
        spec = InstanceSpec(
            instance_id="i-1",
            endpoint_name="e",
            variant_name="v",
            instance_type="ml.m5.xlarge",
            containers=(container,),
            model_data_timeout_s=60,
            startup_timeout_s=int(_READY_S_MAX),
        )
        (self.address,) = await self.engine.start(spec)
        async with asyncio.timeout(_READY_S_MAX):
            while await self._ping() != 200:
                (status,) = await self.engine.observe()
                assert status.exit_code is None, await self.log()
                await asyncio.sleep(0.05)

    async def ended(self, image: str, files: dict[str, bytes], **environment: str) -> str:
        """Start one that cannot serve; its log."""
        try:
            await self.start(image, files, **environment)
        except AssertionError as error:
            return str(error)
        raise AssertionError(f"it serves:\n{await self.log()}")

    async def ask(self, body: bytes, content_type: str | None = None, accept: str | None = None) -> tuple[int, str, bytes]:
        """(status, content type, body) of an answer."""
        headers = {"Content-Type": content_type, "Accept": accept}
        given = {name: value for name, value in headers.items() if value is not None}
        async with self.http.post(f"{self.address}/invocations", data=io.BytesIO(body), headers=given) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.read()

    async def log(self) -> str:
        """What it has printed."""
        return "\n".join(await self.engine.log_tail("i-1", 500))

    @classmethod
    @asynccontextmanager
    async def opened(cls, directory: Path) -> AsyncIterator[Self]:
        """One on an engine that has been opened; ended afterwards."""
        instance = cls(directory, await choose_sandbox("auto", None, directory))
        await instance.engine.open()
        try:
            yield instance
        finally:
            await instance.close()

    async def close(self) -> None:
        """End it."""
        await self.http.close()
        await self.engine.close(grace_s=5)

    async def _ping(self) -> int:
        try:
            async with self.http.get(f"{self.address}/ping", timeout=aiohttp.ClientTimeout(total=2)) as response:
                return response.status
        except (aiohttp.ClientError, TimeoutError):
            return 0
