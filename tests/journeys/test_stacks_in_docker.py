"""Each of the stacks as a container image that ``tarry images context`` and ``docker build`` make, behind an endpoint.

The base image is a Debian that debootstrap fetches, in place of one from a registry: the machine's package mirror, and its
certificates, are all that is needed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import deploy, stacks
from tests.support.dockerd import Dockerd
from tests.support.server_process import ServerProcess
from tests.support.stacks import Stack

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_image,
    pytest.mark.timeout(2400),
    pytest.mark.xdist_group("docker"),
]

BASE = "localhost/debian-python:3.11"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
_DEBIAN = "bookworm"  # its Python is the 3.11 that the images want
_INCLUDE = "python3,python3-venv,ca-certificates"


@pytest.fixture(scope="module")
def base(dockerd: Dockerd) -> str:
    """A small Debian with Python, which trusts whom this machine trusts."""
    if shutil.which("debootstrap") is None:
        pytest.skip("NOT TESTED, stacks in containers: no debootstrap here (Debian: debootstrap)")
    with tempfile.TemporaryDirectory(prefix="tarry-debian-") as directory:
        root = Path(directory, "root")
        make = ["debootstrap", "--variant=minbase", f"--include={_INCLUDE}", _DEBIAN, str(root)]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
        for archive in root.glob("var/cache/apt/archives/*.deb"):
            archive.unlink()
        shutil.copy(CERTIFICATES, root / "etc/ssl/certs/ca-certificates.crt")
        (root / "etc/pip.conf").write_text(f"[global]\ncert = {CERTIFICATES}\n")
        with subprocess.Popen(["tar", "-C", root, "-cf", "-", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(["docker", "-H", dockerd.host, "import", "-", BASE], stdin=tar.stdout, check=True, capture_output=True)
        assert tar.returncode == 0
    return BASE


@pytest.fixture(scope="module")
def server(dockerd: Dockerd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {"TARRY_ENGINE__KIND": "docker", "TARRY_ENGINE__DOCKER_HOST": dockerd.host, "TARRY_ENGINE__DOCKER_KEEP": "false"}
    with ServerProcess(tmp_path_factory.mktemp("docker-stacks") / "data", settings=settings) as running:
        deploy.bucket(running, stacks.BUCKET)
        yield running


def _context(stack: Stack, directory: Path) -> Path:
    """The build context, with the CPU wheel of torch if the image needs it and this machine has it from elsewhere than PyPI."""
    command = [sys.executable, "-m", "tarry", "images", "context", stack.image, str(directory)]
    subprocess.run(command, check=True, capture_output=True)
    locks = "".join(lock.read_text() for lock in _locks(directory))
    if torch := next((line.split()[0] for line in locks.splitlines() if line.startswith("torch==")), None):
        download = [sys.executable, "-m", "pip", "download", "--no-deps", "--quiet", "--dest", str(directory / "wheels"), torch]
        done = subprocess.run(download, check=False, capture_output=True, text=True)
        if done.returncode != 0:
            pytest.skip(f"NOT TESTED, {stack.name} in a container: {done.stderr.strip().splitlines()[-1]}")
    return directory


def _locks(context: Path) -> Iterator[Path]:
    """The requirements files that the Dockerfile installs."""
    for word in (context / "Dockerfile").read_text().replace('"', " ").split():
        if word.startswith("/opt/serving/") and word.endswith(".txt"):
            yield context / word.removeprefix("/opt/")


def _build(dockerd: Dockerd, stack: Stack, base: str, context: Path) -> None:
    command = ["docker", "-H", dockerd.host, "build", "--network", "host", "--build-arg", f"BASE={base}", "-t", stack.image, "."]
    classic = {**os.environ, "DOCKER_BUILDKIT": "0"}  # Debian's package has no other builder
    done = subprocess.run(command, cwd=context, env=classic, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@pytest.mark.parametrize("stack", stacks.EVERY, ids=lambda stack: stack.name)
def test_its_container_answers(dockerd: Dockerd, base: str, server: ServerProcess, stack: Stack, tmp_path: Path) -> None:
    case = stacks.case(stack, tmp_path)
    _build(dockerd, stack, base, _context(stack, tmp_path / "context"))
    try:
        stacks.serve(server, stack, stack.name, case.content, {**case.environment, **stack.seed})
        [container] = dockerd.containers(f"label=tarry.endpoint={stack.name}")
        assert dockerd.docker("inspect", "-f", "{{.Config.Image}}", container) == stack.image
        case.check(stacks.ask(server, stack.name, case.body, case.content_type))
    finally:
        stacks.delete(server)
        dockerd.docker("rmi", stack.image)
        dockerd.docker("image", "prune", "--force")
