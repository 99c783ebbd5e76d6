"""How a container ended, whoever tells it: by itself, or by a signal."""

import signal

_SIGNALLED = 128
"""A shell's, a sandbox's and Docker's exit code for what was ended by a signal is this and the signal's number."""


def exit_code(code: int) -> int:
    """An exit code; negative: ended by that signal."""
    return _SIGNALLED - code if _SIGNALLED < code <= _SIGNALLED + signal.SIGRTMAX else code
