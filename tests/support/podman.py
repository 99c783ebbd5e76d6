"""Podman's service of the tests' own, on Docker's API: its state in a temporary directory, ended by its own process id."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from tests.support.dockerd import IMAGE_CHANGES, START_S_MAX, STUB_IMAGE, CannotRunError, clear, write_image

# crun and the usual limits fail where root may not raise limits and cgroups are of both versions.
_CONFIG = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
ULIMITS = {"nofile": 4096, "nproc": 4096}


class Podman:
    """One service. ``start`` once; ``close`` at the end."""

    def __init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="tarry-podman-"))
        self.host = f"unix://{self.directory}/podman.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Podman":
        """Start and wait until it answers. Errors: CannotRunError with its last words."""
        if missing := [name for name in ("podman", "runc", "netavark", "busybox") if shutil.which(name, path=self._path) is None]:
            raise CannotRunError(f"not installed: {', '.join(missing)} (Debian: podman, runc, netavark, busybox-static)")
        if os.geteuid() != 0:
            raise CannotRunError("only a Podman of root has been tried")
        (self.directory / "containers.conf").write_text(_CONFIG)
        with (self.directory / "log").open("wb") as log:
            command = self._command("system", "service", "--time=0", self.host)
            self._process = subprocess.Popen(command, env=self._environ, stdout=log, stderr=log, cwd=self.directory)
        deadline = time.monotonic() + START_S_MAX
        while not (self.directory / "podman.sock").exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise CannotRunError(f"podman does not run here: {(self.directory / 'log').read_text()[-1500:]}")
        return self

    def make_stub_image(self) -> None:
        """The stub model server, as an image."""
        with tempfile.NamedTemporaryFile() as archive:
            write_image(archive)
            archive.flush()
            self.podman("import", *IMAGE_CHANGES, archive.name, STUB_IMAGE)

    def podman(self, *arguments: str) -> str:
        """The output of a podman command."""
        done = subprocess.run(self._command(*arguments), env=self._environ, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout.decode().strip()

    def close(self) -> None:
        """Remove all containers, stop, and leave nothing behind."""
        if self._process is not None and self._process.poll() is None:
            self.podman("rm", "--all", "--force", "--time=0")
            self.podman("network", "prune", "--force")
            self._process.terminate()
            self._process.wait(60)
        clear(self.directory)

    @property
    def _path(self) -> str:
        return f"{os.environ['PATH']}{os.pathsep}/usr/lib/podman"

    @property
    def _environ(self) -> dict[str, str]:
        return {**os.environ, "CONTAINERS_CONF": str(self.directory / "containers.conf")}

    def _command(self, *arguments: str) -> list[str]:
        state = self.directory
        places = ["--root", f"{state}/root", "--runroot", f"{state}/run", "--network-config-dir", f"{state}/networks"]
        return ["podman", *places, *arguments]
