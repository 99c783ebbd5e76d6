"""What AWS's services look like on the wire: botocore's service descriptions, loaded once. We call such a description a *spec*.

Specs are our schemas: requests are parsed and validated, answers serialised, and refusals named by them. Only botocore's own
files and ours in ``aws/extensions`` are read; descriptions in the home directory of whoever starts the server are not.
"""

from functools import cache, cached_property
from pathlib import Path
from typing import Any, get_args

from botocore.loaders import Loader
from botocore.model import OperationModel, ServiceModel, Shape

from tarry.aws.auth.request import Family
from tarry.core.errors import Bug
from tarry.core.instance_types import LOCAL

__all__ = ["Family", "OperationModel", "Shape", "Spec", "load_spec"]

EXTENSIONS = Path(__file__).parent / "extensions"

SPECS_SERVED = ("iam", "sagemaker", "sagemaker-runtime", "s3", "sns", "sts", "tarry")
"""The services that this server can speak, by their botocore names."""


class Spec:
    """One service's description, with the few facts that the door asks for over and over kept at hand."""

    def __init__(self, name: str, model: ServiceModel) -> None:
        self.name = name
        self.model = model
        self.family: Family = _family(model)
        self.signing_name: str = model.signing_name
        self.api_version: str = model.api_version
        self.target_prefix: str = model.metadata.get("targetPrefix", "")
        self.json_version: str = model.metadata.get("jsonVersion", "1.1")
        self.xml_namespace: str = model.metadata.get("xmlNamespace", "")
        self.operation_names: frozenset[str] = frozenset(model.operation_names)
        self._operations: dict[str, OperationModel] = {}

    def operation(self, name: str) -> OperationModel | None:
        """The description of an operation, or None if the service has none of this name."""
        operation = self._operations.get(name)
        if operation is None and name in self.operation_names:
            operation = self._operations[name] = self.model.operation_model(name)
        return operation

    @cached_property
    def protocols(self) -> frozenset[str]:
        """Every protocol that the description offers; clients of different ages choose differently."""
        return frozenset(self.model.metadata.get("protocols") or [self.family])


@cache
def load_spec(name: str) -> Spec:
    """The spec of a service. The first call reads a file of up to a few MB; later ones are free.

    Errors: Bug if there is no such description.
    """
    loader = _loader()
    if name not in loader.list_available_services("service-2"):
        raise Bug(f"No service description is called {name!r}.")
    description = loader.load_service_model(name, "service-2")
    if name == "sagemaker":
        # OURS: AWS's own list has nothing but ml.*.
        description["shapes"]["ProductionVariantInstanceType"]["enum"].append(LOCAL)
    return Spec(name, ServiceModel(description, service_name=name))


@cache
def _loader() -> Any:
    # OURS: a description in ~/.aws/models would change what the server accepts with the home directory it is started from.
    paths = [Loader.BUILTIN_DATA_PATH, str(EXTENSIONS)]
    return Loader(extra_search_paths=paths, include_default_search_paths=False)


def _family(model: ServiceModel) -> Family:
    protocol: Any = model.resolved_protocol
    if protocol not in get_args(Family):
        raise Bug(f"The service {model.service_name!r} speaks {protocol!r}, for which there is no codec.")
    family: Family = protocol
    return family
