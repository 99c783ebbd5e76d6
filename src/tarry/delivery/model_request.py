"""What a container is asked: the input as it is stored, and the headers that the caller may set."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from tarry.core import failure_reasons
from tarry.core.errors import BucketNotFound, ObjectDamaged, ObjectNotFound
from tarry.core.invocation import Invocation
from tarry.core.names import S3Location
from tarry.delivery.work import one_chunk
from tarry.ports import Claim, ModelRequest, ObjectStore, OpenObject


class InputUnusable(Exception):
    """No container can be asked; ``reason`` is why the request fails."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@asynccontextmanager
async def model_request(objects: ObjectStore, claim: Claim, *, input_bytes_max: int) -> AsyncIterator[ModelRequest]:
    """The request with its input open. Errors: InputUnusable, and those of the store."""
    invocation = claim.invocation
    if claim.body is not None:
        yield ModelRequest(headers=_headers(invocation, None), size=len(claim.body), chunks=one_chunk(claim.body))
        return
    async with AsyncExitStack() as stack:
        source = await _opened(objects, invocation.input_location or "", input_bytes_max, stack)
        # AWS: ContentType left out means the input object's own; the SDK's AsyncPredictor depends on it.
        yield ModelRequest(headers=_headers(invocation, source.content_type), size=source.size, chunks=source.chunks)


async def _opened(objects: ObjectStore, location: str, bytes_max: int, stack: AsyncExitStack) -> OpenObject:
    try:
        source = await stack.enter_async_context(objects.open(S3Location.parse(location)))
    except BucketNotFound:
        raise InputUnusable(failure_reasons.input_bucket_missing(location)) from None
    except ObjectNotFound:
        raise InputUnusable(failure_reasons.input_missing(location)) from None
    except ObjectDamaged as error:
        raise InputUnusable(failure_reasons.input_unreadable(str(error))) from error
    if source.size > bytes_max:
        raise InputUnusable(failure_reasons.input_too_large(location, source.size, bytes_max))
    return source


def _headers(invocation: Invocation, object_content_type: str | None) -> Mapping[str, str]:
    # AWS: everything else the client sent is stripped (your-algorithms-inference-code).
    headers = {
        "Content-Type": invocation.content_type or object_content_type,
        "Accept": invocation.accept,
        "X-Amzn-SageMaker-Custom-Attributes": invocation.custom_attributes,
        "X-Amzn-SageMaker-Inference-Id": invocation.inference_id,
    }
    return {name: value for name, value in headers.items() if value is not None}
