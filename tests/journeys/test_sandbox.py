"""Instances of a whole server in bubblewrap, and what a server without it says."""

import json
import os
import pwd
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from tests.support import deploy
from tests.support.engines import sandbox_of
from tests.support.server_process import ServerProcess

SEE = """
import os
seen = {"home": os.environ["HOME"], "data": os.path.exists(%r), "opt": os.listdir("/opt/ml")}
"""


@pytest.fixture
async def can_sandbox(tmp_path: Path) -> None:
    """Skips the test where bubblewrap cannot be used."""
    await sandbox_of("bubblewrap", tmp_path)


@pytest.fixture
def sandboxed(tmp_path: Path, can_sandbox: None) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path / "data", settings={"TARRY_ENGINE__SANDBOX": "bubblewrap"}) as server:
        yield server


def test_a_models_code_does_not_see_the_servers_data(sandboxed: ServerProcess) -> None:
    bucket = deploy.bucket(sandboxed, "sandbox")
    deploy.endpoint(sandboxed, "boxed", bucket)
    body = deploy.wish(run=SEE % str(sandboxed.data_dir / "credentials"))
    answer = sandboxed.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="boxed", Body=body)
    assert json.loads(deploy.read(sandboxed, answer["OutputLocation"])) == {
        "home": "/home/model-server",
        "data": False,
        "opt": ["model"],
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED HERE: needs root")
def test_a_server_of_root_lets_instances_become_another_user(
    tmp_path: Path, can_sandbox: None, request: pytest.FixtureRequest
) -> None:
    """Also where its umask would keep them from all that it writes, as a service's may."""
    request.addfinalizer(partial(os.umask, os.umask(0o077)))
    with ServerProcess(tmp_path / "data", settings={"TARRY_ENGINE__USER": "nobody"}) as server:
        deploy.endpoint(server, "nobody", deploy.bucket(server, "nobodys"))
        code = "import os, boto3; boto3.client('s3').put_object(Bucket='nobodys', Key='k', Body=b'x'); seen = os.getuid()"
        answer = server.client("sagemaker-runtime").invoke_endpoint_async(EndpointName="nobody", Body=deploy.wish(run=code))
        assert json.loads(deploy.read(server, answer["OutputLocation"])) == pwd.getpwnam("nobody").pw_uid
    code_of, said = ServerProcess(tmp_path / "data", settings={"TARRY_ENGINE__USER": "no-such-user"}).run_to_end()
    assert code_of == 1
    assert "this machine has no user 'no-such-user'" in said


def _bare_path(tmp_path: Path) -> str:
    """A PATH on which there is no bubblewrap."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "cp", "env"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    return str(tmp_path / "bin")


def test_a_server_that_must_have_a_sandbox_does_not_start_without(tmp_path: Path) -> None:
    settings = {"TARRY_ENGINE__SANDBOX": "bubblewrap", "PATH": _bare_path(tmp_path)}
    code, said = ServerProcess(tmp_path / "data", settings=settings).run_to_end()
    assert code == 1
    assert "[engine] sandbox is bubblewrap, but bubblewrap (bwrap) is not installed. Install bubblewrap" in said
    assert "Traceback" not in said


def test_a_server_that_may_do_without_says_once_what_is_not_isolated(tmp_path: Path) -> None:
    with ServerProcess(tmp_path / "data", settings={"PATH": _bare_path(tmp_path)}) as server:
        deploy.endpoint(server, "plain", deploy.bucket(server, "plain"))
        said = server.log.read_text()
    assert said.count("instances run without a sandbox") == 1
    assert "keys, data, other instances" in said
