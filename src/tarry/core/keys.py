"""Access keys: who may sign requests, and what for."""

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
