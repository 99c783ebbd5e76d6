"""Access keys: who may sign requests."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """A key pair. ``principal_arn`` is what GetCallerIdentity shows for it."""

    id: str
    secret: str
    name: str
    principal_arn: str
    created_at_us: int
