"""A program for the kill test: puts invocations as fast as it can, works on some, and says each that was acknowledged.

Usage: python put_stream.py <database> <run>; writes one line a put ("put <id>") or end ("end <id>") after its commit.
"""

import asyncio
import itertools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.support import entities as make

from tarry.backends.database.queue import SqlInvocationQueue
from tarry.backends.database.queue_accept import Bounds
from tarry.backends.database.queue_rows import LeaseTerms, next_epoch
from tarry.backends.database.store import SqlStore
from tarry.backends.database.transactions import Database
from tarry.backends.system import SystemClock, SystemIds
from tarry.backends.wakeups import LocalWakeups
from tarry.core.endpoint import Endpoint
from tarry.ports import Add

CALLERS = 16


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def main(path: Path, run: str) -> None:
    database = await Database.open(path)
    wakeups = LocalWakeups()
    store = SqlStore(database, wakeups)
    if await store.get(Endpoint, "endpoint-e") is None:
        await store.apply(Add(make.endpoint()), Add(make.instance()), Add(make.routing()))
    terms = LeaseTerms(clock=SystemClock(), ids=SystemIds(), lease_s=30.0, epoch=await next_epoch(database))
    queue = SqlInvocationQueue(
        database, terms, wakeups, bounds=Bounds(1_000_000), publish_in_transaction=lambda _connection, _staged, _now_us: None
    )
    numbers = itertools.count()

    async def put() -> None:
        while True:
            invocation_id = f"{run}-{next(numbers)}"
            await queue.put(make.invocation(invocation_id, expires_at_us=2**62), b"body of " + invocation_id.encode())
            say(f"put {invocation_id}")

    async def work() -> None:
        while True:
            for claim in await queue.claim(make.instance(), 4):
                await queue.decide(claim.lease, make.decision(claim.invocation.id))
                say(f"end {claim.invocation.id}")

    await asyncio.gather(*(put() for _ in range(CALLERS)), work(), work())


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
