"""The service under test, with one bucket."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.buckets import SetClock, open_buckets
from tests.support.s3 import ACCOUNT, S3

from tarry.aws.services.s3 import s3_service
from tarry.core.names import Scope


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
async def s3(tmp_path: Path, clock: SetClock) -> AsyncIterator[S3]:
    async with open_buckets(tmp_path, clock) as buckets:
        await buckets.create_bucket("bbb")
        yield S3(s3_service(buckets, Scope(account_id=ACCOUNT, region="us-east-1")), buckets)
