"""The server's own log, on standard error. It must never be what breaks the server.

Standard error is often a file on the disk that is full just when there is most to say, or a pipe whose reader has gone. A line
that cannot be written then is lost, and whoever wrote it goes on.
"""

import contextlib
import logging
import sys
from typing import Any, TextIO, cast

import structlog


class LossyStream:
    """A text stream whose writes never fail: what cannot be written is lost. In everything else it is the stream itself."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Write out what can be written out."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def standard_error() -> TextIO:
    """Standard error, without its errors."""
    return cast("TextIO", LossyStream(sys.stderr))


def configure_log(level: str) -> None:
    """Send the log of this process to standard error, from this level on."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s %(message)s", stream=standard_error())
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        logger_factory=structlog.PrintLoggerFactory(file=standard_error()),
        cache_logger_on_first_use=True,
    )
