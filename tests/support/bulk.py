"""Gigabytes through a server with unmodified boto3: nobody holds them, and both ends are compared by their hash."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.support import deploy
from tests.support.images.bulk.pattern import BLOCK_BYTES, Pattern
from tests.support.server_process import ServerProcess

BULK_IMAGE = Path(__file__).parent / "images" / "bulk"
SETTINGS: Mapping[str, str] = {"TARRY_IMAGES__DIRECTORIES": f'["{BULK_IMAGE}"]'}
BUCKET = "bulk"
ENDPOINT = "Bulk"
SMALL_BYTES = 1000


class Memory:
    """The resident memory of a process, in bytes: what it has at rest, and the most that it has had since."""

    def __init__(self, pid: int) -> None:
        self._status = Path(f"/proc/{pid}/status")
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak so far is that of the start: forget it
        except OSError as error:
            pytest.skip(f"this system does not let the peak memory of a process be reset: {error}")
        self._at_rest = self._read("VmRSS")

    @property
    def growth(self) -> int:
        """By how much the peak is above what was resident at rest."""
        return self._read("VmHWM") - self._at_rest

    def _read(self, name: str) -> int:
        (line,) = [line for line in self._status.read_text().splitlines() if line.startswith(f"{name}:")]
        return int(line.split()[1]) * 1024


class Bulk:
    """An endpoint of the bulk image on a server that was started with ``SETTINGS``, warmed up by one small request."""

    def __init__(self, server: ServerProcess, concurrency: int) -> None:
        deploy.bucket(server, BUCKET)
        deploy.model(server, ENDPOINT, image="bulk:1")
        deploy.config(server, ENDPOINT, ENDPOINT, BUCKET, concurrency=concurrency)
        server.client("sagemaker").create_endpoint(EndpointName=ENDPOINT, EndpointConfigName=ENDPOINT)
        deploy.in_service(server, ENDPOINT)
        self._server = server
        self._s3, self._runtime = server.client("s3"), server.client("sagemaker-runtime")
        self.pass_through("warm-up", SMALL_BYTES)

    def pass_through(self, name: str, size: int, *, multipart: bool = False, **wishes: Any) -> None:
        """``size`` bytes in, as many out; AssertionError unless the container and this client get exactly what was sent."""
        self.put(name, size, multipart=multipart)
        self.read(name, size, self.invoke(name, size, **wishes))

    def put(self, name: str, size: int, *, multipart: bool = False) -> None:
        """Upload the input of this name, in one piece or in parts."""
        body = Pattern(f"{name} in", size)
        if multipart:
            self._s3.upload_fileobj(body, BUCKET, f"in/{name}")
        else:
            self._s3.put_object(Bucket=BUCKET, Key=f"in/{name}", Body=body)

    def invoke(self, name: str, size: int, **wishes: Any) -> str:
        """Let the container read that input and answer; the answer's key once it is there, that of a failure with ``status``."""
        every = {"sha256": Pattern(f"{name} in", size).sha256(), "seed": f"{name} out", "size": size, **wishes}
        answer = self._ask(name, every)
        key: str = answer["FailureLocation" if "status" in wishes else "OutputLocation"].split("/", 3)[3]
        self._s3.get_waiter("object_exists").wait(Bucket=BUCKET, Key=key, WaiterConfig={"Delay": 0.2, "MaxAttempts": 10_000})
        return key

    def fail(self, name: str, size: int, **wishes: Any) -> dict[str, Any]:
        """An answer of so many bytes to a small input, which has to end in a failure object of the platform's: that object."""
        self.put(name, SMALL_BYTES)
        every = {"sha256": Pattern(f"{name} in", SMALL_BYTES).sha256(), "seed": f"{name} out", "size": size, **wishes}
        answer = self._ask(name, every)
        document: dict[str, Any] = json.loads(deploy.read(self._server, answer["FailureLocation"]))
        return document

    def read(self, name: str, size: int, key: str) -> None:
        """Download the answer and compare it, piece by piece."""
        found = hashlib.sha256()
        for piece in self._s3.get_object(Bucket=BUCKET, Key=key)["Body"].iter_chunks(BLOCK_BYTES):
            found.update(piece)
        assert found.hexdigest() == Pattern(f"{name} out", size).sha256()

    def _ask(self, name: str, wishes: Mapping[str, Any]) -> Mapping[str, str]:
        answer: Mapping[str, str] = self._runtime.invoke_endpoint_async(
            EndpointName=ENDPOINT,
            InputLocation=f"s3://{BUCKET}/in/{name}",
            ContentType="application/octet-stream",
            CustomAttributes=json.dumps(wishes),
        )
        return answer
