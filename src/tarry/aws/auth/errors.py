"""What is told to a caller whose request is not signed as it should be: one table from problem and protocol to AWS's words.

Clients act on codes, people on texts, so both are AWS's own. JSON and REST-JSON services share their codes and texts and
differ in the status; Query services have codes of their own; S3 has its own everything and tells facts in extra elements.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum, auto
from functools import lru_cache

from tarry.aws.auth.request import Family
from tarry.aws.errors import AwsError


class Problem(StrEnum):
    """What is wrong with a request's signature."""

    MISSING = auto()
    TWO_WAYS = auto()
    SCHEME = auto()
    NO_SPACE = auto()
    NOT_A_PAIR = auto()
    COMPONENTS = auto()
    SIGNED_HEADERS = auto()
    NO_DATE = auto()
    DATE_FORMAT = auto()
    EXPIRED = auto()
    NOT_YET = auto()
    UNSIGNED_HEADER = auto()
    ALGORITHM = auto()
    CREDENTIAL = auto()
    REGION = auto()
    SERVICE = auto()
    TERMINATOR = auto()
    SCOPE_DATE = auto()
    UNKNOWN_KEY = auto()
    SIGNATURE = auto()
    TOKEN = auto()
    NO_PAYLOAD_HASH = auto()
    PAYLOAD_HASH = auto()
    QUERY_COMPONENTS = auto()
    QUERY_COMPONENTS_V2 = auto()
    QUERY_ALGORITHM = auto()
    QUERY_DATE = auto()
    QUERY_CREDENTIAL = auto()
    QUERY_REGION = auto()
    QUERY_SERVICE = auto()
    QUERY_TERMINATOR = auto()
    QUERY_SCOPE_DATE = auto()
    EXPIRES_NUMBER = auto()
    EXPIRES_NEGATIVE = auto()
    EXPIRES_TOO_LONG = auto()
    URL_EXPIRED = auto()
    URL_NOT_YET = auto()
    EXPIRES_V2 = auto()


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem; ``facts`` fill the text, ``extras`` are S3's extra elements."""

    problem: Problem
    facts: Mapping[str, object] = field(default_factory=dict)
    extras: Mapping[str, str] = field(default_factory=dict)


class _Kind(StrEnum):
    MISSING = auto()
    INCOMPLETE = auto()
    SIGNATURE = auto()
    UNKNOWN = auto()


_CODES: Mapping[_Kind, tuple[str, str, int]] = {
    _Kind.MISSING: ("MissingAuthenticationTokenException", "MissingAuthenticationToken", 403),
    _Kind.INCOMPLETE: ("IncompleteSignatureException", "IncompleteSignature", 400),
    _Kind.SIGNATURE: ("InvalidSignatureException", "SignatureDoesNotMatch", 403),
    _Kind.UNKNOWN: ("UnrecognizedClientException", "InvalidClientTokenId", 403),
}
"""Code for JSON and REST-JSON, code and status for Query. JSON answers 400 and REST-JSON 403 to all of them.

AWS: seen in amazon-sagemaker-operator-for-k8s#99, amazon-sagemaker-examples#290, aws-sdk-php#642, ex-aws#220, amazonka#316."""

_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key and "
    "signing method. Consult the service documentation for details.\n\nThe Canonical String for this request should have "
    "been\n'{canonical}'\n\nThe String-to-Sign should have been\n'{string_to_sign}'\n"
)

# AWS: wording as quoted in public reports of these errors, such as aws-sdk-go#1836, AWS.jl#565, cloud9-sync#10,
# aws-requests-auth#33, artillery-dino#2, aws-sdk-android#88; and the SigV4 troubleshooting page of the IAM user guide.
_PLAIN: Mapping[Problem, tuple[_Kind, str]] = {
    Problem.MISSING: (_Kind.MISSING, "Request is missing Authentication Token"),
    Problem.SCHEME: (_Kind.MISSING, "Request is missing Authentication Token"),
    Problem.TWO_WAYS: (
        _Kind.SIGNATURE,
        "Found both 'X-Amz-Algorithm' as a query-string param and 'Authorization' as HTTP header.",
    ),
    Problem.NOT_A_PAIR: (
        _Kind.INCOMPLETE,
        "'{piece}' not a valid key=value pair (missing equal-sign) in Authorization header: '{header}'.",
    ),
    Problem.COMPONENTS: (_Kind.INCOMPLETE, "{lacks}Authorization={header}"),
    Problem.SIGNED_HEADERS: (_Kind.INCOMPLETE, "'SignedHeaders' must be header names separated by ';', got '{names}'."),
    Problem.QUERY_COMPONENTS: (_Kind.INCOMPLETE, "{lacks}Re-examine the query-string parameters."),
    Problem.DATE_FORMAT: (
        _Kind.INCOMPLETE,
        "Date must be in ISO-8601 'basic format'. Got '{date}'. See http://en.wikipedia.org/wiki/ISO_8601",
    ),
    Problem.EXPIRED: (
        _Kind.SIGNATURE,
        "Signature expired: {date} is now earlier than {limit} ({now} - {minutes:g} min.)",
    ),
    Problem.NOT_YET: (
        _Kind.SIGNATURE,
        "Signature not yet current: {date} is still later than {limit} ({now} + {minutes:g} min.)",
    ),
    Problem.UNSIGNED_HEADER: (_Kind.SIGNATURE, "{names} must be a 'SignedHeader' in the AWS Authorization."),
    Problem.ALGORITHM: (_Kind.INCOMPLETE, "Unsupported AWS 'algorithm': '{algorithm}' (only AWS4-HMAC-SHA256 for now). "),
    Problem.CREDENTIAL: (
        _Kind.INCOMPLETE,
        "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{credential}'",
    ),
    Problem.REGION: (_Kind.SIGNATURE, "Credential should be scoped to a valid region, not '{got}'. "),
    Problem.SERVICE: (_Kind.SIGNATURE, "Credential should be scoped to correct service: '{expected}'. "),
    Problem.TERMINATOR: (
        _Kind.SIGNATURE,
        "Credential should be scoped with a valid terminator: 'aws4_request', not '{got}'. ",
    ),
    Problem.SCOPE_DATE: (
        _Kind.SIGNATURE,
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        "'{got}' != '{expected}', from '{date}'.",
    ),
    Problem.EXPIRES_NUMBER: (_Kind.INCOMPLETE, "X-Amz-Expires should be a number"),
    Problem.EXPIRES_NEGATIVE: (_Kind.INCOMPLETE, "X-Amz-Expires must be non-negative"),
    Problem.EXPIRES_TOO_LONG: (
        _Kind.INCOMPLETE,
        "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds",
    ),
    Problem.UNKNOWN_KEY: (_Kind.UNKNOWN, "The security token included in the request is invalid."),
    Problem.TOKEN: (_Kind.UNKNOWN, "The security token included in the request is invalid."),
    Problem.SIGNATURE: (_Kind.SIGNATURE, _MISMATCH),
}

_HEADER = "The authorization header is malformed; "
_QUERY = "Error parsing the X-Amz-Credential parameter; "
_AHM = "AuthorizationHeaderMalformed"
_AQPE = "AuthorizationQueryParametersError"
_EXAMPLE = '"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
_DATE_WANTED = "AWS authentication requires a valid Date or x-amz-date header."
_SCOPE_DATE = "Invalid credential date. Date is not the same as X-Amz-Date."
_REGION = "the region '{got}' is wrong; expecting '{expected}'"
_SERVICE = 'incorrect service "{got}". This endpoint belongs to "{expected}".'
_TERMINATOR = 'incorrect terminal "{got}". This endpoint uses "aws4_request".'
_SKEW = ("RequestTimeTooSkewed", 403, "The difference between the request time and the current time is too large.")

# AWS: "Error responses" in the S3 API reference; recorded answers in LocalStack's snapshots; the texts that versitygw copies.
_S3: Mapping[Problem, tuple[str, int, str]] = {
    Problem.MISSING: ("AccessDenied", 403, "Access Denied"),
    Problem.TWO_WAYS: (
        "InvalidArgument",
        400,
        "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the "
        "Authorization header should be specified",
    ),
    Problem.SCHEME: ("InvalidArgument", 400, "Unsupported Authorization Type"),
    Problem.ALGORITHM: ("InvalidArgument", 400, "Unsupported Authorization Type"),
    Problem.NO_SPACE: ("InvalidArgument", 400, "Authorization header is invalid -- one and only one ' ' (space) required."),
    Problem.NOT_A_PAIR: (_AHM, 400, _HEADER + 'the authorization component "{piece}" is malformed.'),
    Problem.COMPONENTS: (
        _AHM,
        400,
        _HEADER + "the authorization header requires three components: Credential, SignedHeaders, and Signature.",
    ),
    Problem.SIGNED_HEADERS: (_AHM, 400, _HEADER + 'the authorization component "SignedHeaders={names}" is malformed.'),
    Problem.NO_DATE: ("AccessDenied", 403, _DATE_WANTED),
    Problem.DATE_FORMAT: ("AccessDenied", 403, _DATE_WANTED),
    Problem.EXPIRED: _SKEW,
    Problem.NOT_YET: _SKEW,
    Problem.UNSIGNED_HEADER: ("AccessDenied", 403, "There were headers present in the request which were not signed"),
    Problem.CREDENTIAL: (_AHM, 400, _HEADER + "the Credential is mal-formed; expecting " + _EXAMPLE),
    Problem.REGION: (_AHM, 400, _HEADER + _REGION),
    Problem.SERVICE: (_AHM, 400, _HEADER + _SERVICE),
    Problem.TERMINATOR: (_AHM, 400, _HEADER + _TERMINATOR),
    Problem.SCOPE_DATE: (_AHM, 400, _HEADER + _SCOPE_DATE),
    Problem.UNKNOWN_KEY: ("InvalidAccessKeyId", 403, "The AWS Access Key Id you provided does not exist in our records."),
    Problem.SIGNATURE: (
        "SignatureDoesNotMatch",
        403,
        "The request signature we calculated does not match the signature you provided. Check your key and signing method.",
    ),
    Problem.TOKEN: ("InvalidToken", 400, "The provided token is malformed or otherwise invalid."),
    Problem.NO_PAYLOAD_HASH: ("InvalidRequest", 400, "Missing required header for this request: x-amz-content-sha256"),
    Problem.PAYLOAD_HASH: (
        "InvalidArgument",
        400,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
    ),
    Problem.QUERY_COMPONENTS: (
        _AQPE,
        400,
        "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, "
        "X-Amz-SignedHeaders, and X-Amz-Expires parameters.",
    ),
    Problem.QUERY_COMPONENTS_V2: (
        "AccessDenied",
        403,
        "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters",
    ),
    Problem.QUERY_ALGORITHM: (_AQPE, 400, 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"'),
    Problem.QUERY_DATE: (_AQPE, 400, "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""),
    Problem.QUERY_CREDENTIAL: (_AQPE, 400, _QUERY + "the Credential is mal-formed; expecting " + _EXAMPLE),
    Problem.QUERY_REGION: (_AQPE, 400, _QUERY + _REGION),
    Problem.QUERY_SERVICE: (_AQPE, 400, _QUERY + _SERVICE),
    Problem.QUERY_TERMINATOR: (_AQPE, 400, _QUERY + _TERMINATOR),
    Problem.QUERY_SCOPE_DATE: (_AQPE, 400, _QUERY + _SCOPE_DATE),
    Problem.EXPIRES_NUMBER: (_AQPE, 400, _PLAIN[Problem.EXPIRES_NUMBER][1]),
    Problem.EXPIRES_NEGATIVE: (_AQPE, 400, _PLAIN[Problem.EXPIRES_NEGATIVE][1]),
    Problem.EXPIRES_TOO_LONG: (_AQPE, 400, _PLAIN[Problem.EXPIRES_TOO_LONG][1]),
    Problem.URL_EXPIRED: ("AccessDenied", 403, "Request has expired"),
    Problem.URL_NOT_YET: ("AccessDenied", 403, "Request is not valid yet."),
    Problem.EXPIRES_V2: ("AccessDenied", 403, "Invalid date (should be seconds since epoch): {got}"),
}


def auth_error(protocol: Family, *findings: Finding) -> AwsError:
    """The answer to the findings, of which there is at least one.

    Services other than S3 tell several findings of one kind in one message; S3 tells the first.
    """
    first = findings[0]
    if protocol == "rest-xml":
        code, status, text = _S3[first.problem]
        return AwsError(code=code, message=text.format_map(first.facts), status=status, extras=first.extras)
    kind = _PLAIN[first.problem][0]
    json_code, query_code, query_status = _CODES[kind]
    message = "".join(_PLAIN[finding.problem][1].format_map(finding.facts) for finding in findings)
    if protocol == "query":
        return AwsError(code=query_code, message=message, status=query_status)
    if kind is _Kind.MISSING and protocol == "rest-json":
        message = "Missing Authentication Token"
    return AwsError(code=json_code, message=message, status=403 if protocol == "rest-json" else 400)


@lru_cache(maxsize=1024)  # many requests carry the same second
def basic_iso(seconds: int) -> str:
    """``20150604T232559Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y%m%dT%H%M%SZ")


def extended_iso(seconds: int) -> str:
    """``2015-06-04T23:25:59Z``."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
