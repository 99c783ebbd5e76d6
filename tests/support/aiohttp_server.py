"""Ending an aiohttp test server so that no connection outlives its event loop."""

import asyncio

from aiohttp import web


async def end(runner: web.AppRunner) -> None:
    """Clean up, then abort what still has bytes to send to a client that is gone."""
    connections = list(runner.server.connections) if runner.server is not None else []
    transports = [connection.transport for connection in connections]
    await runner.cleanup()
    for transport in transports:
        if transport is not None:
            transport.abort()
    for _ in range(3):
        await asyncio.sleep(0)
