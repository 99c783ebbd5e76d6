"""One server for each module of journeys."""

from collections.abc import Iterator

import pytest
from tests.support.server_process import ServerProcess


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A running server on a directory of its own."""
    with ServerProcess(tmp_path_factory.mktemp("server") / "data") as running:
        yield running
