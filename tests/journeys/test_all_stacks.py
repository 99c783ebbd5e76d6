"""Five endpoints, one a stack, at once on one machine: each answers, and what memory each takes is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from tests.support import deploy, stacks
from tests.support.instance import ENVIRONMENTS
from tests.support.server_process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.needs_image, pytest.mark.timeout(1800), pytest.mark.xdist_group("stacks")]

DIRECTORIES = {
    "xgboost": "sagemaker-xgboost",
    "scikit-learn": "sagemaker-scikit-learn",
    "torchserve": "pytorch-inference",
    "pytorch-mms": "pytorch-inference-mms",
    "hugging-face": "huggingface-pytorch-inference",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, "--environments", str(ENVIRONMENTS)) as running:
        deploy.bucket(running, stacks.BUCKET)
        yield running


def test_an_endpoint_of_each_stack_at_once(server: ServerProcess, tmp_path: Path, tell: Callable[[str], None]) -> None:
    cases = [stacks.case(stack, tmp_path) for stack in stacks.EVERY]
    for case in cases:
        stacks.serve(server, case.stack, case.stack.name, case.content, case.environment)
    for case in cases:
        case.check(stacks.ask(server, case.stack.name, case.body, case.content_type))
    memory = _memory(server)
    assert set(memory) == set(DIRECTORIES)
    for name, (processes, megabytes) in memory.items():
        tell(f"{name}: {processes} processes, {megabytes:.0f} MB")


def _memory(server: ServerProcess) -> dict[str, tuple[int, float]]:
    """Processes and proportional set size (what is shared counted once) of each stack's instance."""
    found = {}
    for child in psutil.Process(server.pid).children():
        family = [one for one in (child, *child.children(recursive=True)) if one.status() != psutil.STATUS_ZOMBIE]
        words = " ".join(word for one in family for word in one.cmdline())
        for name, directory in DIRECTORIES.items():
            if f"serving/{directory}/" in words:
                found[name] = (len(family), sum(one.memory_full_info().pss for one in family) / 1e6)
    return found
