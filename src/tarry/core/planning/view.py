"""What a plan is made from: an endpoint and all that belongs to it, as the rows and the engine show it."""

from dataclasses import dataclass

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
    busy: frozenset[str] = frozenset()
    """Ids of Draining instances that have Running invocations."""
    unfinished: bool = False
    """Whether an endpoint that is being deleted has invocations that have not ended."""
