"""An instance in bubblewrap sees as little as possible of the machine, and the paths that images rely on.

It has a real ``/opt/ml``, an ``/etc``, ``/tmp`` and home of its own and sees its own processes only; the rest of the system is
read-only, and the homes of people, the server's data, its secrets and the sockets of the system's services are not there. The
network is the host's.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from tarry.backends.engines.homes import Home, View
from tarry.backends.engines.launching import LAUNCHER, User, Wrapped
from tarry.backends.interpreters import interpreter_paths
from tarry.backends.trees import remove_tree
from tarry.core.errors import InstanceStartError

_HOME = Path("/home/model-server")  # OURS: an image without a WORKDIR has none; TorchServe's and MMS's images use this one
_INSIDE_LAUNCHER = Path("/run/tarry/launcher.py")
_MADE_ANEW = ("dev", "etc", "home", "opt", "proc", "root", "run", "tmp")
_EMPTY = tuple(Path(name) for name in ("/dev", "/home", "/root", "/run", "/tmp", "/var/tmp"))  # noqa: S108
"""Where nothing of the host is left."""
_READ_ONLY_PROC = ("bus", "fs", "irq", "sys", "sysrq-trigger")
"""Files in these listen to root even without any capability; /proc/sys/kernel/core_pattern would start programs outside."""
_DEVICES = ("nvidia*", "dri", "kfd")
_CHANGING = ("hosts", "resolv.conf")
"""What of /etc changes while a server runs."""
_LINKS_MAX = 40  # as many as the kernel follows


class Bubblewrap:
    """Processes in namespaces of their own."""

    def __init__(self, program: Path, directory: Path, secrets: Sequence[Path] = (), user: User | None = None) -> None:
        """``directory`` is the server's data directory, ``secrets`` what else no instance may see. ``open`` before use."""
        self.user = user
        self._program = program
        self._interpreter = Path(os.path.realpath(sys.executable))
        self._hidden = _hidden((directory, *secrets))
        self._template = directory / "sandbox" / "etc"

    def open(self) -> None:
        """Make the copy of /etc that instances get copies of. Blocks. Errors: OSError."""
        remove_tree(self._template)
        self._template.parent.mkdir(exist_ok=True)
        _copy_public(Path("/etc"), self._template)
        self._give(self._template)

    def make(self, home: Home) -> None:
        """See Sandbox."""
        home.make()
        (home.root / "tmp").chmod(0o1777)
        copy = home.root / "etc"
        # cp is several times faster than the same in Python, and keeps the owner.
        done = subprocess.run(("cp", "-a", self._template, copy), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise OSError(0, done.stderr.strip() or "cp failed", str(copy))
        for name in _CHANGING:
            (copy / name).unlink(missing_ok=True)
            _copy_entry(Path("/etc", name), copy / name)
            self._give(copy / name)
        if home.names:
            # AWS: ContainerHostname is a container's DNS name (ModelPackageContainerDefinition, CloudFormation reference).
            with (copy / "hosts").open("a", encoding="utf-8") as hosts:
                hosts.writelines(f"127.0.0.1 {name}\n" for name in home.names)

    def hand_over(self, home: Home) -> None:
        """See Sandbox."""
        for part in ("home", "tmp", "opt/ml"):
            self._give(home.root / part, besides=[home.base / name for name in home.sealed])

    def _give(self, top: Path, besides: Sequence[Path] = ()) -> None:
        """Make the instances' user, if it is another one, the owner of a directory and all in it, but for some directories."""
        if self.user is None or not os.path.lexists(top):
            return
        os.chown(top, self.user.uid, self.user.gid, follow_symlinks=False)
        if top.is_dir() and not top.is_symlink():
            for path in top.iterdir():
                if path not in besides:
                    self._give(path, besides)

    def view(self, home: Home) -> View:
        """See Sandbox."""
        return View(home=_HOME, tmp=Path("/tmp"), base=Path("/opt/ml"))  # noqa: S108 - the instance's own

    def wrapped(self, home: Home) -> Wrapped | None:
        """See Sandbox."""
        return Wrapped(
            wrapper=self._program,
            arguments=tuple(self._arguments(home)),
            interpreter=self._interpreter,
            launcher=_INSIDE_LAUNCHER,
        )

    def _arguments(self, home: Home) -> Iterator[str]:
        yield from ("--unshare-pid", "--unshare-ipc", "--die-with-parent", "--chdir", str(_HOME))
        if os.geteuid() == 0:
            yield from ("--cap-drop", "ALL")
            if self.user is not None:
                yield from ("--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID")
        yield from _system()
        yield from _own(home)
        for path, shown in sorted(self._mounts(home).items()):
            for above in reversed(path.parents):
                if self._is_hidden(above):
                    yield from ("--dir", str(above))  # left to itself, bubblewrap makes it for the server's user alone
            yield from _mount(path, shown)
        yield from ("--ro-bind", str(LAUNCHER), str(_INSIDE_LAUNCHER), "--remount-ro", "/")

    def _mounts(self, home: Home) -> dict[Path, Path | None]:
        """What is hidden (None), shown (the path itself), or a symbolic link (its target) that leads to what is shown.

        In the order of paths what lies deeper comes later, so that each says what becomes of all below it.
        """
        mounts: dict[Path, Path | None] = dict.fromkeys(self._hidden)
        links: dict[Path, Path] = {}
        for path in (*home.needed, *interpreter_paths(self._interpreter)):
            real = _follow(path, links)
            shown = [real] if real not in self._hidden else [real / part for part in ("bin", "lib", "lib64")]
            mounts |= {one: one for one in shown if one.exists() and self._is_hidden(one)}
        visible = [path for path, target in mounts.items() if target == path]
        for link, target in links.items():
            if self._is_hidden(link) and not any(link.is_relative_to(path) for path in visible):
                mounts[link] = target
        return {path: target for path, target in mounts.items() if target is not None or not _below(path, _EMPTY)}

    def _is_hidden(self, path: Path) -> bool:
        return _below(path, _EMPTY) or _below(path, self._hidden)


# -------------------------------------------------------------------------------------------------------------- the mounts


def _hidden(secrets: Sequence[Path]) -> frozenset[Path]:
    """Directories and files that instances do not see."""
    real = {path.resolve() for path in (Path.home(), *secrets)}
    return frozenset(path for path in real if path.exists() and path != Path("/"))


def _below(path: Path, places: Iterable[Path]) -> bool:
    return any(path.is_relative_to(place) for place in places)


def _system() -> Iterator[str]:
    """The machine's own directories, read-only, but for those that each instance has anew."""
    with os.scandir("/") as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if entry.name in _MADE_ANEW:
                continue
            if entry.is_symlink():
                yield from ("--symlink", os.readlink(entry.path), entry.path)  # noqa: PTH115 - as it is written
            else:
                yield from ("--ro-bind-try", entry.path, entry.path)
    yield from ("--proc", "/proc", "--dev", "/dev")
    if os.geteuid() == 0:
        for name in _READ_ONLY_PROC:
            yield from ("--ro-bind-try", f"/proc/{name}", f"/proc/{name}")
    for pattern in _DEVICES:
        for device in sorted(Path("/dev").glob(pattern)):
            yield from ("--dev-bind-try", str(device), str(device))
    yield from ("--dir", "/opt")
    for other in sorted(Path("/opt").glob("*")):
        if other.name != "ml":
            yield from ("--ro-bind-try", str(other), str(other))


def _own(home: Home) -> Iterator[str]:
    """What is the instance's own."""
    for name in ("/home", "/root", "/run"):
        yield from ("--tmpfs", name)
    for source, place in (("home", str(_HOME)), ("tmp", "/tmp"), ("tmp", "/var/tmp"), ("etc", "/etc"), ("opt/ml", "/opt/ml")):  # noqa: S108
        yield from ("--bind", str(home.root / source), place)
    for name in home.sealed:
        yield from ("--ro-bind", str(home.base / name), f"/opt/ml/{name}")


def _mount(path: Path, shown: Path | None) -> tuple[str, ...]:
    if shown is None:
        return ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind", os.devnull, str(path))
    if shown != path:
        return ("--symlink", str(shown), str(path))
    return ("--ro-bind", str(path), str(path))


def _follow(path: Path, links: dict[Path, Path]) -> Path:
    """The real path, with every symbolic link on the way written down."""
    here, rest, hops = Path("/"), list(path.absolute().parts[1:]), 0
    while rest:
        part = rest.pop(0)
        here = here.parent if part == ".." else here / part
        if here.is_symlink():
            hops += 1
            if hops > _LINKS_MAX:
                raise InstanceStartError(f"{path} is a circle of symbolic links.")
            links[here] = target = here.readlink()
            rest = [*(target.parts[1:] if target.is_absolute() else target.parts), *rest]
            here = Path("/") if target.is_absolute() else here.parent
    return here


# --------------------------------------------------------------------------------------------------------- the directories


def _copy_public(source: Path, target: Path) -> None:
    """A copy of what everybody may read in a directory: no keys, no hashes of passwords."""
    target.mkdir(mode=0o755)
    with os.scandir(source) as entries:
        for entry in entries:
            _copy_entry(Path(entry.path), target / entry.name)


def _copy_entry(source: Path, copy: Path) -> None:
    with contextlib.suppress(FileNotFoundError, PermissionError):  # it has just gone, or is not for everybody after all
        mode = source.lstat().st_mode
        if stat.S_ISLNK(mode) and not _below(Path(os.path.realpath(source)), _EMPTY):
            copy.symlink_to(source.readlink())
        elif stat.S_ISDIR(mode) and mode & 0o005 == 0o005:
            _copy_public(source, copy)
        elif source.is_file() and source.stat().st_mode & 0o004:  # also at the end of a link into /run, such as resolv.conf
            shutil.copy(source, copy)
            copy.chmod(copy.stat().st_mode | stat.S_IWUSR)
