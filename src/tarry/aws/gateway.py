"""The way of one AWS request: find its service, resolve the operation, verify who signed it, parse, validate, call, serialise.

Whatever happens on the way, the answer is in the protocol of the request, carries an id that the log has too, and tells the
caller nothing of our insides. Nothing is read or changed for a request before its signature has been verified.
"""

import asyncio
import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from tarry.aws import authorization
from tarry.aws.auth import Verified, authenticate, open_body
from tarry.aws.auth.checksums import sha256_of
from tarry.aws.body import BodyReader, BodyTooLargeError, BodyTooSlowError, ClientGoneError, too_large, too_slow
from tarry.aws.call import Body, Call, Caller, Reply, Service
from tarry.aws.codecs import json, query, rest_json, rest_xml, s3_operations
from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.codecs.dispatch import error_answer, serialise
from tarry.aws.errors import AwsError, internal_failure, not_implemented, translate
from tarry.aws.request import Request
from tarry.aws.routing import Kind, Route
from tarry.aws.specs import Family, OperationModel, Spec, load_spec
from tarry.aws.validate import validate
from tarry.core.errors import AccessDenied, Bug, DependencyError, ObjectNotFound, RequestError, ServerStopping, TarryError
from tarry.core.names import Scope
from tarry.ports import Clock, Ids, Keyring

log = structlog.get_logger(__name__)

BODY_BYTES_MAX: Mapping[Family, int] = {
    "json": 4 * 1024 * 1024,
    "rest-json": 6 * 1024 * 1024,
    "query": 4 * 1024 * 1024,
    "rest-xml": 2 * 1024 * 1024,
}
"""Bodies that are read as a whole; an object's bytes are not among them."""
OPERATION_BYTES_MAX: Mapping[tuple[str, str], int] = {
    ("sagemaker-runtime", "InvokeEndpointAsync"): 128_000,  # AWS: botocore's description, member Body
}
_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_NO_REPLY = Reply()


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """What the gateway is connected to. ``services`` are named as botocore names them."""

    services: Mapping[str, Service]
    keyring: Keyring
    scope: Scope
    clock: Clock
    ids: Ids
    public_url: Callable[[], str]
    """Without a slash at the end; asked for every request."""
    endpoint_of: authorization.EndpointOf


@dataclass(frozen=True, slots=True)
class _Understood:
    operation: OperationModel
    params: Mapping[str, Any]
    caller: Caller | None
    body: Body | None = None


class Gateway:
    """Answers the requests of all services."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._specs = {name: load_spec(name) for name in door.services}
        self._logs_requests = log.is_enabled_for(logging.DEBUG)

    async def answer(self, request: Request, way: Route, reader: BodyReader) -> Answer:
        """The answer to a request, errors included. Raises ClientGoneError alone: then there is nobody to answer."""
        door, family = self._door, way.family
        context = self._context(request, family)
        spec = self._specs.get(way.service)
        started = door.clock.monotonic()
        name, reply = "", _NO_REPLY
        try:
            understood = await self._understand(request, way, reader)
            name = understood.operation.name
            try:
                reply = await self._call(way, understood, request, context)
            except (AwsError, TarryError) as error:
                raise await self._concealed(error, way, understood) from error
            answer = serialise(self._specs[way.service], understood.operation, reply.output, reply.status, context)
        except ClientGoneError:
            raise
        except asyncio.CancelledError:  # nobody else cancels a request than a server whose drain time is over
            reply = _NO_REPLY
            answer = error_answer(family, spec, self._told(_stopping(), way, context), context)
        except Exception as error:  # noqa: BLE001 - the last place before the client: everything becomes an answer, and is logged
            reply = _NO_REPLY
            answer = error_answer(family, spec, self._told(error, way, context), context)
        if self._logs_requests:
            log.debug(
                "request",
                service=way.service,
                operation=name,
                method=request.method,
                status=answer.status,
                request_id=context.request_id,
                duration_ms=round((door.clock.monotonic() - started) * 1000, 1),
            )
        headers = {**answer.headers, **reply.headers, **_ids(family, context)}
        return Answer(status=answer.status, headers=headers, body=answer.body, stream=reply.stream)

    async def _understand(self, request: Request, way: Route, reader: BodyReader) -> _Understood:
        if way.kind is Kind.UNKNOWN_SERVICE:
            raise self._unknown_service(way)
        if way.kind is Kind.UNSIGNED:
            await self._authenticate(request, way.family, way.service, _EMPTY_SHA256)
            raise Bug("A request without a signature was verified.")
        if self._specs[way.service].family == "rest-xml":
            return await self._understand_s3(request, way, reader)
        return await self._understand_whole(request, way, reader)

    async def _understand_whole(self, request: Request, way: Route, reader: BodyReader) -> _Understood:
        """Services whose signature covers the body: it is read first."""
        spec, service = self._specs[way.service], self._door.services[way.service]
        name = _named_without_body(spec, request)
        body = await reader.read(OPERATION_BYTES_MAX.get((spec.name, name), BODY_BYTES_MAX[spec.family]))
        verified: Verified | None = None
        caller: Caller | None = None
        if way.kind is Kind.SIGNED:
            digest = await sha256_of(body) if body else _EMPTY_SHA256
            verified = await self._authenticate(request, spec.family, spec.signing_name, digest)
            caller = self._caller(verified)
        if spec.family == "query":
            form = query.read_form(request, body)
            name = query.resolve(spec, form)
            if caller is None and name not in service.unsigned:
                raise Bug(f"{name} was let through without a signature.")
            operation = _implemented(spec, service, name)
            params = query.parse(operation, form)
        else:
            operation = _implemented(spec, service, name)
            params = json.parse(operation, body) if spec.family == "json" else rest_json.parse(operation, request, body)
        validate(spec, operation, params)
        if verified is not None:
            await self._authorise(verified, way, name, params)
        return _Understood(operation, params, caller)

    async def _understand_s3(self, request: Request, way: Route, reader: BodyReader) -> _Understood:
        """S3 signs what the client says of the body; the body itself is verified while it is read."""
        spec, service = self._specs[way.service], self._door.services[way.service]
        verified = await self._authenticate(request, spec.family, spec.signing_name, None)
        caller = self._caller(verified)
        operation = _implemented(spec, service, s3_operations.resolve(spec, request))
        if rest_xml.streams_in(operation):
            params = rest_xml.parse(operation, request, b"")
            await self._authorise(verified, way, operation.name, params)
            return _Understood(operation, params, caller, open_body(request.raw, verified, reader.stream()))
        document = await _read_verified(request, verified, reader)
        params = rest_xml.parse(operation, request, document)
        await self._authorise(verified, way, operation.name, params)
        return _Understood(operation, params, caller)

    async def _authorise(self, verified: Verified, way: Route, operation: str, params: Mapping[str, Any]) -> None:
        """Errors: AccessDenied; also for a key that was removed or disabled while its request was on the way."""
        key = await self._door.keyring.get(verified.access_key_id)
        if key is None or not key.active:
            raise AccessDenied(f"The access key {verified.access_key_id} was {'removed' if key is None else 'disabled'}.")
        asked = authorization.Asked(service=way.service, operation=operation, params=params, scope=self._door.scope)
        await authorization.authorise(key, asked, self._door.keyring, self._door.endpoint_of)

    async def _concealed(self, error: Exception, way: Route, understood: _Understood) -> Exception:
        """The error; to a caller who may not list a bucket, that something is missing from it is not told."""
        missing = isinstance(error, ObjectNotFound) or (isinstance(error, AwsError) and error.code == "NoSuchKey")
        if way.service != "s3" or not missing or understood.caller is None:
            return error
        key = await self._door.keyring.get(understood.caller.access_key_id)
        bucket = understood.params.get("Bucket", "")
        may_know = key is not None and key.active and authorization.may_list(key, bucket, self._door.scope)
        return error if may_know else AccessDenied("Access Denied")

    async def _authenticate(self, request: Request, family: Family, service: str, digest: str | None) -> Verified:
        door = self._door
        raw = request.raw if digest is None else request.raw.with_payload(digest)
        now_us = door.clock.now_us()
        return await authenticate(raw, keyring=door.keyring, scope=door.scope, now_us=now_us, protocol=family, service=service)

    def _caller(self, verified: Verified) -> Caller:
        return Caller(
            access_key_id=verified.access_key_id,
            principal_arn=verified.principal_arn,
            account_id=self._door.scope.account_id,
        )

    async def _call(self, way: Route, understood: _Understood, request: Request, context: AnswerContext) -> Reply:
        operation = understood.operation.name
        call = Call(
            service=way.service,
            operation=operation,
            request_id=context.request_id,
            caller=understood.caller,
            headers=request.headers,
            public_url=self._door.public_url(),
            body=understood.body,
        )
        result = await self._door.services[way.service].operations[operation](call, understood.params)
        return result if isinstance(result, Reply) else Reply(output=result)

    def _told(self, error: Exception, way: Route, context: AnswerContext) -> AwsError:
        """What the caller is told of an error."""
        match error:
            case AwsError():
                return error
            case BodyTooLargeError():
                return too_large(way.family, error)
            case BodyTooSlowError():
                return too_slow(way.family)
            case ServerStopping():
                log.info("a request is cut off by the stop of the server", service=way.service, request_id=context.request_id)
                return translate(error, service=way.service, family=way.family, account_id=self._door.scope.account_id)
            case TarryError():
                told = translate(error, service=way.service, family=way.family, account_id=self._door.scope.account_id)
            case _:
                told = internal_failure(way.family)
        if told.status >= 500:
            # Of the world's failures, a full disk for one, there may be thousands, and their stacks tell nothing.
            stack = None if isinstance(error, (DependencyError, RequestError)) else error
            log.error("request failed", service=way.service, request_id=context.request_id, error=repr(error), exc_info=stack)
        return told

    def _unknown_service(self, way: Route) -> AwsError:
        served = ", ".join(sorted({self._specs[name].signing_name for name in self._door.services}))
        message = f"Tarry has no service {way.service[:64]!r}; a request has to be signed for one of: {served}."
        code = "NotImplemented" if way.family == "rest-xml" else "NotImplementedException"
        return AwsError(code=code, message=message, status=501)

    def _context(self, request: Request, family: Family) -> AnswerContext:
        request_id = self._door.ids.uuid()
        if family != "rest-xml":
            return AnswerContext(request_id=request_id, method=request.method)
        # AWS: S3's ids are 16 characters and a longer base64 text (S3 user guide, "Getting Amazon S3 request IDs").
        short = request_id.replace("-", "").upper()[:16]
        return AnswerContext(request_id=short, host_id=self._door.ids.token(), method=request.method)


def _stopping() -> ServerStopping:
    return ServerStopping("The server is stopping, and its drain time is over; the request may have been carried out. Try again.")


def _ids(family: Family, context: AnswerContext) -> Mapping[str, str]:
    if family == "rest-xml":
        return {"x-amz-request-id": context.request_id, "x-amz-id-2": context.host_id, "Server": "AmazonS3"}
    return {"x-amzn-RequestId": context.request_id, "Server": "Tarry"}


def _named_without_body(spec: Spec, request: Request) -> str:
    match spec.family:
        case "json":
            return json.resolve(spec, request)
        case "rest-json":
            return rest_json.resolve(spec, request)
    return ""


def _implemented(spec: Spec, service: Service, name: str) -> OperationModel:
    if name not in service.operations:
        raise not_implemented(spec.family, spec.name, name)
    operation = spec.operation(name)
    if operation is None:
        raise Bug(f"The service {spec.name} offers {name}, which its description does not have.")
    return operation


async def _read_verified(request: Request, verified: Verified, reader: BodyReader) -> bytes:
    """The whole body of an S3 request that is not an object's bytes, verified to its end."""
    if reader.finished and verified.payload_hash in (_EMPTY_SHA256, "UNSIGNED-PAYLOAD"):
        return b""
    bytes_max = BODY_BYTES_MAX["rest-xml"]
    pieces: list[bytes] = []
    size = 0
    body = open_body(request.raw, verified, reader.stream())
    if (body.size or 0) > bytes_max:
        raise BodyTooLargeError(bytes_max)
    async for piece in body:
        size += len(piece)
        if size > bytes_max:
            raise BodyTooLargeError(bytes_max)
        pieces.append(piece)
    return b"".join(pieces)
