"""The yardstick: a bare ASGI application on the server that Tarry runs on, with its protocol class, settings and event loop.

With ``--plain`` it runs on uvicorn as it is installed without extras: h11, asyncio's own loop.

It reads the body and answers, byte for byte in length and header for header, as InvokeEndpointAsync does. It verifies nothing
and keeps nothing: the difference is what Tarry does with a request.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn
import uvloop

from tarry.bootstrap.http import http_server
from tarry.settings import ServerSettings

BODY = b'{"InferenceId":"00000000-0000-4000-8000-000000000000"}'
HEADERS = [
    (b"X-Amzn-SageMaker-OutputLocation", b"s3://bench/out/00000000-0000-4000-8000-000000000000.out"),
    (b"X-Amzn-SageMaker-FailureLocation", b"s3://bench/out/00000000-0000-4000-8000-000000000000-error.out"),
    (b"Content-Type", b"application/json"),
    (b"X-Tarry-Invocation-Id", b"00000000-0000-4000-8000-000000000000"),
    (b"x-amzn-RequestId", b"00000000-0000-4000-8000-000000000000"),
    (b"Server", b"Tarry"),
    (b"Content-Length", str(len(BODY)).encode()),
    (b"Date", b"Thu, 01 Jan 1970 00:00:00 GMT"),
]


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read everything, answer at once."""
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 202, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Listen on the socket whose descriptor is the first argument."""
    if "--plain" in sys.argv:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", lifespan="off", log_config=None, access_log=False))
        loop_factory = asyncio.new_event_loop
    else:
        server = http_server(ServerSettings())
        server.config.loaded_app = app
        loop_factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(server.serve(sockets=[socket.socket(fileno=int(sys.argv[1]))]))


if __name__ == "__main__":
    main()
