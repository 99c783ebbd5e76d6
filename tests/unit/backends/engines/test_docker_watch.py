"""A container's log is copied once, whatever interrupts it: the daemon, or a file that has become too long."""

import asyncio
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("aiodocker")

from tarry.backends.engines import docker_watch
from tarry.backends.engines.docker_api import ContainerFacts, DockerAway, LogPiece
from tarry.backends.engines.docker_options import Labels
from tarry.backends.engines.docker_watch import Watch
from tarry.backends.engines.logs import LogFiles
from tarry.ports import LogName

LABELS = Labels(
    instance_id="i", instance_type="t", endpoint_name="e", variant_name="v", hostname=None, index=0, count=1, attempt="a", gpus=()
)
NAME = LogName(endpoint_name="e", variant_name="v", instance_id="i")


class Api:
    """A daemon that keeps all pieces, and goes away after each that it has handed out."""

    def __init__(self, pieces: list[LogPiece]) -> None:
        self._pieces = pieces
        self._over = asyncio.Event()

    async def output(self, container_id: str, since_ns: int) -> AsyncGenerator[LogPiece]:
        wanted = [piece for piece in self._pieces if piece.at_ns >= since_ns]
        for piece in wanted:
            yield piece
            raise DockerAway("gone")
        self._over.set()

    async def wait(self, container_id: str) -> None:
        await self._over.wait()

    async def inspect(self, container_id: str) -> ContainerFacts:
        return ContainerFacts(
            id="c", labels={}, started_at=0.0, running=not self._over.is_set(), exit_code=0, out_of_memory=False, memory_bytes=0,
            port=None, ip=None,
        )  # fmt: skip


@pytest.mark.parametrize("bytes_max", [3, 4, 1000])
async def test_nothing_is_copied_twice_or_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bytes_max: int) -> None:
    monkeypatch.setattr(docker_watch, "RETRY_S", 0.0)
    monkeypatch.setattr(docker_watch, "_PIECES_AT_ONCE", 1)
    monkeypatch.setattr(docker_watch, "_PAUSE_S", 0.0)
    written = [b"%d\n" % number for number in range(10, 40)]
    api: Any = Api([LogPiece(number * 1000, content) for number, content in enumerate(written, 1)])
    files = LogFiles(tmp_path, bytes_max)
    watch = Watch(api, files, "c", LABELS)
    async with asyncio.timeout(30):
        await watch.ended.wait()
    await watch.close()
    whole = b"".join(written)
    [log] = await files.find("e")
    part = await files.read(NAME, 0, 1000)
    assert log.end == len(whole)
    assert part.content == whole[part.offset :]
    assert len(part.content) <= 3 * bytes_max
