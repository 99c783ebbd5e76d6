"""Which sandbox the instances of this server run in, found out once when it starts.

Without one a container is a plain process in directories of its own, and can read whatever the server can.
"""

import asyncio
import os
import pwd
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from tarry.backends.engines.bubblewrap import Bubblewrap
from tarry.backends.engines.homes import Home, Sandbox, View
from tarry.backends.engines.launching import Program, User, Wrapped, launch
from tarry.core.errors import InvalidRequest

log = structlog.get_logger(__name__)

INSTALL = "Install bubblewrap (Debian, Ubuntu: apt-get install bubblewrap) and allow it to make namespaces."
NAME_A_USER = (
    "Name an ordinary user in [engine] user: as root they read what the system keeps for root alone, and engine.processes_max "
    "does not hold for them."
)
NOT_ISOLATED = (
    "Model servers share /etc, /tmp and the process list of this machine, and their code can read and change all that the "
    "server's user can: keys, data, other instances. What it starts in a session and an environment of its own may outlive it."
)


class NoSandbox:
    """Plain processes."""

    @property
    def user(self) -> User | None:
        """See Sandbox."""
        return None

    def make(self, home: Home) -> None:
        """See Sandbox."""
        home.make()

    def hand_over(self, home: Home) -> None:
        """See Sandbox."""

    def view(self, home: Home) -> View:
        """See Sandbox."""
        return View(home=home.root / "home", tmp=home.root / "tmp", base=home.base)

    def wrapped(self, home: Home) -> Wrapped | None:
        """See Sandbox."""
        return None


async def choose_sandbox(wanted: str, user_name: str | None, directory: Path, secrets: Sequence[Path] = ()) -> Sandbox:
    """The sandbox that ``[engine] sandbox`` (``auto``, ``bubblewrap``, ``none``) and ``user`` ask for.

    ``directory`` is the server's data directory, ``secrets`` what else no instance may see. ``auto`` without bubblewrap: one
    warning in the log.
    Errors: InvalidRequest, with what to install or change.
    """
    user = None if user_name is None else find_user(user_name)
    if wanted == "none":
        problem = "[engine] sandbox is none"
    else:
        program = shutil.which("bwrap")
        bubblewrap = None if program is None else Bubblewrap(Path(program), directory, secrets, user)
        problem = "bubblewrap (bwrap) is not installed" if bubblewrap is None else await _trouble_with(bubblewrap)
        if bubblewrap is not None and not problem:
            if user is None and os.geteuid() == 0:
                log.warning("instances are root without privileges", advice=NAME_A_USER)
            return bubblewrap
    if wanted == "bubblewrap":
        raise InvalidRequest(f"[engine] sandbox is bubblewrap, but {problem}. {INSTALL}")
    if user is not None:
        raise InvalidRequest(
            f"[engine] user needs the sandbox, since only there a model server of {user.name} can reach its own directory in the "
            f"data directory; but {problem}. {INSTALL}"
        )
    log.warning("instances run without a sandbox", reason=problem, consequence=NOT_ISOLATED, advice=INSTALL)
    return NoSandbox()


def find_user(name: str) -> User:
    """The user that instances become. Errors: InvalidRequest for one that is not known, or that this server cannot become."""
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise InvalidRequest(f"[engine] user: this machine has no user {name!r}.") from None
    if entry.pw_uid == 0:
        raise InvalidRequest(f"[engine] user: {name!r} is root. Name an ordinary user, or leave it out.")
    if os.geteuid() != 0:
        raise InvalidRequest(f"[engine] user: only a server that is run by root can let instances become {name!r}. Leave it out.")
    return User(name=name, uid=entry.pw_uid, gid=entry.pw_gid, groups=tuple(os.getgrouplist(name, entry.pw_gid)))


async def _trouble_with(sandbox: Bubblewrap) -> str:
    """Why nothing can be started in it, found out by starting something; empty where it works."""
    with tempfile.TemporaryDirectory() as directory:
        home = Home(root=Path(directory))
        try:
            await asyncio.to_thread(sandbox.open)
            await asyncio.to_thread(sandbox.make, home)
            await asyncio.to_thread(sandbox.hand_over, home)
            probe = Program(command=("true",), environment={"PATH": "/usr/bin:/bin"}, user=sandbox.user)
            pipe = asyncio.subprocess.PIPE
            process = await launch(probe, marks={}, wrapped=sandbox.wrapped(home), stdout=pipe, stderr=asyncio.subprocess.STDOUT)
            said, _ = await process.communicate()
        except OSError as error:
            return f"it cannot be started ({error})"
    if process.returncode == 0:
        return ""
    words = said.decode("utf-8", "replace").strip().splitlines()
    return f"it does not work here ({words[-1] if words else f'exit code {process.returncode}'})"
