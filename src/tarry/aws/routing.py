"""One port for every service: who is a request for? Decided from the request line and headers alone, in a fixed order.

1. The reserved prefix ``/_tarry/`` and ``GET /health``, which no bucket name can be.
2. Signed requests: the service of the credential scope, then ``X-Amz-Target`` or the path.
3. Unsigned ``GET /?Action=ConfirmSubscription|Unsubscribe``, whose proof is a token.
4. CORS preflights.
5. Anything else is unsigned, and refused in the words of the protocol that it looks like.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto

from tarry.aws.auth import Family, claimed_service
from tarry.aws.call import Service
from tarry.aws.request import Request
from tarry.aws.specs import load_spec

RESERVED_PREFIX = b"/_tarry/"
HEALTH_PATH = b"/health"
_FORM = "application/x-www-form-urlencoded"


class Kind(Enum):
    """What is to be done with a request."""

    HEALTH = auto()
    INTERNAL = auto()
    """One of our own pages below the reserved prefix."""
    SIGNED = auto()
    TOKEN = auto()
    """An operation of ``service`` that is allowed unsigned."""
    PREFLIGHT = auto()
    UNKNOWN_SERVICE = auto()
    """Signed for a service that is not served here."""
    UNSIGNED = auto()


@dataclass(frozen=True, slots=True)
class Route:
    """The decision: what to do, for which service (by botocore's name), in which protocol's words."""

    kind: Kind
    service: str = ""
    family: Family = "rest-xml"


_HEALTH = Route(Kind.HEALTH)
_INTERNAL = Route(Kind.INTERNAL)
_PREFLIGHT = Route(Kind.PREFLIGHT)


def route(request: Request, services: Mapping[str, Service]) -> Route:
    """Where a request goes. Never raises."""
    if request.raw_path.startswith(RESERVED_PREFIX):
        return _INTERNAL
    claimed = claimed_service(request.headers.get("authorization", ""), request.raw.raw_query)
    if claimed is not None:
        return _signed(request, claimed, services)
    if request.raw_path == HEALTH_PATH and request.method in ("GET", "HEAD") and "authorization" not in request.headers:
        return _HEALTH
    if (token := _token_operation(request, services)) is not None:
        return token
    if request.method == "OPTIONS" and {"origin", "access-control-request-method"} <= request.headers.keys():
        return _PREFLIGHT
    family = _looks_like(request)
    service = {"json": "sagemaker", "rest-json": "sagemaker-runtime", "query": "sts", "rest-xml": "s3"}[family]
    return Route(Kind.UNSIGNED, service, family)


def _signed(request: Request, claimed: str, services: Mapping[str, Service]) -> Route:
    name = claimed
    # AWS: the runtime signs as "sagemaker" too; what tells them apart is that only the control plane names a target (botocore's
    # descriptions of both: signingName, targetPrefix).
    if claimed == "sagemaker" and "x-amz-target" not in request.headers and request.raw_path.startswith(b"/endpoints/"):
        name = "sagemaker-runtime"
    if name not in services:
        return Route(Kind.UNKNOWN_SERVICE, claimed, _looks_like(request))
    return Route(Kind.SIGNED, name, load_spec(name).family)


def _token_operation(request: Request, services: Mapping[str, Service]) -> Route | None:
    if request.method != "GET" or request.raw_path not in (b"/", b"") or "authorization" in request.headers:
        return None
    action = request.query_map.get("Action", "")
    for name, service in services.items():
        if action in service.unsigned:
            return Route(Kind.TOKEN, name, load_spec(name).family)
    return None


def _looks_like(request: Request) -> Family:
    if "x-amz-target" in request.headers:
        return "json"
    if request.headers.get("content-type", "").lower().startswith(_FORM) or "Action" in request.query_map:
        return "query"
    if request.raw_path.startswith(b"/endpoints/"):
        return "rest-json"
    return "rest-xml"
