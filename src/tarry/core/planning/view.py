"""What a plan is made from: an endpoint and all that belongs to it, as the rows and the engine show it."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tarry.core.deployment import Deployment, Routing
from tarry.core.endpoint import Endpoint
from tarry.core.instance import Instance


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointView:
    """An endpoint and all that belongs to it, as observed.

    ``instances`` were read before ``busy``: an instance that is Draining in the one and not busy in the other stays so.
    """

    endpoint: Endpoint
    deployments: tuple[Deployment, ...]
    """Those that are not Stopped."""
    instances: tuple[Instance, ...]
    """All rows, ended ones too."""
    routing: Routing | None
    now_us: int
    attended: frozenset[str] = frozenset()
    """Ids of instances that this process is looking after."""
    running: frozenset[str] = frozenset()
    """Ids of instances that the engine knows."""
    busy: Mapping[str, int] = field(default_factory=dict)
    """Draining instances that have Running invocations, by id, with the longest time limit of those in seconds."""
    ringing: frozenset[str] = frozenset()
    """Names of the alarms that are in ALARM, of those that a rollout under way is watched by."""
    unread_alarms: frozenset[str] = frozenset()
    """Names of those that could not be read: nobody knows whether they are in ALARM."""
    unfinished: bool = False
    """Whether an endpoint that is being deleted has invocations that have not ended."""
    freed_at_us: int = 0
    """When an instance of any endpoint last ended: what had no room before may have some now."""
    provision_timeout_s: int = 0
    """How long room is waited for, for variants that do not say so themselves."""
