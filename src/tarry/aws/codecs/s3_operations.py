"""Which S3 operation is this? S3 has no name for it on the wire: method, depth of the path, query words and one header decide.

A request is never taken for another operation. Words in the query that the chosen operation does not have are refused, so a
sub-resource that S3 has and this server has not (or that S3 will have next year) cannot read or overwrite an object instead.
"""

from dataclasses import dataclass
from functools import cache
from urllib.parse import parse_qsl

from tarry.aws.codecs.locations import decode_label
from tarry.aws.codecs.scalars import BadValueError
from tarry.aws.errors import AwsError
from tarry.aws.request import Request
from tarry.aws.specs import OperationModel, Spec

COPY_SOURCE = "x-amz-copy-source"
_SIGNING = frozenset({"Signature", "Expires", "AWSAccessKeyId", "content-md5", "content-type"})
"""What V2 presigned URLs have in their query; botocore repeats two signed headers there (the headers themselves count)."""
_PREFERRED_NOT = frozenset({"ListDirectoryBuckets", "WriteGetObjectResponse"})
"""Operations of other kinds of host names, which share their request line with one of ours."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a path names. ``bucket`` is empty for the service itself, ``key`` for a bucket."""

    bucket: str
    key: str

    @property
    def depth(self) -> int:
        """0 for the service, 1 for a bucket, 2 for an object."""
        return 2 if self.key else (1 if self.bucket else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    name: str
    words: frozenset[tuple[str, str]]
    """Query words of the request line's template; ``list-type=2`` has a value."""
    required: frozenset[str]
    """Query members that must be there."""
    query: frozenset[str]
    """All query names that the operation reads."""
    copies: bool

    @property
    def weight(self) -> int:
        return 2 * len(self.words) + len(self.required) + self.copies


def place_of(request: Request) -> Place:
    """Bucket and key, from the path as sent, percent-decoded once. Errors: AwsError InvalidURI.

    The whole path is decoded before it is split: signatures do not tell ``%2F`` from ``/`` in it either.
    """
    raw = request.raw_path
    try:
        path = decode_label(raw)
    except BadValueError:
        path = ""
    if not path.startswith("/") or path.startswith("//"):
        raise AwsError(
            code="InvalidURI",
            message="Couldn't parse the specified URI. Expected /, /bucket or /bucket/key, percent-encoded UTF-8.",
            extras={"URI": raw[:1024].decode("latin-1")},
        )
    bucket, _, key = path[1:].partition("/")
    if request.raw.virtual_bucket is not None:
        return Place(request.raw.virtual_bucket, path[1:])
    return Place(bucket, key)


def resolve(spec: Spec, request: Request) -> str:
    """The operation's name. Errors: AwsError InvalidURI, MethodNotAllowed, NotImplemented."""
    depth = place_of(request).depth
    given = dict(request.query_map)
    copies = COPY_SOURCE in request.headers
    best: _Candidate | None = None
    for candidate in _candidates(spec).get((request.method, depth), ()):
        fits = all(given.get(word) == value for word, value in candidate.words) and candidate.required <= given.keys()
        if fits and (copies or not candidate.copies) and (best is None or candidate.weight > best.weight):
            best = candidate
    strange = _strange(given, best)
    if strange:
        raise _unknown_word(strange, best)
    if best is None:
        raise AwsError(
            code="MethodNotAllowed",
            message="The specified method is not allowed against this resource.",
            status=405,
            extras={"Method": request.method[:32], "ResourceType": ("SERVICE", "BUCKET", "OBJECT")[depth]},
        )
    return best.name


def _strange(given: dict[str, str], chosen: _Candidate | None) -> list[str]:
    """Query names that the chosen operation does not read; signing parameters and ``x-…`` belong to no operation."""
    known = _SIGNING if chosen is None else _SIGNING | chosen.query | {word for word, _ in chosen.words}
    return sorted(name for name in given if name not in known and not name.lower().startswith("x-"))


def _unknown_word(strange: list[str], chosen: _Candidate | None) -> AwsError:
    words = ", ".join(name[:64] for name in strange[:8])
    meant = f"{chosen.name} does not take" if chosen else "No operation of this method takes"
    return AwsError(
        code="NotImplemented",
        message=f"A parameter you provided implies functionality that is not implemented. {meant} the query parameter {words}.",
        status=501,
        extras={"ResourceType": words},
    )


@cache
def _candidates(spec: Spec) -> dict[tuple[str, int], tuple[_Candidate, ...]]:
    found: dict[tuple[str, int], list[_Candidate]] = {}
    for name in sorted(spec.operation_names):
        operation = spec.model.operation_model(name)
        if operation.deprecated or name in _PREFERRED_NOT:
            continue
        path = operation.http["requestUri"].partition("?")[0]
        depth = {"/": 0, "/{Bucket}": 1, "/{Bucket}/{Key+}": 2}[path]
        found.setdefault((operation.http["method"], depth), []).append(_candidate(operation))
    return {place: tuple(candidates) for place, candidates in found.items()}


def _candidate(operation: OperationModel) -> _Candidate:
    words = parse_qsl(operation.http["requestUri"].partition("?")[2], keep_blank_values=True)
    members = operation.input_shape.members if operation.input_shape is not None else {}
    query = {
        member: shape.serialization.get("name", member)
        for member, shape in members.items()
        if shape.serialization.get("location") == "querystring"
    }
    required = operation.input_shape.required_members if operation.input_shape is not None else ()
    headers = {members[member].serialization.get("name") for member in required}
    return _Candidate(
        name=operation.name,
        words=frozenset(words),
        required=frozenset(wire for member, wire in query.items() if member in required),
        query=frozenset(query.values()),
        copies=COPY_SOURCE in headers,
    )
