"""A process engine on a temporary directory, with the stub image."""

import asyncio
import contextlib
import json
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.support.model_objects import ModelObjects

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.homes import Sandbox
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.engines.processes import carriers
from tarry.backends.engines.room import Room
from tarry.backends.engines.sandbox import NoSandbox, choose_sandbox
from tarry.backends.images import ImageCatalogue
from tarry.backends.model_data import ModelData
from tarry.core.catalog import ModelDataSource
from tarry.core.errors import InvalidRequest
from tarry.ports import ContainerSpec, InstanceSpec

SANDBOXES = ("plain", "bubblewrap")
STUB_IMAGE = Path(__file__).parent / "images" / "stub"


async def sandbox_of(name: str, directory: Path) -> Sandbox:
    """The sandbox of this name for a server whose data directory this is; the test is skipped where it cannot be had."""
    if name == "plain":
        return NoSandbox()
    try:
        return await choose_sandbox("bubblewrap", None, directory)
    except InvalidRequest as error:
        pytest.skip(f"NOT TESTED HERE: {error}")


def process_of(directory: Path, pid: int) -> psutil.Process:
    """The process of an instance that knows itself by this number; in a sandbox the machine knows it by another."""
    token = (directory / "engine-token").read_text().strip()
    for process in carriers(token):
        with contextlib.suppress(psutil.Error, OSError):
            if _own_pid(process.pid) == pid and process.name() != "bwrap":
                return process
    raise AssertionError(f"no process of {directory} has the number {pid}")


def _own_pid(pid: int) -> int:
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("NSpid:")]
    return int(line.split()[-1])


async def seen_by(address: str, code: str) -> Any:
    """The variable ``seen`` after the instance has run the code."""

    def ask() -> Any:
        body = json.dumps({"stub": {"run": code}}).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{address}/invocations", body), timeout=20) as response:
            return json.load(response)

    return await asyncio.to_thread(ask)


def process_engine(
    directory: Path,
    objects: ModelObjects | None = None,
    ports: PortRange | None = None,
    sandbox: Sandbox | None = None,
    image: Path = STUB_IMAGE,
    room: Room | None = None,
) -> ProcessEngine:
    """An engine that has not been opened yet; without a sandbox if none is given."""
    return ProcessEngine(
        directory,
        images=ImageCatalogue([image], directory / "environments"),
        model_data=ModelData(objects or ModelObjects(), directory / "models"),
        ports=ports or PortRange(20000, 29999),
        sandbox=sandbox or NoSandbox(),
        region="eu-central-1",
        room=room,
    )


def spec(instance_id: str = "i-1", *, url: str | None = None, startup_timeout_s: int = 20, **environment: str) -> InstanceSpec:
    """An instance of the stub image."""
    return InstanceSpec(
        instance_id=instance_id,
        endpoint_name="my-endpoint",
        variant_name="AllTraffic",
        instance_type="ml.m5.xlarge",
        containers=(
            ContainerSpec(
                image="123456789012.dkr.ecr.us-east-1.amazonaws.com/stub:1",
                model_data=None if url is None else ModelDataSource(s3_uri=url),
                environment=environment,
            ),
        ),
        model_data_timeout_s=10,
        startup_timeout_s=startup_timeout_s,
    )


def pipeline(count: int, instance_id: str = "i-1", **last: str) -> InstanceSpec:
    """An instance of so many stub containers; the variables are for the last one."""
    one = spec(instance_id)
    containers = [replace(one.containers[0], hostname=f"container-{number}") for number in range(1, count + 1)]
    containers[-1] = replace(containers[-1], environment=last)
    return replace(one, containers=tuple(containers))
