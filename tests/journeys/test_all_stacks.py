"""Five endpoints, one a stack, at once on one machine: each answers, and what memory each takes is told."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import xgboost
from tests.support import deploy, stacks
from tests.support.instance import ENVIRONMENTS
from tests.support.server_process import ServerProcess
from tests.support.stacks import HUGGING_FACE, PYTORCH_MMS, SCIKIT_LEARN, TORCHSERVE, XGBOOST, Stack

pytestmark = [pytest.mark.slow, pytest.mark.needs_image, pytest.mark.timeout(1800), pytest.mark.xdist_group("stacks")]

DIRECTORIES = {
    "xgboost": "sagemaker-xgboost",
    "scikit-learn": "sagemaker-scikit-learn",
    "torchserve": "pytorch-inference",
    "pytorch-mms": "pytorch-inference-mms",
    "hugging-face": "huggingface-pytorch-inference",
}
CONSTANT = "import numpy, sklearn.dummy\ndef model_fn(d):\n    return sklearn.dummy.DummyRegressor().fit([[0, 0]], [7])\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, "--environments", str(ENVIRONMENTS)) as running:
        deploy.bucket(running, stacks.BUCKET)
        yield running


def _contents(directory: Path) -> Iterator[tuple[Stack, Path, bytes, str, object]]:
    """(stack, model archive's content, request, its type, the answer)."""
    trees = stacks.write_trees(directory / "x")
    yield XGBOOST, directory / "x", b"1.0", "text/csv", pytest.approx(float(trees.predict(xgboost.DMatrix([[1.0]]))[0]))
    yield SCIKIT_LEARN, stacks.write(directory / "s", {"code/inference.py": CONSTANT}), b"1,1", "text/csv", [7]
    stacks.run_in(TORCHSERVE.prepare(), stacks.TORCHSCRIPT, directory / "t")
    yield TORCHSERVE, directory / "t", b"[1.5]", "application/json", [3]
    stacks.run_in(PYTORCH_MMS.prepare(), stacks.TORCHSCRIPT, directory / "m")
    stacks.write(directory / "m", {"code/inference.py": stacks.LOADING})
    yield PYTORCH_MMS, directory / "m", b"[1.5]", "application/json", [3]
    score = float(stacks.run_in(HUGGING_FACE.prepare(), stacks.TINY_BERT, directory / "h"))
    yield HUGGING_FACE, directory / "h", b'{"inputs": "good day"}', "application/json", pytest.approx(score, abs=1e-6)


def test_an_endpoint_of_each_stack_at_once(server: ServerProcess, tmp_path: Path, tell: Callable[[str], None]) -> None:
    cases = list(_contents(tmp_path))
    for stack, content, *_ in cases:
        environment = {"HF_TASK": "text-classification", "HF_HUB_OFFLINE": "1"} if stack is HUGGING_FACE else {}
        stacks.serve(server, stack, stack.name, content, environment)
    for stack, _, body, kind, answer in cases:
        said = json.loads(stacks.ask(server, stack.name, body, kind)["answer"])
        assert (said[0]["score"] if stack is HUGGING_FACE else said) == answer, stack.name
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
