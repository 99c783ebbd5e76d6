"""A model server must not outlive its server, not even one that is killed with SIGKILL and can clean up nothing.

This plain file (no import of tarry) is run with ``-I -S`` in front of every child. It asks the kernel to kill this process when
its parent dies, makes sure that the parent has not died already, and then becomes the child's program by exec, which keeps the
request. Grandchildren are not covered: the engine finds them by their token when it starts.

Arguments: the parent's process id, then the program and its arguments.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_EXEC = 127


def main(argv: list[str]) -> int:
    """Bind this process to its parent's life and become the program; returns only if that is impossible."""
    parent, program = int(argv[1]), argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        return _refuse(f"prctl: {os.strerror(ctypes.get_errno())}")
    if os.getppid() != parent:  # it died before the line above: nobody is left to tell us
        return _refuse("the server has ended")
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores them, and exec would hand that on
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execve(program[0], program, os.environ)  # noqa: S606 - becoming the child is the purpose
    except OSError as error:
        return _refuse(f"{program[0]}: {error.strerror}")


def _refuse(reason: str) -> int:
    sys.stderr.write(f"tarry: cannot start the model server: {reason}\n")
    return CANNOT_EXEC


if __name__ == "__main__":
    sys.exit(main(sys.argv))
