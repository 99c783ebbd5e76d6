"""The order in which one port tells its services apart."""

from typing import Any

import pytest

from tarry.aws.auth import RawRequest
from tarry.aws.call import Call, Params, Service
from tarry.aws.request import Request, join_headers
from tarry.aws.routing import Kind, route


async def _never(call: Call, params: Params) -> Any:
    raise AssertionError


SERVICES = {
    "sagemaker": Service(name="sagemaker", operations={}),
    "sagemaker-runtime": Service(name="sagemaker-runtime", operations={}),
    "s3": Service(name="s3", operations={}),
    "sns": Service(name="sns", operations={"Unsubscribe": _never}, unsigned=frozenset({"Unsubscribe"})),
    "sts": Service(name="sts", operations={}),
}
CREDENTIAL = "AKIA/20260101/us-east-1/{}/aws4_request"


def asked(method: str = "GET", target: str = "/", *, signed_for: str | None = None, **headers: str) -> Request:
    path, _, query = target.partition("?")
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    if signed_for is not None:
        given["authorization"] = f"AWS4-HMAC-SHA256 Credential={CREDENTIAL.format(signed_for)}, SignedHeaders=host, Signature=0"
    pairs = [(name.encode(), value.encode()) for name, value in given.items()]
    raw = RawRequest(method=method, raw_path=path.encode(), raw_query=query.encode(), headers=pairs, host="localhost")
    return Request(raw=raw, headers=join_headers(pairs))


PREFLIGHT = {"origin": "http://x", "access_control_request_method": "PUT"}
FORM = {"content_type": "application/x-www-form-urlencoded; charset=utf-8"}
PRESIGNED = "X-Amz-Credential=" + CREDENTIAL.format("s3").replace("/", "%2F")

TABLE = [
    # 1: the reserved prefix wins over everything, /health over everything unsigned
    (asked(target="/_tarry/x"), Kind.INTERNAL, ""),
    (asked(target="/_tarry/x", signed_for="s3"), Kind.INTERNAL, ""),
    (asked(target="/health"), Kind.HEALTH, ""),
    (asked(target="/health", signed_for="s3"), Kind.SIGNED, "s3"),
    (asked(target="/health?X-Amz-Signature=0&" + PRESIGNED), Kind.SIGNED, "s3"),
    (asked("PUT", target="/health"), Kind.UNSIGNED, "s3"),
    # 2: the credential scope's service, then the target or the path
    (asked("POST", signed_for="sagemaker", x_amz_target="SageMaker.ListModels"), Kind.SIGNED, "sagemaker"),
    (asked("POST", "/endpoints/e/invocations", signed_for="sagemaker"), Kind.SIGNED, "sagemaker-runtime"),
    (asked("POST", "/endpoints/e/x", signed_for="sagemaker", x_amz_target="SageMaker.X"), Kind.SIGNED, "sagemaker"),
    (asked("POST", signed_for="sagemaker"), Kind.SIGNED, "sagemaker"),
    (asked("POST", signed_for="sns"), Kind.SIGNED, "sns"),
    (asked("POST", signed_for="sts"), Kind.SIGNED, "sts"),
    (asked("GET", "/endpoints/e/invocations", signed_for="s3"), Kind.SIGNED, "s3"),
    (asked(target="/b/k?" + PRESIGNED), Kind.SIGNED, "s3"),
    (asked(target="/b/k?AWSAccessKeyId=A&Signature=x&Expires=1"), Kind.SIGNED, "s3"),
    (asked(authorization="AWS AKIA:sig", target="/b/k"), Kind.SIGNED, "s3"),
    (asked("POST", signed_for="ec2", **FORM), Kind.UNKNOWN_SERVICE, "ec2"),
    (asked("OPTIONS", signed_for="s3", **PREFLIGHT), Kind.SIGNED, "s3"),
    (asked(target="/?Action=Unsubscribe", signed_for="s3"), Kind.SIGNED, "s3"),
    # 3: a token is the proof, at GET / alone
    (asked(target="/?Action=Unsubscribe&SubscriptionArn=x"), Kind.TOKEN, "sns"),
    (asked("POST", "/?Action=Unsubscribe"), Kind.UNSIGNED, "sts"),
    (asked(target="/b?Action=Unsubscribe"), Kind.UNSIGNED, "sts"),
    (asked(target="/?Action=Publish"), Kind.UNSIGNED, "sts"),
    (asked(target="/?Action=Unsubscribe", authorization="junk"), Kind.UNSIGNED, "sts"),
    # 4: preflights
    (asked("OPTIONS", "/b/k", **PREFLIGHT), Kind.PREFLIGHT, ""),
    (asked("OPTIONS", "/b/k", origin="http://x"), Kind.UNSIGNED, "s3"),
    (asked("GET", "/b/k", **PREFLIGHT), Kind.UNSIGNED, "s3"),
    # 5: the rest by what it looks like
    (asked("POST", x_amz_target="SageMaker.ListModels"), Kind.UNSIGNED, "sagemaker"),
    (asked("POST", **FORM), Kind.UNSIGNED, "sts"),
    (asked("POST", "/endpoints/e/async-invocations"), Kind.UNSIGNED, "sagemaker-runtime"),
    (asked("GET", "/b/k"), Kind.UNSIGNED, "s3"),
    (asked("GET", "/"), Kind.UNSIGNED, "s3"),
    (asked("GET", "/b/k", authorization="AWS4-HMAC-SHA256 junk"), Kind.UNSIGNED, "s3"),
]


@pytest.mark.parametrize(("request_", "kind", "service"), TABLE)
def test_order(request_: Request, kind: Kind, service: str) -> None:
    found = route(request_, SERVICES)
    assert (found.kind, found.service) == (kind, service)


def test_each_service_is_told_in_its_own_protocol() -> None:
    families = {name: route(asked("POST", signed_for=name), SERVICES).family for name in ("sagemaker", "s3", "sns", "sts")}
    assert families == {"sagemaker": "json", "s3": "rest-xml", "sns": "query", "sts": "query"}
    assert route(asked("POST", "/endpoints/e/x", signed_for="sagemaker"), SERVICES).family == "rest-json"
