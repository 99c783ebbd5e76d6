"""The compatibility page says what the registry says."""

from typing import Any

from tarry.aws.call import Call, Params, Service
from tarry.aws.compatibility import operations, render_markdown
from tarry.aws.services.sts import sts_service


async def _nothing(call: Call, params: Params) -> Any:
    return {}


def test_every_operation_of_the_description_is_listed() -> None:
    services = {"sts": sts_service(), "sns": Service(name="sns", operations={"Publish": _nothing})}
    listed = {(item.service, item.operation): item.implemented for item in operations(services)}
    assert len(listed) == 11 + 42
    assert [pair for pair, implemented in listed.items() if implemented] == [("sns", "Publish"), ("sts", "GetCallerIdentity")]


def test_page() -> None:
    page = render_markdown({"sts": sts_service()})
    assert "| sts | query | 1 | 0 | 11 |" in page
    assert "* GetCallerIdentity" in page
    assert "AssumeRole" not in page


def test_what_only_refuses_is_not_counted_as_implemented() -> None:
    operations_here = {"InvokeEndpointAsync": _nothing, "InvokeEndpoint": _nothing}
    runtime = Service(name="sagemaker-runtime", operations=operations_here, refused=frozenset({"InvokeEndpoint"}))
    page = render_markdown({"sagemaker-runtime": runtime})
    assert "| sagemaker-runtime | rest-json | 1 | 1 | 3 |" in page
    assert "* InvokeEndpoint (refused)\n" in page
    assert "* InvokeEndpoint\n" not in page
