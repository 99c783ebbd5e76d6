"""What an engine starts carries a token of the data directory: by it a later server knows its own, and touches nothing else."""

import contextlib
import secrets
from pathlib import Path

from tarry.files import write_file

TOKEN_FILE = "engine-token"  # noqa: S105 - the name of a file, in the data directory


def read_or_make_token(file: Path) -> str:
    """The token of this data directory, made at its first use. Errors: OSError."""
    with contextlib.suppress(FileNotFoundError):
        if token := file.read_text("ascii").strip():
            return token
    file.parent.mkdir(parents=True, exist_ok=True)
    token = secrets.token_hex(16)
    write_file(file, token.encode("ascii"))
    return token
