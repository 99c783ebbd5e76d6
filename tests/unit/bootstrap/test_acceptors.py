"""The server's side: acceptors that cannot be started are tried again, and nobody else's code runs in them."""

import asyncio
import os
import socket
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.server_process import ServerProcess

from tarry.backends.engines.launching import launch
from tarry.backends.generation import make_shared
from tarry.backends.wakeups import LocalWakeups
from tarry.bootstrap import acceptors as module
from tarry.bootstrap.acceptor import Orders
from tarry.bootstrap.acceptors import Acceptors


@pytest.fixture
async def orders(tmp_path: Path) -> Orders:
    return Orders(
        data_dir=str(tmp_path),
        account_id="123456789012",
        region="us-east-1",
        public_url="http://x",
        log_level="info",
        patience_s=1.0,
        queued_max=10,
        disk_reserve_bytes=0,
    )


async def test_one_that_cannot_be_started_again_is_tried_until_it_can(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    _, generation = make_shared()
    acceptors = Acceptors(orders, generation, LocalWakeups(), _serve_nothing)
    await acceptors.start(1)
    failures = [OSError("no room"), OSError("no room")]

    async def fail_first(*arguments: Any, **options: Any) -> Any:
        if failures:
            raise failures.pop()
        return await launch(*arguments, **options)

    monkeypatch.setattr(module, "launch", fail_first)
    monkeypatch.setattr(module, "AGAIN_S", 0.01)
    [first] = acceptors._running
    first.process.kill()
    async with asyncio.timeout(60):
        while acceptors._running in ([], [first]):  # noqa: ASYNC110 - nobody tells
            await asyncio.sleep(0.01)
        await acceptors._running[0].ready.wait()
    assert not failures
    await acceptors.close(10)
    os.close(generation)


async def test_one_that_ends_at_the_stop_is_not_replaced(orders: Orders, monkeypatch: pytest.MonkeyPatch) -> None:
    _, generation = make_shared()
    acceptors = Acceptors(orders, generation, LocalWakeups(), _serve_nothing)
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    await acceptors.start(1)
    [one] = acceptors._running
    acceptors.accept_no_more()
    assert await one.process.wait() == 0
    await asyncio.sleep(0)
    assert acceptors._running == [one]
    await acceptors.close(10)
    os.close(generation)


def test_code_in_the_working_directory_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "queue.py").write_text("open('run', 'w')\n")
    settings = {"TARRY_SERVER__ACCEPTORS": "1", "PYTHONSAFEPATH": ""}
    server = ServerProcess(tmp_path / "data", settings=settings)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setattr("sys.executable", str(_safe_python(tmp_path)))
    with server:
        assert not (tmp_path / "here" / "run").exists()


def _safe_python(directory: Path) -> Path:
    """The server itself is to be started without the working directory; what it starts is its own affair."""
    script = directory / "python"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -P "$@"\n')
    script.chmod(0o755)
    return script


def _serve_nothing(connection: socket.socket, _: bytes) -> None:
    connection.close()
