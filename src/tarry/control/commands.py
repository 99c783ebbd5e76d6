"""All commands of the control plane, connected."""

from tarry.control.context import Context
from tarry.control.endpoint_configs import EndpointConfigCommands
from tarry.control.endpoints import EndpointCommands
from tarry.control.models import ModelCommands
from tarry.control.tags import TagCommands
from tarry.core.names import Scope
from tarry.ports import Alarms, Clock, Ids, Store


class Commands:
    """What callers can ask of models, endpoint configurations, endpoints and tags."""

    def __init__(self, store: Store, clock: Clock, ids: Ids, scope: Scope, alarms: Alarms) -> None:
        context = Context(store=store, clock=clock, ids=ids, scope=scope)
        self.models = ModelCommands(context)
        self.endpoint_configs = EndpointConfigCommands(context)
        self.endpoints = EndpointCommands(context, alarms)
        self.tags = TagCommands(context)
