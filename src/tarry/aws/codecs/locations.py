"""Where the members of the REST protocols travel: path, query, headers, body. Worked out once per operation.

REST-JSON and REST-XML differ in their bodies alone; everything else of them is here.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

from tarry.aws.codecs.scalars import BadValueError, from_text, to_text
from tarry.aws.request import Request
from tarry.aws.specs import Shape

_control = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]").search
_list_item = re.compile(r'\s*(?:"((?:[^"\\]|\\.)*)"|([^,]*?))\s*(?:,|$)')


@dataclass(frozen=True, slots=True)
class Bound:
    """One member that does not travel in the body."""

    member: str
    wire: str
    """Its name on the wire, as the description spells it."""
    key: str
    """The same as requests are asked for it: the names of headers in lower case."""
    shape: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Bindings:
    """Where each member of one input or output travels."""

    headers: tuple[Bound, ...] = ()
    header_maps: tuple[Bound, ...] = ()
    """Their wire name is a prefix of header names."""
    query: tuple[Bound, ...] = ()
    path: tuple[Bound, ...] = ()
    body: tuple[str, ...] = ()
    payload: Bound | None = None
    """The one member that is the whole body."""

    @property
    def payload_is_raw(self) -> bool:
        """Whether the body is the payload's bytes or text, not a document."""
        return self.payload is not None and self.payload.shape.type_name in ("blob", "string")


@cache
def bindings_of(shape: Shape) -> Bindings:
    """The bindings of an operation's input or output shape (None: it has none)."""
    found: dict[str, list[Bound]] = {"header": [], "headers": [], "querystring": [], "uri": []}
    body: list[str] = []
    payload: Bound | None = None
    members: Mapping[str, Shape] = shape.members if shape is not None else {}
    payload_name = shape.serialization.get("payload") if shape is not None else None
    for name, member in members.items():
        wire = member.serialization.get("name", name)
        location = member.serialization.get("location")
        if name == payload_name:
            payload = Bound(name, wire, wire, member)
        elif location in found:
            found[location].append(Bound(name, wire, wire.lower() if location.startswith("header") else wire, member))
        elif location is None:
            body.append(name)
    return Bindings(
        headers=tuple(found["header"]),
        header_maps=tuple(found["headers"]),
        query=tuple(found["querystring"]),
        path=tuple(found["uri"]),
        body=tuple(body),
        payload=payload,
    )


@cache
def path_pattern(request_uri: str) -> tuple[re.Pattern[bytes], tuple[str, ...]]:
    """A pattern over raw paths for a template such as ``/endpoints/{EndpointName}/invocations``, and its label names."""
    path = request_uri.partition("?")[0]
    labels: list[str] = []
    pattern = ""
    for text, label in re.findall(r"([^{]*)(?:\{([^}]*)\})?", path):
        pattern += re.escape(text)
        if label:
            labels.append(label.removesuffix("+"))
            pattern += "(.+)" if label.endswith("+") else "([^/]+)"
    return re.compile(pattern.encode(), re.DOTALL), tuple(labels)


def decode_label(raw: bytes) -> str:
    """A piece of a raw path, percent-decoded once. Errors: BadValueError unless it is UTF-8 then."""
    try:
        return (unquote_to_bytes(raw) if b"%" in raw else raw).decode()
    except UnicodeDecodeError:
        raise BadValueError("The path is not UTF-8 once its percent-encoding is undone.") from None


def parse_query(bindings: Bindings, request: Request) -> Iterator[tuple[str, Any]]:
    """Members from the query string. Errors: BadValueError."""
    for bound in bindings.query:
        if bound.key in request.query_map:
            if bound.shape.type_name == "list":
                texts = [value for name, value in request.query if name == bound.key]
                yield bound.member, [_parse(bound, bound.shape.member, text) for text in texts]
            else:
                yield bound.member, _parse(bound, bound.shape, request.query_map[bound.key])


def parse_headers(bindings: Bindings, request: Request, *, utf8: bool) -> Iterator[tuple[str, Any]]:
    """Members from headers; with ``utf8`` a value that is UTF-8 is read as such, else every byte is a character (Latin-1).

    Errors: BadValueError.
    """
    for bound in bindings.headers:
        text = request.headers.get(bound.key)
        if text is None:
            continue
        if utf8:
            text = utf8_if_possible(text)
        if bound.shape.type_name == "list":
            yield bound.member, [_parse(bound, bound.shape.member, item) for item in _split_list(text)]
        elif _need_not_be_a_date(bound) and not _is_date(bound.shape, text):
            continue
        else:
            yield bound.member, _parse(bound, bound.shape, text)
    for bound in bindings.header_maps:
        start = len(bound.key)
        values = {name[start:]: value for name, value in request.headers.items() if name.startswith(bound.key)}
        if values:
            yield bound.member, values


def utf8_if_possible(latin1: str) -> str:
    """The text of a header whose bytes are given as Latin-1: what they are in UTF-8, or the same where they are none."""
    if latin1.isascii():
        return latin1
    try:
        return latin1.encode("latin-1").decode()
    except UnicodeDecodeError:
        return latin1


def write_headers(bindings: Bindings, output: Mapping[str, Any]) -> dict[str, str]:
    """The headers of an output. Errors: BadValueError for a value that would break out of its line."""
    headers: dict[str, str] = {}
    for bound in bindings.headers:
        value = output.get(bound.member)
        if value is not None:
            headers[bound.wire] = value if bound.shape.type_name == "string" else _write(bound.shape, value)
    for bound in bindings.header_maps:
        for name, value in (output.get(bound.member) or {}).items():
            headers[bound.wire + name] = _write(bound.shape.value, value)
    for name, value in headers.items():
        if _control(value) or _control(name):
            raise BadValueError(f"The value of the header {name[:64]!r} holds control characters.")
    return headers


def _write(shape: Shape, value: Any) -> str:
    if shape.type_name == "list":
        return ",".join(_quoted(_write(shape.member, item)) for item in value)
    return to_text(shape, value, "rfc822")


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '\\"') + '"' if '"' in text or "," in text else text


def _parse(bound: Bound, shape: Shape, text: str) -> Any:
    try:
        return from_text(shape, text)
    except BadValueError as error:
        raise BadValueError(f"{bound.key}: {error}") from None


def _split_list(text: str) -> list[str]:
    items: list[str] = []
    position = 0
    while position < len(text) and (match := _list_item.match(text, position)):
        quoted, plain = match.groups()
        items.append(plain if quoted is None else re.sub(r"\\(.)", r"\1", quoted))
        position = match.end()
    return items


def _need_not_be_a_date(bound: Bound) -> bool:
    """RFC 9110 §13.1: a condition whose date cannot be read is ignored. Expires is kept by S3 as it comes, whatever it says."""
    return bound.shape.type_name == "timestamp" and ("if-" in bound.key or bound.key == "expires")


def _is_date(shape: Shape, text: str) -> bool:
    try:
        from_text(shape, text)
    except BadValueError:
        return False
    return True
