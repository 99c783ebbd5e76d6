"""The table from the core's errors to AWS's words covers the whole tree, and names its sources."""

import boto3
import pytest
from botocore.exceptions import ClientError

from tarry.aws.errors import TABLE, internal_failure, not_implemented, translate
from tarry.aws.specs import EXTENSIONS
from tarry.core import errors as core

FAMILIES = {"sagemaker": "json", "sagemaker-runtime": "rest-json", "sns": "query", "sts": "query", "s3": "rest-xml"}
SAMPLES: list[core.TarryError] = [
    core.InvalidRequest("told"),
    core.NotSupported("told"),
    core.LimitExceeded("told"),
    core.Throttled("told"),
    core.AccessDenied("told"),
    core.NotFound("model", "told"),
    core.EndpointNotFound("told"),
    core.AlreadyExists("model", "told"),
    core.InProgress("told"),
    core.StorageFull("told"),
    core.BucketNotFound("told"),
    core.PublishError("told", permanent=True),
]


@pytest.mark.parametrize("service", FAMILIES)
@pytest.mark.parametrize("error", SAMPLES, ids=lambda error: type(error).__name__)
def test_each_error_has_words_that_say_what_happened(service: str, error: core.TarryError) -> None:
    told = translate(error, service=service, family=FAMILIES[service], account_id="123456789012")
    assert "told" in told.message
    assert 400 <= told.status < 600
    assert told.code not in ("InternalFailure", "InternalError")


@pytest.mark.parametrize("service", FAMILIES)
@pytest.mark.parametrize("error", [core.Bug("secret"), core.LeaseLost("secret")])
def test_races_and_bugs_stay_inside(service: str, error: core.TarryError) -> None:
    told = translate(error, service=service, family=FAMILIES[service], account_id="123456789012")
    assert told.status == 500
    assert "secret" not in told.message
    assert told.fault == "Receiver"


def test_the_waiters_depend_on_these_codes() -> None:
    not_found = core.NotFound("endpoint", "arn")
    assert translate(not_found, service="sagemaker", family="json", account_id="1").code == "ValidationException"
    runtime = translate(core.EndpointNotFound("e"), service="sagemaker-runtime", family="rest-json", account_id="1")
    assert (runtime.code, runtime.message) == ("ValidationError", "Endpoint e of account 1 not found.")
    assert runtime.extras == {"ErrorCode": "NO_SUCH_ENDPOINT"}
    assert translate(core.LimitExceeded("x"), service="sagemaker", family="json", account_id="1").code == "ResourceLimitExceeded"


def test_a_full_disk_is_never_taken_for_success() -> None:
    for service, family in FAMILIES.items():
        assert translate(core.StorageFull("full"), service=service, family=family, account_id="1").status >= 500


def test_every_row_names_its_source() -> None:
    assert all(row.source for table in TABLE.values() for row in table.values())


def test_refusals() -> None:
    assert internal_failure("rest-xml").code == "InternalError"
    assert internal_failure("json").code == "InternalFailure"
    assert not_implemented("rest-xml", "s3", "GetObjectAcl").code == "NotImplemented"
    assert "docs/compatibility.md" in not_implemented("json", "sagemaker", "X").message


def test_the_tarry_service_declares_the_errors_that_its_table_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DATA_PATH", str(EXTENSIONS))
    made = boto3.Session().client("tarry", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
    for error in (core.InvalidRequest("x"), core.NotFound("x", "y"), core.Throttled("x"), core.AccessDenied("x")):
        code = translate(error, service="tarry", family="json", account_id="1").code
        assert issubclass(getattr(made.exceptions, code), ClientError)
        for name in made.meta.service_model.operation_names:
            declared = {shape.name for shape in made.meta.service_model.operation_model(name).error_shapes}
            assert code in declared or (code == "ResourceNotFoundException" and name in {"CreateAccessKey", "ListAccessKeys"})
