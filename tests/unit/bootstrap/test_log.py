"""A log that cannot be written is a lost log, and nothing else."""

import io
from collections.abc import Iterator

import pytest
import structlog

from tarry.bootstrap.log import LossyStream, configure_log


class _Full(io.RawIOBase):
    """A file on a disk that is full until ``room``."""

    def __init__(self) -> None:
        self.room = False
        self.written = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        if not self.room:
            raise OSError(28, "No space left on device")
        self.written += bytes(data)  # type: ignore[call-overload]
        return len(bytes(data))  # type: ignore[call-overload]


@pytest.fixture
def full() -> Iterator[_Full]:
    made = _Full()
    yield made
    made.room = True  # for what buffers still hold


def test_lines_that_find_no_room_are_lost_and_later_ones_are_written(full: _Full) -> None:
    stream = LossyStream(io.TextIOWrapper(io.BufferedWriter(full), line_buffering=True))
    for _ in range(1000):  # more than any buffer takes
        stream.write("a line that nobody will see, and that breaks nothing\n")
        stream.flush()
    full.room = True
    stream.write("there is room again\n")
    stream.flush()
    assert full.written.endswith(b"there is room again\n")


def test_the_servers_log_does_not_break_who_writes_it(full: _Full, monkeypatch: pytest.MonkeyPatch) -> None:
    before = structlog.get_config()
    monkeypatch.setattr("sys.stderr", io.TextIOWrapper(io.BufferedWriter(full), line_buffering=True))
    try:
        configure_log("info")
        structlog.get_logger("test").warning("nobody reads this")
    finally:
        structlog.configure(**before)
    assert full.written == b""
