"""No member of a request can be forgotten: botocore's shapes are walked against the tables."""

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest

from tarry.aws.services.sagemaker.members import HONOURED, MEMBERS, take
from tarry.core.errors import NotSupported

OPERATIONS = (
    "CreateModel",
    "CreateEndpointConfig",
    "CreateEndpoint",
    "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
    "AddTags",
    "ListTags",
    "DeleteTags",
)
SPEC = botocore.session.get_session().get_service_model("sagemaker")


def _structures(shape: Any, seen: set[str]) -> Iterator[Any]:
    """The structure and all that its honoured members lead to."""
    while shape.type_name == "list":
        shape = shape.member
    if shape.type_name != "structure" or shape.name in seen:
        return
    seen.add(shape.name)
    yield shape
    for name, member in shape.members.items():
        if MEMBERS.get(shape.name, {}).get(name) is HONOURED:
            yield from _structures(member, seen)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_every_member_is_honoured_described_back_or_refused(operation: str) -> None:
    for shape in _structures(SPEC.operation_model(operation).input_shape, set()):
        assert set(MEMBERS[shape.name]) == set(shape.members), shape.name


def test_a_refusal_names_the_member_and_the_reason() -> None:
    with pytest.raises(NotSupported, match=r"^ServerlessConfig is not supported: asynchronous endpoints run on instances"):
        take("ProductionVariant", {"VariantName": "A", "ServerlessConfig": {}})


def test_a_member_of_a_newer_botocore_is_refused() -> None:
    with pytest.raises(NotSupported, match=r"^Quantum is not supported"):
        take("ProductionVariant", {"Quantum": 1})


def test_what_has_no_meaning_here_is_kept() -> None:
    assert take("ProductionVariant", {"VariantName": "A", "VolumeSizeInGB": 5, "EnableSSMAccess": None}) == {"VolumeSizeInGB": 5}
