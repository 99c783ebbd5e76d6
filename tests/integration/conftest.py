"""What integration tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[object]:
    """An instance of the XGBoost image that can be started."""
    from tests.support.xgboost_instance import Instance

    started = Instance(tmp_path)
    await started.engine.open()
    yield started
    await started.close()
