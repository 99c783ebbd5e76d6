"""Access keys: who may sign requests, and what for."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from tarry.core.policy import Policy


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key pair. ``principal_arn`` is what GetCallerIdentity shows for it.

    Pairs of one name belong together: a rotation makes a second one. An inactive key signs nothing. Without a policy a key may
    do everything. ``instance_id``: it was made for this instance and ends with it; nobody else has it.
    """

    id: str
    secret: str = field(repr=False)
    name: str
    principal_arn: str
    created_at_us: int
    active: bool = True
    policy: Policy | None = None
    instance_id: str | None = None


HIDDEN = "***"
_GIVES_AWAY = 8
"""So many characters of a secret are hidden, fewer are any text's."""


def without_secrets(line: str, secrets: Iterable[str]) -> str:
    """A line of text with *** in place of each secret, also where the line begins or ends in the middle of one."""
    for secret in secrets:
        line = line.replace(secret, HIDDEN)
        sizes = range(len(secret) - 1, _GIVES_AWAY - 1, -1)
        begun = next((size for size in sizes if line.endswith(secret[:size])), 0)
        line = line[: len(line) - begun] + HIDDEN if begun else line
        rest = next((size for size in sizes if line.startswith(secret[-size:])), 0)
        line = HIDDEN + line[rest:] if rest else line
    return line
