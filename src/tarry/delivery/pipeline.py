"""A request passes through the containers of an instance in turn: the answer of one is the input of the next.

Most instances have one container, and then this is one call. In a pipeline the bytes stream on while they come; only an answer
that does not say how long it is waits in a temporary file until it is whole, since model servers want a Content-Length. An
answer outside 2xx ends the way: it is the answer of the pipeline.

AWS has no pipelines on asynchronous endpoints. OURS: the rules of its real-time ones, as far as they are told; the caller's
Accept is for the last container, those before it answer in their own default.
"""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import IO

from tarry.core.errors import ModelResponseInvalid
from tarry.core.instance import Instance
from tarry.core.invocation import PAYLOAD_BYTES_MAX
from tarry.ports import Clock, ModelRequest, ModelResponse, ModelServer

ANSWER_BYTES_MAX = PAYLOAD_BYTES_MAX
"""Errors are answers too."""
_SPOOL_MEMORY_BYTES = 1024 * 1024
_READ_BYTES = 256 * 1024


class Pipeline:
    """The containers of one instance, for one request. ``address`` is where the request is, or where it broke."""

    def __init__(self, models: ModelServer, clock: Clock, instance: Instance) -> None:
        self._models = models
        self._clock = clock
        self._addresses = instance.addresses or ("",)
        self._position = 0

    @property
    def address(self) -> str:
        """The container that the request has come to."""
        return self._addresses[self._position]

    @property
    def at_first(self) -> bool:
        """Whether no container has answered yet."""
        return self._position == 0

    @property
    def where(self) -> str | None:
        """That container in words; None where there is only one."""
        count = len(self._addresses)
        return None if count == 1 else f"container {self._position + 1} of {count}"

    @asynccontextmanager
    async def invoke(self, request: ModelRequest, *, timeout_s: float) -> AsyncIterator[ModelResponse]:
        """The answer of the last container, or of the first that answered outside 2xx. The time limit covers all of them.

        Errors: as ``ModelServer.invoke``, and ModelResponseInvalid for an answer that is too long; ``where`` then says which
        container it was.
        """
        deadline = self._clock.monotonic() + timeout_s
        accept = {name: value for name, value in request.headers.items() if name.lower() == "accept"}
        headers = {name: value for name, value in request.headers.items() if name not in accept}
        async with AsyncExitStack() as stack:
            while True:
                last = self._position == len(self._addresses) - 1
                asked = replace(request, headers=headers | accept if last else headers)
                left_s = deadline - self._clock.monotonic()
                answered = await stack.enter_async_context(self._models.invoke(self.address, asked, timeout_s=left_s))
                response = replace(answered, chunks=_bounded(answered))
                if last or not 200 <= response.status < 300:
                    yield response
                    return
                headers = _with_content_type(headers, response.content_type)
                request = await self._passed_on(response, stack)
                self._position += 1

    async def _passed_on(self, response: ModelResponse, stack: AsyncExitStack) -> ModelRequest:
        """The answer as the next request's body."""
        chunks = self._from(self._position, response.chunks)
        if response.size is not None:
            return ModelRequest(headers={}, size=response.size, chunks=chunks)
        spool = tempfile.SpooledTemporaryFile(max_size=_SPOOL_MEMORY_BYTES)  # noqa: SIM115 - the stack closes it
        stack.callback(spool.close)
        size = 0
        async for chunk in chunks:
            size += len(chunk)
            await asyncio.to_thread(spool.write, chunk)
        spool.seek(0)
        return ModelRequest(headers={}, size=size, chunks=_read(spool))

    async def _from(self, position: int, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The chunks; where they break, it was their container and not the one that is being sent them."""
        try:
            async for chunk in chunks:
                yield chunk
        except Exception:
            self._position = position
            raise


async def _bounded(response: ModelResponse) -> AsyncIterator[bytes]:
    """The chunks of an answer that is not too long; of one that is, some of its beginning come out before the error."""
    seen = 0
    async for chunk in response.chunks:
        seen += len(chunk)
        if seen <= ANSWER_BYTES_MAX:
            yield chunk
        if max(seen, response.size or 0) > ANSWER_BYTES_MAX:
            raise ModelResponseInvalid(f"It is longer than {ANSWER_BYTES_MAX} bytes, the most that an answer may have.")


def _with_content_type(headers: Mapping[str, str], content_type: str) -> dict[str, str]:
    others = {name: value for name, value in headers.items() if name.lower() != "content-type"}
    return {**others, "Content-Type": content_type}


async def _read(spool: IO[bytes]) -> AsyncIterator[bytes]:
    while chunk := await asyncio.to_thread(spool.read, _READ_BYTES):
        yield chunk
