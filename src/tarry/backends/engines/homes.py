"""The directories of one container, and what a sandbox has to offer the engine that starts programs in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tarry.backends.engines.launching import User, Wrapped


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """One container's directories, as the server sees them: ``home``, ``tmp`` and ``opt/ml`` (and ``etc``) below ``root``.

    ``needed`` are the paths that its program cannot do without; ``sealed`` the names below ``opt/ml`` that it may only read;
    ``names`` the host names of all containers of its instance.
    """

    root: Path
    needed: Sequence[Path] = ()
    sealed: Sequence[str] = ()
    names: Sequence[str] = ()

    @property
    def base(self) -> Path:
        """What ``/opt/ml`` is."""
        return self.root / "opt/ml"

    def make(self) -> None:
        """Make the directories of a new home. Errors: OSError."""
        for part in ("home", "tmp", "opt/ml"):
            (self.root / part).mkdir(parents=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """Where the parts of a home are for the instance itself. ``base`` is what it finds as ``/opt/ml``."""

    home: Path
    tmp: Path
    base: Path


class Sandbox(Protocol):
    """How the processes of an instance are kept apart from everything else."""

    @property
    def user(self) -> User | None:
        """Whom they become; None: they stay what the server is."""
        ...

    def make(self, home: Home) -> None:
        """Make the directories of a new home. Blocks. Errors: OSError."""
        ...

    def hand_over(self, home: Home) -> None:
        """Let the instance's user write where it may, once everything is laid out. Blocks. Errors: OSError."""
        ...

    def view(self, home: Home) -> View:
        """The home as the instance sees it."""
        ...

    def wrapped(self, home: Home) -> Wrapped | None:
        """What stands around the program; None: nothing does. Errors: InstanceStartError, OSError."""
        ...
