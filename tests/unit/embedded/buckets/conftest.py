"""A store with one bucket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.buckets import SetClock, open_buckets

from tarry.embedded.buckets.buckets import Buckets


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def buckets(tmp_path: Path, clock: SetClock) -> AsyncIterator[Buckets]:
    async with open_buckets(tmp_path, clock) as opened:
        await opened.create_bucket("bucket")
        yield opened
