"""Starts `tarry serve` again and again for tests that kill it: the program is imported once, each server is a fork.

A server forked here is a process of its own in every respect, and dies of SIGKILL as any other; it only saves the second or
two that Python takes to import everything. Run as ``python -m tests.support.crash.fork_server FD``; FD is a socket of whole
messages. A message is a JSON object (``arguments``, ``environ``, ``holds``, ``separate_commits``) with two descriptors, the log
and the control socket of `holds`; the answer is ``started PID``, and ``ended PID STATUS`` follows. When the socket closes,
what is left is killed.
"""

import json
import os
import select
import signal
import socket
import sys
from typing import Any

from tests.support.crash.holds import Holds, install
from tests.support.crash.points import Point

from tarry.cli.main import main
from tarry.core.errors import Bug

REQUEST_BYTES_MAX = 64 * 1024


def serve(requests: socket.socket) -> None:
    """Fork on request until the socket closes. Returns in this process only."""
    children: dict[int, int] = {}  # pidfd → pid
    while True:
        readable, _, _ = select.select([requests.fileno(), *children], [], [])
        for pidfd in set(readable) - {requests.fileno()}:
            os.close(pidfd)
            pid, status = os.waitpid(children.pop(pidfd), 0)
            requests.send(f"ended {pid} {os.waitstatus_to_exitcode(status)}".encode())
        if requests.fileno() in readable:
            message, descriptors, _, _ = socket.recv_fds(requests, REQUEST_BYTES_MAX, 2)
            if not message:
                break
            log, control = descriptors
            pid = os.fork()
            if pid == 0:
                requests.close()
                for pidfd in children:
                    os.close(pidfd)
                _become_server(json.loads(message), log, control)
            os.close(log)
            os.close(control)
            children[os.pidfd_open(pid)] = pid
            requests.send(f"started {pid}".encode())
    for pid in children.values():
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _become_server(request: dict[str, Any], log: int, control: int) -> None:
    """In the child: `tarry` with these arguments, until it ends."""
    code = 1
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        os.environ.clear()
        os.environ.update(request["environ"])
        holds = Holds(socket.socket(fileno=control), [Point[name] for name in request["holds"]])
        install(holds, separate_commits=request["separate_commits"])
        sys.argv = ["tarry", *request["arguments"]]
        main()
        raise Bug("The command line returned.")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
