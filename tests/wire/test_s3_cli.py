"""``aws s3`` as it is installed, up and down, small and in parts."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.support.buckets import noise
from tests.support.s3_server import KEY_ID, SECRET, Server, s3_server
from tests.support.server import Certificate

MIB = 1024 * 1024
AWS = Path(sys.executable).with_name("aws")
Run = Callable[..., str]


@pytest.fixture(scope="module", params=["http", "https"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("s3")
    certificate = Certificate.make(directory) if request.param == "https" else None
    with s3_server(directory, certificate=certificate) as served:
        yield served


@pytest.fixture
def aws(server: Server, tmp_path: Path) -> Run:
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ENDPOINT_URL": server.url,
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": server.region,
        "AWS_EC2_METADATA_DISABLED": "true",
        "NO_PROXY": "127.0.0.1",
    }
    if server.cert:
        environ["AWS_CA_BUNDLE"] = str(server.cert)

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [AWS, *arguments], env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.skipif(not AWS.exists(), reason="the AWS CLI is not installed")
def test_up_and_down(aws: Run, tmp_path: Path) -> None:
    small, large = b"small", noise(12 * MIB)
    (tmp_path / "small").write_bytes(small)
    (tmp_path / "large").write_bytes(large)
    assert "make_bucket: cli" in aws("s3", "mb", "s3://cli")
    aws("s3", "cp", "small", "s3://cli/a b/small+1", "--no-progress")
    aws("s3", "cp", "large", "s3://cli/large", "--no-progress")
    aws("s3", "cp", "s3://cli/large", "s3://cli/copy", "--no-progress")
    listed = aws("s3", "ls", "s3://cli", "--recursive")
    assert [line.split(maxsplit=3)[2:] for line in listed.splitlines()] == [
        ["5", "a b/small+1"],
        [str(len(large)), "copy"],
        [str(len(large)), "large"],
    ]
    aws("s3", "sync", "s3://cli", "down", "--no-progress")
    assert (tmp_path / "down/a b/small+1").read_bytes() == small
    aws("s3", "cp", "s3://cli/copy", "large-again", "--no-progress")
    assert (tmp_path / "large-again").read_bytes() == (tmp_path / "down/large").read_bytes() == large
    aws("s3", "rb", "s3://cli", "--force")
    assert aws("s3", "ls") == ""
