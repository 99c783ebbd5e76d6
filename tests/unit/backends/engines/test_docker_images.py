"""References, logins and pulls, as far as they need no daemon."""

import base64
import json
import os
import stat
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from tarry.backends.engines import docker_images
from tarry.backends.engines.docker_api import DockerApi, DockerRefused
from tarry.backends.engines.docker_images import DockerImages, Logins, PullPolicy, parse
from tarry.core.errors import ImageBroken, ImageNotFound

HUB = "https://index.docker.io/v1/"
DIGEST = f"sha256:{'a' * 64}"


@pytest.mark.parametrize(
    ("reference", "whole", "registry"),
    [
        ("my-model", "my-model:latest", HUB),
        ("team/my-model:1.0-cpu_py3", "team/my-model:1.0-cpu_py3", HUB),
        ("localhost/my-model:1", "localhost/my-model:1", "localhost"),
        ("127.0.0.1:5000/my-model", "127.0.0.1:5000/my-model:latest", "127.0.0.1:5000"),
        (f"registry.example.com/a/b@{DIGEST}", f"registry.example.com/a/b@{DIGEST}", "registry.example.com"),
        (f"registry.example.com/a/b:1@{DIGEST}", f"registry.example.com/a/b:1@{DIGEST}", "registry.example.com"),
        (
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:0.90-1-cpu-py3",
            "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:0.90-1-cpu-py3",
            "683313688378.dkr.ecr.us-east-1.amazonaws.com",
        ),
    ],
)
def test_a_reference_has_a_tag_and_a_registry(reference: str, whole: str, registry: str) -> None:
    assert parse(reference) == (whole, registry)


@pytest.mark.parametrize(
    "reference",
    [
        "",
        "My-Model:1",
        "a b",
        "../containers/json?all=1",
        "model:1/../../x",
        "model:",
        "model@sha256:12",
        "/model",
        "a//:1",
        "a//b:1",
        "a/../b:1",
        "a/./b:1",
        "a/b/:1",
        "-a:1",
        "model:1\n",
        "a?b",
        "x" * 256,
    ],
)
async def test_what_is_no_reference_never_becomes_a_path_of_the_api(reference: str) -> None:
    with pytest.raises(ImageNotFound, match="is not an image reference"):
        await images(Daemon()).check(reference)


# ------------------------------------------------------------------------------------------------------------------ pulls


class Daemon:
    """Stands where the daemon's API would: it has some images, and pulls end as it is told."""

    def __init__(self, *images: str, error: str | None = None) -> None:
        self.images = set(images)
        self.error = error
        self.pulled: list[tuple[str, Mapping[str, str] | None]] = []

    async def has_image(self, reference: str) -> bool:
        return reference in self.images

    async def pull(self, reference: str, login: Mapping[str, str] | None) -> AsyncGenerator[Mapping[str, Any]]:
        self.pulled.append((reference, login))
        yield {"status": "Downloading", "id": "layer", "progressDetail": {"current": 100 << 20, "total": 300 << 20}}
        if self.error is not None:
            raise DockerRefused(0, self.error)
        self.images.add(reference)


def images(daemon: Daemon, policy: PullPolicy = "if-missing", config: Path = Path("/nowhere")) -> DockerImages:
    return DockerImages(cast("DockerApi", daemon), policy, Logins(config), lambda _: None)


@pytest.mark.parametrize(
    ("policy", "there", "pulls"), [("always", True, 1), ("always", False, 1), ("if-missing", True, 0), ("if-missing", False, 1)]
)
async def test_the_policy_says_when_an_image_is_pulled(policy: PullPolicy, there: bool, pulls: int) -> None:
    daemon = Daemon(*["model:1"] * there)
    await images(daemon, policy).provide("model:1")
    assert len(daemon.pulled) == pulls


async def test_an_image_that_must_not_be_pulled_has_to_be_there() -> None:
    daemon = Daemon("model:1")
    await images(daemon, "never").provide("model:1")
    with pytest.raises(ImageNotFound, match=r'"model:2" is not on this machine.*Pull or build it first'):
        await images(daemon, "never").provide("model:2")
    assert daemon.pulled == []


@pytest.mark.parametrize(
    ("said", "error", "advice"),
    [
        ("pull access denied for model, repository does not exist", ImageNotFound, "run docker login r.example.com as the user"),
        ("unauthorized: authentication required", ImageNotFound, "run docker login r.example.com"),
        ("manifest for r.example.com/model:1 not found: manifest unknown", ImageNotFound, "Check its name and tag"),
        (
            "Get https://r.example.com/v2/: dial tcp: lookup: no such host",
            ImageBroken,
            "build or load it on this machine .*can reach the registry",
        ),
    ],
)
async def test_a_pull_that_fails_says_what_to_do(said: str, error: type[Exception], advice: str) -> None:
    with pytest.raises(error, match=advice) as caught:
        await images(Daemon(error=said)).provide("r.example.com/model:1")
    assert f'The image "r.example.com/model:1" is not on this machine and could not be pulled: {said}.' in str(caught.value)
    with pytest.raises(error, match='1" could not be pulled: '):
        await images(Daemon(error=said), "always").provide("r.example.com/model:1")


async def test_how_far_a_pull_has_come_is_told_in_mebibytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(docker_images, "_SAY_EVERY_S", 0.0)
    said: list[str] = []
    await DockerImages(cast("DockerApi", Daemon()), "always", Logins(Path("/nowhere")), said.append).provide("model:1")
    assert said == ["pulling model:1", "pulling model:1: 100 of 300 MiB", "pulled model:1"]


# ----------------------------------------------------------------------------------------------------------------- logins


def config(directory: Path, **content: Any) -> Path:
    file = directory / "config.json"
    file.write_text(json.dumps(content))
    return file


def basic(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


async def test_a_login_comes_from_the_file_that_docker_login_writes(tmp_path: Path) -> None:
    file = config(
        tmp_path,
        auths={
            "r.example.com": basic("ann", "with:colon"),
            "https://old.example.com/v1/": basic("bob", "b"),
            "https://new.example.com/v2/": basic("cho", "c"),
            HUB: {"username": "hub", "password": "h"},
            "token.example.com": {"auth": "", "identitytoken": "t"},
            "empty.example.com": {},
        },
    )
    daemon = Daemon()
    await images(daemon, config=file).provide("r.example.com/model:1")
    assert daemon.pulled == [("r.example.com/model:1", {"username": "ann", "password": "with:colon"})]
    logins = Logins(file)
    assert await logins.find("old.example.com") == {"username": "bob", "password": "b"}
    assert await logins.find("new.example.com") == {"username": "cho", "password": "c"}
    assert await logins.find(HUB) == {"username": "hub", "password": "h"}
    assert await logins.find("token.example.com") == {"identitytoken": "t"}
    assert await logins.find("empty.example.com") is None
    assert await logins.find("other.example.com") is None


async def test_without_a_file_there_is_no_login_and_a_broken_one_is_named(tmp_path: Path) -> None:
    assert await Logins(tmp_path / "config.json").find(HUB) is None
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ImageBroken, match=r"config\.json.*cannot be read"):
        await Logins(tmp_path / "config.json").find(HUB)


def helper(directory: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    program = directory / "docker-credential-test"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{directory}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.parametrize("how", [{"credHelpers": {"r.example.com": "test"}}, {"credsStore": "test"}])
async def test_a_helper_is_asked_for_the_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict[str, Any]) -> None:
    helper(tmp_path, monkeypatch, """read -r registry; echo "{\\"Username\\": \\"of $registry\\", \\"Secret\\": \\"s\\"}" """)
    login = await Logins(config(tmp_path, **how)).find("r.example.com")
    assert login == {"username": "of r.example.com", "password": "s"}


async def test_a_registrys_own_helper_comes_before_the_one_for_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper(tmp_path, monkeypatch, """echo '{"Username": "own", "Secret": "s"}'""")
    logins = Logins(config(tmp_path, credHelpers={"r.example.com": "test"}, credsStore="not-installed"))
    assert await logins.find("r.example.com") == {"username": "own", "password": "s"}
    with pytest.raises(ImageBroken, match="docker-credential-not-installed"):
        await logins.find("other.example.com")


async def test_a_helper_may_give_a_token_or_know_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = config(tmp_path, credsStore="test", auths={"r.example.com": basic("ann", "a")})
    helper(tmp_path, monkeypatch, """echo '{"Username": "<token>", "Secret": "t"}'""")
    assert await Logins(file).find("r.example.com") == {"identitytoken": "t"}
    helper(tmp_path, monkeypatch, "echo credentials not found in native keychain; exit 1")
    assert await Logins(file).find("r.example.com") == {"username": "ann", "password": "a"}


@pytest.mark.parametrize(
    ("script", "words"), [("echo locked; exit 1", "gave no login for r.example.com: locked"), ("echo {}", "Username")]
)
async def test_a_helper_that_fails_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, words: str) -> None:
    helper(tmp_path, monkeypatch, script)
    with pytest.raises(ImageBroken, match=f"docker-credential-test.*{words}"):
        await Logins(config(tmp_path, credsStore="test")).find("r.example.com")
    with pytest.raises(ImageBroken, match="docker-credential-none, which is not on the PATH"):
        await Logins(config(tmp_path, credsStore="none")).find("r.example.com")
