"""A program on a terminal, as people see it: its output is read through a pseudo-terminal of a known size."""

import fcntl
import os
import pty
import signal
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence

ROWS, COLUMNS = 50, 200


def _hear_interrupts() -> None:
    """As from a terminal: a shell that has started the tests in the background lets them ignore SIGINT, which is inherited."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """One program with a terminal for standard input, output and error."""

    def __init__(self, command: Sequence[str], environ: Mapping[str, str]) -> None:
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
        self.text = ""
        try:
            self.process = subprocess.Popen(
                command,
                env={**environ, "TERM": "xterm-256color"},
                stdin=slave,
                stdout=slave,
                stderr=slave,
                start_new_session=True,
                preexec_fn=_hear_interrupts,  # noqa: PLW1509 - it only resets a signal
            )
        finally:
            os.close(slave)

    def read_until(self, words: str) -> None:
        """Read until the program has said this; AssertionError if it ends before."""
        while words not in self.text:
            assert self._read(), f"never said {words!r}:\n{self.text}"

    def type(self, text: str) -> None:
        """What a person would type."""
        os.write(self._master, text.encode())

    def finish(self) -> int:
        """Read to the end; the exit code."""
        while self._read():
            pass
        return self.process.wait()

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._master)

    def _read(self) -> bool:
        try:
            piece = os.read(self._master, 65_536)
        except OSError:  # Linux says EIO when the last one on the other side has gone
            return False
        self.text += piece.decode(errors="replace")
        return bool(piece)
