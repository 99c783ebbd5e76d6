"""What the Docker engine is made of, and what is said where it cannot be."""

import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from tarry.backends.engines.variables import GATEWAY, Cloud
from tarry.bootstrap import docker
from tarry.bootstrap.docker import cloud_of_containers, docker_config, docker_host, open_docker
from tarry.core.errors import InvalidRequest
from tarry.settings import EngineSettings, ServerSettings, Settings, load


def test_the_socket_is_the_settings_or_dockers_own() -> None:
    assert docker_host(EngineSettings(docker_host="unix:///a"), {"DOCKER_HOST": "unix:///b"}) == "unix:///a"
    assert docker_host(EngineSettings(), {"DOCKER_HOST": "unix:///b"}) == "unix:///b"
    assert docker_host(EngineSettings(), {}) == "unix:///var/run/docker.sock"
    with pytest.raises(InvalidRequest, match="expected unix:///path/to/socket"):
        docker_host(EngineSettings(), {"DOCKER_HOST": "tcp://10.0.0.1:2375"})


def test_the_logins_are_the_settings_or_dockers_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/ann")
    assert docker_config(EngineSettings(docker_config=Path("/a.json")), {"DOCKER_CONFIG": "/b"}) == Path("/a.json")
    assert docker_config(EngineSettings(), {"DOCKER_CONFIG": "/b"}) == Path("/b/config.json")
    assert docker_config(EngineSettings(), {}) == Path("/home/ann/.docker/config.json")


@pytest.mark.parametrize(
    ("server", "public_url", "reached"),
    [
        ({}, "http://127.0.0.1:8780", None),
        ({"host": "localhost"}, "http://localhost:8780", None),
        ({"host": "::1"}, "http://[::1]:8780", None),
        ({"host": "10.0.0.1"}, "http://10.0.0.1:8780", "http://10.0.0.1:8780"),
        ({"host": "models.example.com"}, "http://models.example.com:8780", "http://models.example.com:8780"),
        ({"host": "0.0.0.0"}, "http://127.0.0.1:8780", f"http://{GATEWAY}:8780"),
        ({"host": "::"}, "http://[::1]:8780", f"http://{GATEWAY}:8780"),
        ({"public_url": "https://models.example.com"}, "https://models.example.com", "https://models.example.com"),
    ],
)
def test_containers_reach_the_server_where_it_listens_for_them(
    server: dict[str, Any], public_url: str, reached: str | None
) -> None:
    cloud = cloud_of_containers(ServerSettings(**server), public_url)
    assert cloud == (None if reached is None else Cloud(endpoint_url=reached))


@pytest.mark.parametrize(
    ("server", "words"),
    [
        ({}, ["cannot reach S3 and SNS"]),
        ({"public_url": "http://172.17.0.1:8780"}, ["but this server listens for this machine alone"]),
        ({"public_url": "http://172.17.0.1:8780", "host": "0.0.0.0"}, []),
        ({"host": "0.0.0.0"}, []),
    ],
)
def test_what_containers_will_not_reach_is_told(server: dict[str, Any], words: list[str]) -> None:
    settings = ServerSettings(**server)
    with capture_logs() as logs:
        docker._say_where_containers_reach(settings, cloud_of_containers(settings, settings.public_url or "http://127.0.0.1:1"))
    assert len(logs) == len(words)
    assert all(word in one["event"] and "server.host" in one["advice"] for word, one in zip(words, logs, strict=True))


def test_a_certificate_has_the_name_of_the_public_url_alone() -> None:
    tls = {"tls_cert": Path("/c.pem"), "tls_key": Path("/k.pem")}
    assert cloud_of_containers(ServerSettings(host="0.0.0.0", **tls), "https://127.0.0.1:8780") is None
    url = "https://models.example.com"
    assert cloud_of_containers(ServerSettings(public_url=url, **tls), url) == Cloud(endpoint_url=url, ca_bundle=Path("/c.pem"))


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('kind = "dokcer"', "engine.kind"),
        ('docker_host = "tcp://10.0.0.1:2375"', "engine.docker_host"),
        ('docker_network = "host"', "addresses of their own"),
        ('docker_pull = "sometimes"', "engine.docker_pull"),
        ("docker_memory_max_bytes = 5", "engine.docker_memory_max_bytes"),
    ],
)
def test_a_setting_that_cannot_be_is_named(tmp_path: Path, toml: str, words: str) -> None:
    (tmp_path / "tarry.toml").write_text(f"[engine]\n{toml}\n")
    with pytest.raises(InvalidRequest, match=words):
        load(tmp_path, {}, {})


async def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("tarry.backends.engines.docker")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiodocker", None)
    settings = Settings(data_dir=tmp_path)
    async with AsyncExitStack() as resources:
        with pytest.raises(InvalidRequest, match=r'needs the extra "docker".*pip install "tarry\[docker\]"'):
            await open_docker(settings, tmp_path, cast("Any", None), "eu-west-1", "http://127.0.0.1:1", resources)
