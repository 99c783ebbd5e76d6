"""All commands of the control plane, connected."""

from tarry.control.context import Context
from tarry.control.endpoint_configs import EndpointConfigCommands
from tarry.control.endpoints import EndpointCommands
from tarry.control.invocations import InvocationCommands, InvocationPorts
from tarry.control.models import ModelCommands
from tarry.control.redrives import RedriveCommands
from tarry.control.tags import TagCommands
from tarry.ports import Alarms


class Commands:
    """What callers can ask of models, endpoint configurations, endpoints, tags and invocations."""

    def __init__(self, context: Context, alarms: Alarms, invocations: InvocationPorts) -> None:
        self.models = ModelCommands(context)
        self.endpoint_configs = EndpointConfigCommands(context)
        self.endpoints = EndpointCommands(context, alarms)
        self.tags = TagCommands(context)
        self.invocations = InvocationCommands(context, invocations)
        self.redrives = RedriveCommands(context, invocations, self.invocations)
