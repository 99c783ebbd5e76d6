"""How long a stack takes from CreateEndpoint to being InService, and to its first answer.

The first time on a machine, when its environment is built, and again. A healthy `/ping` is not an answer yet: some servers load
the model behind it.
"""

import platform
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support import deploy, stacks
from tests.support.server_process import ServerProcess
from tests.support.stacks import HUGGING_FACE, PYTORCH_MMS, SCIKIT_LEARN, TORCHSERVE, XGBOOST, Stack

TARRY_PYTHON = Stack(name="tarry-python", image="tarry/python:{}.{}".format(*platform.python_version_tuple()))
STACKS = {stack.name: stack for stack in (TARRY_PYTHON, XGBOOST, SCIKIT_LEARN, TORCHSERVE, PYTORCH_MMS, HUGGING_FACE)}
_LOOK_S = 0.02


class NotStartedError(Exception):
    """What an endpoint says that does not come into service."""


def measure(directory: Path, names: Sequence[str], environments: Path | None, rounds: int) -> dict[str, Any]:
    """Each stack alone. With ``environments``, where they stand already, the first time is left out."""
    runs: dict[str, Any] = {}
    for name in names:
        home = environments or directory / name / "environments"
        try:
            runs[name] = _measure(directory / name, STACKS[name], home, first=environments is None, rounds=rounds)
        except NotStartedError as error:
            runs[name] = {"skipped": str(error)}
    return runs


def _measure(directory: Path, stack: Stack, environments: Path, *, first: bool, rounds: int) -> dict[str, Any]:
    content = directory / "model"
    if stack is XGBOOST:
        stacks.write_trees(content)
    else:
        stacks.write(content, {"code/inference.py": stacks.SCRIPT})
    begun = _rounds(directory, stack, content, environments)
    built = next(begun)  # the first one, which may have built the environment
    runs: dict[str, Any] = {"again": [next(begun) for _ in range(rounds)]}
    return {"first": built, **runs} if first else runs


def _rounds(directory: Path, stack: Stack, content: Path, environments: Path) -> Iterator[dict[str, float]]:
    """Times of one endpoint after the other, each on a new server."""
    number = 0
    while True:
        with ServerProcess(directory / f"data-{number}", "--environments", str(environments)) as server:
            run = _run(server, stack, content)
        yield run
        number += 1


def _run(server: ServerProcess, stack: Stack, content: Path) -> dict[str, float]:
    deploy.bucket(server, stacks.BUCKET)
    stacks.upload(server, stack, stack.name, content, {})
    sagemaker, begun = server.client("sagemaker"), time.perf_counter()
    sagemaker.create_endpoint(EndpointName=stack.name, EndpointConfigName=stack.name)
    while (described := sagemaker.describe_endpoint(EndpointName=stack.name))["EndpointStatus"] == "Creating":
        time.sleep(_LOOK_S)
    if described["EndpointStatus"] != "InService":
        raise NotStartedError(described["FailureReason"].splitlines()[0])
    in_service_s = time.perf_counter() - begun
    body, content_type = (b"1.0", "text/csv") if stack is XGBOOST else (b"{}", "application/json")
    said = stacks.ask(server, stack.name, body, content_type)
    if said["State"] != "Completed":
        raise NotStartedError(f"its first request failed: {said.get('Reason')}")
    return {"in_service_s": in_service_s, "answered_s": time.perf_counter() - begun}
