"""The yardstick: a bare ASGI application on the same server, which reads the body and answers 202 as InvokeEndpointAsync does."""

import socket
import sys
from typing import Any

import uvicorn

BODY = b'{"InferenceId":"00000000-0000-4000-8000-000000000000"}'


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Read everything, answer at once."""
    while (await receive()).get("more_body"):
        pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(BODY)).encode()),
        (b"x-amzn-sagemaker-outputlocation", b"s3://bucket/output/00000000-0000-4000-8000-000000000000.out"),
    ]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})


def main() -> None:
    """Listen on the socket whose descriptor is the first argument."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    config = uvicorn.Config(app, http="httptools", loop="uvloop", ws="none", lifespan="off", log_config=None, access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
