"""Real images, by the references that models name: pulled when the policy says so, with Docker's own logins."""

import asyncio
import base64
import binascii
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from tarry.backends.engines.docker_api import DockerApi, DockerRefused
from tarry.backends.image_references import ImageReference
from tarry.core.errors import ImageBroken, ImageNotFound

PullPolicy = Literal["always", "if-missing", "never"]

_DOCKER_HUB = "https://index.docker.io/v1/"
_LOGIN_WORDS = ("denied", "unauthorized", "authentication required", "no basic auth")
_ABSENT_WORDS = ("not found", "manifest unknown", "does not exist", "no such image")
_SAY_EVERY_S = 10.0
_HELPER_S = 30.0
_TOKEN_USER = "<token>"  # noqa: S105 - a helper's word for: the secret is a token
_MIB = 2**20


class DockerImages:
    """ports.Images on a Docker daemon: any well-formed reference may exist, whether it does is seen at the start."""

    def __init__(self, api: DockerApi, policy: PullPolicy, logins: "Logins", progress: Callable[[str], None]) -> None:
        self._api = api
        self._policy = policy
        self._logins = logins
        self._progress = progress

    async def check(self, reference: str) -> None:
        """Raise ImageNotFound for what is no image reference."""
        parse(reference)

    async def served_at_once(self, reference: str, environment: Mapping[str, str]) -> int | None:
        """See ports.Images. Images do not say it."""
        return None

    async def provide(self, reference: str) -> None:
        """Make sure that the daemon has the image. Errors: ImageNotFound, ImageBroken, both with what to do; DockerAway."""
        whole, registry = parse(reference)
        if self._policy != "always" and await self._api.has_image(whole):
            return
        if self._policy == "never":
            raise ImageNotFound(
                f'The image "{reference}" is not on this machine, and [engine] docker_pull is "never". Pull or build it first, '
                'or set docker_pull to "if-missing".'
            )
        login = await self._logins.find(registry)
        progress = _PullProgress(reference, self._progress)
        try:
            async with contextlib.aclosing(self._api.pull(whole, login)) as words:
                async for said in words:
                    progress.hear(said)
        except DockerRefused as error:
            raise _pull_failed(reference, registry, str(error), absent=self._policy != "always") from error
        self._progress(f"pulled {reference}")


def parse(reference: str) -> tuple[str, str]:
    """The reference with its tag (``latest`` if it has none), and its registry's name. Errors: ImageNotFound."""
    named = ImageReference.parse(reference)
    whole = reference if named.tag or named.digest else f"{reference}:latest"
    return whole, named.registry or _DOCKER_HUB


class Logins:
    """The logins of a Docker ``config.json``: written there by ``docker login``, or asked of the helpers that it names."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def find(self, registry: str) -> Mapping[str, str] | None:
        """What Docker's API takes as login at a registry; None where there is none. Errors: ImageBroken."""
        config = self._read()
        helper = config.get("credHelpers", {}).get(registry) or config.get("credsStore")
        if helper and (login := await self._ask(str(helper), registry)) is not None:
            return login
        names = (registry, f"https://{registry}", f"https://{registry}/v1/", f"https://{registry}/v2/")
        entries = config.get("auths", {})
        return next((login for name in names if (login := _login(entries.get(name) or {})) is not None), None)

    def _read(self) -> Mapping[str, Any]:
        try:
            config = json.loads(self._file.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise ImageBroken(f"{self._file}, which has the logins at registries, cannot be read: {error}.") from error
        return config if isinstance(config, dict) else {}

    async def _ask(self, helper: str, registry: str) -> Mapping[str, str] | None:
        """Docker's protocol for credential helpers: the registry on standard input, JSON on standard output."""
        program = shutil.which(f"docker-credential-{helper}")
        if program is None:
            raise ImageBroken(f"{self._file} names docker-credential-{helper}, which is not on the PATH: install it.")
        process = await asyncio.create_subprocess_exec(
            program, "get", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        try:
            async with asyncio.timeout(_HELPER_S):
                said, _ = await process.communicate(registry.encode())
        except TimeoutError as error:
            raise ImageBroken(f"{program} did not answer within {_HELPER_S:.0f} seconds.") from error
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        text = said.decode("utf-8", "replace").strip()
        if process.returncode != 0:
            if "not found" in text:
                return None
            raise ImageBroken(f"{program} gave no login for {registry}: {text[:200]}")
        try:
            answer = json.loads(text)
            user, secret = str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise ImageBroken(f"{program} gave an answer without Username and Secret.") from error
        return {"identitytoken": secret} if user == _TOKEN_USER else {"username": user, "password": secret}


def _login(entry: Mapping[str, Any]) -> Mapping[str, str] | None:
    if entry.get("identitytoken"):
        return {"identitytoken": str(entry["identitytoken"])}
    if entry.get("username"):
        return {"username": str(entry["username"]), "password": str(entry.get("password", ""))}
    try:
        user, separator, password = base64.b64decode(str(entry.get("auth", ""))).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return {"username": user, "password": password} if separator else None


def _pull_failed(reference: str, registry: str, message: str, *, absent: bool) -> ImageNotFound | ImageBroken:
    """``absent``: the daemon was seen not to have the image."""
    here = "is not on this machine and " if absent else ""
    said, small = f'The image "{reference}" {here}could not be pulled: {message.rstrip(".")}.', message.lower()
    if any(word in small for word in _LOGIN_WORDS):
        where = "" if registry == _DOCKER_HUB else f" {registry}"
        return ImageNotFound(
            f"{said} Check its name; if the registry wants a login, run docker login{where} as the user of the server, or name "
            "another config.json in [engine] docker_config."
        )
    if any(word in small for word in _ABSENT_WORDS):
        return ImageNotFound(f"{said} Check its name and tag.")
    return ImageBroken(
        f"{said} If it is an image of your own, build or load it on this machine (docker build, docker load); else check that "
        "the Docker daemon can reach the registry."
    )


class _PullProgress:
    """Now and then a line on how far a pull has come, over all its layers."""

    def __init__(self, reference: str, say: Callable[[str], None]) -> None:
        self._reference = reference
        self._say = say
        self._layers: dict[str, tuple[int, int]] = {}
        self._say_at = time.monotonic() + _SAY_EVERY_S
        say(f"pulling {reference}")

    def hear(self, said: Mapping[str, Any]) -> None:
        """Take one of the daemon's words about the pull."""
        detail = said.get("progressDetail") or {}
        if said.get("status") == "Downloading" and "total" in detail:
            self._layers[str(said.get("id"))] = (int(detail.get("current", 0)), int(detail["total"]))
        if self._layers and time.monotonic() >= self._say_at:
            self._say_at = time.monotonic() + _SAY_EVERY_S
            done, total = (sum(numbers) // _MIB for numbers in zip(*self._layers.values(), strict=True))
            self._say(f"pulling {self._reference}: {done} of {total} MiB")
