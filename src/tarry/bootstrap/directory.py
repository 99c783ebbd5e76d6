"""The data directory DIR: one server at a time, one account and region for ever, and two files that scripts read.

``credentials`` holds the first key pair in AWS's ini form; ``server.json`` says where the running server listens. Every file is
written under a temporary name, synced and renamed, so that no reader and no crash sees half of one.
"""

import configparser
import contextlib
import fcntl
import io
import json
import stat
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from tarry.core.errors import InvalidRequest
from tarry.core.names import Scope
from tarry.files import make_directory, write_file

PROFILE = "default"
ACCOUNT_ID_DEFAULT = "123456789012"
REGION_DEFAULT = "us-east-1"
SCOPE_FILE = "scope.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """What ``server.json`` says."""

    url: str
    pid: int
    tls_cert: str | None = None
    engine: str | None = None
    """The kind of its engine."""
    environments: str | None = None
    """Where the process engine's environments are."""


class NoCredentials(InvalidRequest):
    """No server has been started on the directory yet."""


class DataDirectory:
    """The files of DIR that belong to no other part."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._lock: IO[str] | None = None

    @property
    def database(self) -> Path:
        """The database file."""
        return self.root / "tarry.db"

    def open(self) -> None:
        """Make DIR (0700) and take its lock.

        Errors: InvalidRequest where another server runs on it, or DIR is no directory or not ours.
        """
        try:
            make_directory(self.root)  # durably: all that is promised lies in it
            if stat.S_IMODE(self.root.stat().st_mode) & 0o077:
                self.root.chmod(0o700)
            lock = (self.root / "lock").open("a+", encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"The data directory {self.root} cannot be used: {error.strerror}.") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise InvalidRequest(
                f"Another server is running on {self.root}{self._who()}. Stop it first, or choose another --data-dir."
            ) from None
        self._lock = lock
        self.remove_server()  # of one that was killed

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def fix_scope(self, wanted_region: str | None, wanted_account: str | None) -> Scope:
        """The account and region of DIR, fixed at its first start; None takes what DIR has, or the default for a new one.

        Errors: InvalidRequest naming both values where another one is wanted now.
        """
        known = self._known_scope()
        if known is None:
            scope = Scope(account_id=wanted_account or ACCOUNT_ID_DEFAULT, region=wanted_region or REGION_DEFAULT)
            content = json.dumps({"account_id": scope.account_id, "region": scope.region})
            write_file(self.root / SCOPE_FILE, content.encode() + b"\n")
            return scope
        for what, wanted, has in (("region", wanted_region, known.region), ("account_id", wanted_account, known.account_id)):
            if wanted is not None and wanted != has:
                raise InvalidRequest(
                    f"{self.root} was made for {what} {has!r} and cannot be served as {wanted!r}: use another --data-dir."
                )
        return known

    def write_credentials(self, access_key_id: str, secret: str) -> None:
        """Write the first key pair, readable by the owner only."""
        ini = configparser.ConfigParser(interpolation=None)
        ini[PROFILE] = {"aws_access_key_id": access_key_id, "aws_secret_access_key": secret}
        text = io.StringIO()
        ini.write(text)
        write_file(self.root / "credentials", text.getvalue().encode())

    def read_credentials(self) -> tuple[str, str]:
        """The first key pair. Errors: NoCredentials, or InvalidRequest where the file is damaged."""
        ini = configparser.ConfigParser(interpolation=None)
        path = self.root / "credentials"
        try:
            if not ini.read(path, encoding="utf-8"):
                raise NoCredentials(
                    f"No credentials in {self.root}: start a server on it first (tarry serve --data-dir {self.root})."
                )
            return ini[PROFILE]["aws_access_key_id"], ini[PROFILE]["aws_secret_access_key"]
        except (configparser.Error, UnicodeDecodeError, KeyError):
            raise InvalidRequest(f"{path} is damaged. Move it away: the next start makes a new key pair.") from None

    def read_scope(self) -> Scope:
        """The account and region of DIR. Errors: InvalidRequest where no server has ever been started on it, or it is damaged."""
        known = self._known_scope()
        if known is None:
            raise InvalidRequest(
                f"{self.root} has no account and region yet: start a server on it first (tarry serve --data-dir {self.root})."
            )
        return known

    def read_region(self) -> str:
        """The region of DIR."""
        return self.read_scope().region

    def write_server(self, info: ServerInfo) -> None:
        """Say where the server listens; written after the bind."""
        write_file(self.root / "server.json", json.dumps(asdict(info), indent=2).encode() + b"\n")

    def read_server(self) -> ServerInfo:
        """Where the server listens. Errors: InvalidRequest where none does, also if a killed one left its file behind."""
        known: dict[str, Any] = {}
        with contextlib.suppress(FileNotFoundError):
            if self._is_locked():
                known = json.loads((self.root / "server.json").read_text("utf-8"))
        if not known:
            raise InvalidRequest(f"No server is running on {self.root}: start one with tarry serve --data-dir {self.root}.")
        return ServerInfo(**known)

    def remember_engine(self, kind: str) -> str | None:
        """Note which kind of engine starts now; that of the start before, None for the first."""
        file = self.root / "engine-kind"
        before = file.read_text("utf-8").strip() if file.exists() else None
        if before != kind:
            write_file(file, f"{kind}\n".encode())
        return before

    def is_starting(self) -> bool:
        """Whether a server holds the directory and does not say yet where it listens."""
        return (self.root / "lock").exists() and self._is_locked() and not (self.root / "server.json").exists()

    def remove_server(self) -> None:
        """The server has stopped."""
        (self.root / "server.json").unlink(missing_ok=True)

    def _known_scope(self) -> Scope | None:
        """What is fixed; None on a new directory. Errors: InvalidRequest where the file is damaged."""
        path = self.root / SCOPE_FILE
        try:
            known = json.loads(path.read_text("utf-8"))
            return Scope(account_id=str(known["account_id"]), region=str(known["region"]))
        except FileNotFoundError:
            return None
        except (ValueError, TypeError, KeyError):
            raise InvalidRequest(
                f'{path} is damaged: it has to say {{"account_id": "...", "region": "..."}}. Write it anew with the values that '
                f"{self.root} was made for (they stand in every ARN)."
            ) from None

    def _is_locked(self) -> bool:
        with (self.root / "lock").open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False

    def _who(self) -> str:
        try:
            info = self.read_server()
        except (InvalidRequest, ValueError, TypeError):
            return ""
        return f" (process {info.pid}, {info.url})"
