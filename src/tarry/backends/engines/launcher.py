"""A model server must not outlive its server, not even one that is killed with SIGKILL and can clean up nothing.

This plain file (no import of tarry) is run with ``-I -S`` in front of every child. It asks the kernel to kill this process when
its parent dies, makes sure that the parent has not died already, and then becomes the child's program by exec, which keeps the
request. Grandchildren are not covered: the engine finds them by their token when it starts.

What to become is read from a file descriptor: the program's variables (``LD_PRELOAD`` among them) must not have a say in this
process, which a sandbox has not closed in yet, and its secrets must not stand in a command line that everybody may read.

Arguments: the parent's process id (0: any), and the descriptor. Behind it, in JSON: ``command`` (the program and its arguments),
``environment``, ``user`` (null, or uid, gid and groups to become), ``ignored`` (numbers of signals that the program ignores),
``processes_max`` (null, or how many processes and threads its user may have before it can start no more) and ``kept`` (the
descriptors above 2 that the program inherits: nothing else, whatever the server has open or was started with).
"""

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
CANNOT_EXEC = 127
UMASK = 0o022  # what images expect; the server's own may keep a model server that is another user from its files


def main(argv: list[str]) -> int:
    """Bind this process to its parent's life and become the program; returns only if that is impossible."""
    parent = int(argv[1])
    with open(int(argv[2]), "rb") as handed_over:  # noqa: PTH123 - a descriptor
        wanted = json.load(handed_over)
    _close_all_but(wanted["kept"])
    try:
        if wanted["processes_max"] is not None:
            _limit(wanted["processes_max"])
        if wanted["user"] is not None:
            _become(**wanted["user"])
        _die_with(parent)
        return _execute(wanted["command"], wanted["environment"], wanted["ignored"])
    except OSError as error:
        return _refuse(f"{error.filename or 'the system'}: {error.strerror}")


def _close_all_but(kept: list[int]) -> None:
    with os.scandir("/proc/self/fd") as entries:
        numbers = [int(entry.name) for entry in entries]
    for number in numbers:
        if number > 2 and number not in kept:
            with contextlib.suppress(OSError):  # that of the list itself
                os.close(number)


def _limit(processes_max: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    allowed = processes_max if hard == resource.RLIM_INFINITY else min(processes_max, hard)
    resource.setrlimit(resource.RLIMIT_NPROC, (allowed, allowed))


def _become(uid: int, gid: int, groups: list[int]) -> None:
    os.setgroups(groups)
    os.setgid(gid)
    os.setuid(uid)


def _die_with(parent: int) -> None:
    if not parent:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), "prctl")
    if os.getppid() != parent:  # it died before the line above: nobody is left to tell us
        raise OSError(0, "has ended", "the server")


def _execute(command: list[str], environment: dict[str, str], ignored: list[int]) -> int:
    os.umask(UMASK)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        # Python ignores SIGPIPE and SIGXFSZ, what stands before us SIGTERM, nohup and a shell's "&" others: exec hands that on.
        signal.signal(number, signal.SIG_DFL)
    for ignore in ignored:
        signal.signal(ignore, signal.SIG_IGN)
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 - becoming the child is the purpose
    except OSError as error:
        raise OSError(error.errno, error.strerror, command[0]) from None


def _refuse(reason: str) -> int:
    sys.stderr.write(f"tarry: cannot start the model server: {reason}\n")
    return CANNOT_EXEC


if __name__ == "__main__":
    sys.exit(main(sys.argv))
