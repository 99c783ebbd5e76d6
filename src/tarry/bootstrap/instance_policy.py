"""What the keys of instances may do, where the settings say so."""

from pathlib import Path

from tarry.core.errors import InvalidRequest
from tarry.core.policy import Policy, read_policy


def read_instance_policy(file: Path | None) -> Policy | None:
    """The policy in the file that ``[engine] instance_policy`` names. Errors: InvalidRequest: what is wrong with it."""
    if file is None:
        return None
    try:
        return read_policy(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"[engine] instance_policy: {file} cannot be read: {error}.") from None
    except InvalidRequest as error:
        raise InvalidRequest(f"[engine] instance_policy: {file}: {error}") from None
