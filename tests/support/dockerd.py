"""A Docker daemon of the tests' own: its state in a temporary directory, its socket there, ended by its own process id.

The image in it is made from the interpreter that runs the tests: no registry is asked for anything.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import psutil

STUB_IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/stub:1"
IMAGE_CHANGES = ("--change", "ENV STUB_HOST=0.0.0.0", "--change", "ENV SAGEMAKER_BASE_DIR=/opt/ml")
START_S_MAX = 60
_STARTING = Path(tempfile.gettempdir(), "tarry-tests-dockerd.lock")
_STUB = Path(__file__).parent / "images" / "stub" / "serve.py"


class CannotRunError(Exception):
    """Why there can be no daemon here."""


class Dockerd:
    """One daemon. ``start`` and ``kill`` as often as one likes; ``close`` at the end."""

    def __init__(self, *flags: str) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tarry-docker-"))
        self.host = f"unix://{self.directory}/docker.sock"
        self._flags = flags
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Dockerd":
        """Start and wait until it answers. Errors: CannotRunError with its last words."""
        if missing := [name for name in ("dockerd", "docker", "iptables", "busybox") if shutil.which(name) is None]:
            raise CannotRunError(f"not installed: {', '.join(missing)} (Debian: docker.io, iptables, busybox-static)")
        if os.geteuid() != 0:
            raise CannotRunError("dockerd needs root")
        state = self.directory
        command = ["dockerd", "--data-root", f"{state}/root", "--exec-root", f"{state}/exec", "--pidfile", f"{state}/docker.pid"]
        # Two daemons that start at once take each other's firewall rules away, and one of them gives up.
        with _STARTING.open("a") as lock, (state / "log").open("ab") as log:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._process = subprocess.Popen([*command, "-H", self.host, *self._flags], stdout=log, stderr=log, cwd=state)
            self._wait(self._process)
        return self

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        deadline = time.monotonic() + START_S_MAX
        while subprocess.run(["docker", "-H", self.host, "version"], capture_output=True, check=False).returncode != 0:
            if process.poll() is not None or time.monotonic() > deadline:
                raise CannotRunError(f"dockerd does not run here: {(self.directory / 'log').read_text()[-1500:]}")

    def docker(self, *arguments: str) -> str:
        """The output of a docker command."""
        done = subprocess.run(["docker", "-H", self.host, *arguments], capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def containers(self, *filters: str) -> Sequence[str]:
        """The names of all containers, ended ones too."""
        wanted = [word for one in filters for word in ("--filter", one)]
        return self.docker("ps", "-a", "--format", "{{.Names}}", *wanted).split()

    def make_stub_image(self) -> None:
        """The stub model server, as an image."""
        with tempfile.TemporaryFile() as archive:
            write_image(archive)
            archive.seek(0)
            command = ["docker", "-H", self.host, "import", *IMAGE_CHANGES, "-", STUB_IMAGE]
            subprocess.run(command, stdin=archive, capture_output=True, check=True)

    def kill(self) -> None:
        """SIGKILL to the daemon, and so to its containerd: containers run on."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        for file in ("docker.pid", "exec/containerd/containerd.pid"):  # else a zombie would be taken for one that runs
            (self.directory / file).unlink(missing_ok=True)

    def stop(self) -> None:
        """SIGTERM, as a service manager would: the daemon stops its containers."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(60)

    def close(self) -> None:
        """Remove all containers, stop, and leave nothing behind, also where the daemon has died."""
        if self._process is not None and self._process.poll() is None:
            if left := self.containers():
                self.docker("rm", "-f", *left)
            self.docker("network", "prune", "--force")  # a bridge would outlive the daemon, and there are addresses for thirty
            self.stop()
        clear(self.directory)


def clear(directory: Path) -> None:
    """End what runs on a daemon's directory, by its command line and as its children, unmount what is there, remove it."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if any(str(directory) in word for word in process.cmdline()):
                for one in (*process.children(recursive=True), process):
                    one.kill()
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for mount in reversed([mount for mount in mounts if mount.startswith(f"{directory}/")]):
        subprocess.run(["umount", "-l", mount], check=False)
    shutil.rmtree(directory, ignore_errors=True)


def write_image(file: object) -> None:
    """A file system with this interpreter, the modules that the stub imports, a shell, and the stub as ``serve``."""
    with tarfile.open(fileobj=file, mode="w", dereference=True) as image:  # type: ignore[call-overload]
        for name, mode in (("tmp", 0o1777), ("opt", 0o755), ("etc", 0o755)):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, mode
            image.addfile(entry)
        python, busybox = Path(sys.executable).resolve(), shutil.which("busybox")
        assert busybox is not None
        modules = _modules(python)
        libraries = {one for path in (python, Path(busybox), *modules) if path.suffix != ".py" for one in _libraries(path)}
        for path in sorted({python, *modules, *libraries}):
            image.add(path, str(path))
        image.add(busybox, "bin/busybox")
        shell = tarfile.TarInfo("bin/sh")
        shell.type, shell.linkname = tarfile.SYMTYPE, "busybox"
        image.addfile(shell)
        image.add(_STUB, "opt/serve.py")
        script = f"#!/bin/sh\nexec {python} -I /opt/serve.py\n".encode()
        entry = tarfile.TarInfo("usr/bin/serve")
        entry.mode, entry.size = 0o755, len(script)
        image.addfile(entry, BytesIO(script))


def _modules(python: Path) -> set[Path]:
    """The files of all that the stub imports, compiled where they are."""
    names = [line.split()[1] for line in _STUB.read_text().splitlines() if line.startswith(("import ", "from "))]
    program = (
        f"import sys, encodings.idna, urllib.request, {', '.join(names)}\n"
        "for module in list(sys.modules.values()):\n"
        "    print(getattr(module, '__file__', None) or '', getattr(module, '__cached__', None) or '', sep='\\n')"
    )
    printed = subprocess.run([python, "-I", "-c", program], capture_output=True, check=True, text=True).stdout
    return {path for line in printed.splitlines() if line and (path := Path(line)).is_file()}


def _libraries(path: Path) -> Iterator[Path]:
    """What the dynamic linker would load, by the names that it asks for."""
    if path.suffix == ".pyc":
        return
    shown = subprocess.run(["ldd", str(path)], capture_output=True, check=False, text=True).stdout
    for line in shown.splitlines():
        word = next((word for word in line.split() if word.startswith("/")), None)
        if word is not None:
            yield Path(word)
