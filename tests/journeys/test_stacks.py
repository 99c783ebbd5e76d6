"""The guide's table of stacks, each on its real server with its real toolkit, through unmodified boto3.

Without the variables a request that is larger than the server's own limits fails; with them, as the guide has them, it passes.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import deploy, stacks
from tests.support.command_line import tarry
from tests.support.instance import ENVIRONMENTS
from tests.support.server_process import ServerProcess
from tests.support.stacks import HUGGING_FACE, PYTORCH_MMS, TORCHSERVE, Stack
from tests.support.wheels import WHEEL, tiny_wheel

LARGE = 7_000_000  # above the servers' default limit of 6.5 MB

pytestmark = [
    pytest.mark.slow,
    pytest.mark.needs_image,
    pytest.mark.timeout(1800),
    pytest.mark.xdist_group("stacks"),
    pytest.mark.parametrize("stack", stacks.ALL, ids=lambda stack: stack.name),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, "--environments", str(ENVIRONMENTS)) as running:
        deploy.bucket(running, stacks.BUCKET)
        yield running


@pytest.fixture(autouse=True)
def _gone_afterwards(server: ServerProcess) -> Iterator[None]:
    yield
    stacks.delete(server)


@pytest.fixture
def script(tmp_path: Path, stack: Stack) -> Path:
    """A model archive's content that can be told what to do."""
    stack.prepare()
    return stacks.write(tmp_path / "model", {"code/inference.py": stacks.SCRIPT})


def test_without_the_variables_large_requests_and_answers_fail(server: ServerProcess, stack: Stack, script: Path) -> None:
    name = f"{stack.name}-plain"
    stacks.serve(server, stack, name, script, {})
    small = stacks.ask(server, name, b"abc")
    assert json.loads(small["answer"]) == {"model": True, "got": 3, "filler": ""}
    assert stacks.ask(server, name, bytes(LARGE))["State"] == "Failed"
    assert stacks.wish(server, name, answer=LARGE)["State"] == "Failed"
    assert stacks.wish(server, name, got=1)["State"] == "Completed", "it serves on"


def test_with_the_variables_of_the_guide_they_pass(server: ServerProcess, stack: Stack, script: Path) -> None:
    name = f"{stack.name}-seed"
    stacks.serve(server, stack, name, script, stack.seed)
    large = stacks.ask(server, name, bytes(LARGE))
    assert json.loads(large["answer"])["got"] == LARGE
    assert len(json.loads(stacks.wish(server, name, answer=LARGE)["answer"])["filler"]) == LARGE
    assert stacks.wish(server, name, sleep=3)["State"] == "Completed"
    printed = tarry(server, "logs", name).out.split("ENVIRONMENT ")[1].splitlines()[0]
    environment = json.loads(printed)
    assert {key: environment[key] for key in stack.seed} == stack.seed, "the guide's check: inference.py prints its variables"


@pytest.mark.parametrize("kind", ["REQUEST", "RESPONSE"])
def test_each_size_has_a_variable_of_its_own(server: ServerProcess, stack: Stack, script: Path, kind: str) -> None:
    """One alone lets through what is its own, and nothing else."""
    name = f"{stack.name}-{kind.lower()}"
    alone = {key: value for key, value in stack.seed.items() if key.endswith(f"MAX_{kind}_SIZE")}
    stacks.serve(server, stack, name, script, alone)
    states = stacks.ask(server, name, bytes(LARGE))["State"], stacks.wish(server, name, answer=LARGE)["State"]
    assert states == (("Completed", "Failed") if kind == "REQUEST" else ("Failed", "Completed"))


def test_the_response_timeout_alone_decides_whether_a_request_passes(server: ServerProcess, stack: Stack, script: Path) -> None:
    """The same request, longer than one time and shorter than another."""
    for timeout_s, state in ((stack.patience_s, "Failed"), (3 * stack.patience_s, "Completed")):
        name = f"{stack.name}-{timeout_s}-s"
        stacks.serve(server, stack, name, script, {stack.timeout: str(timeout_s)})
        assert stacks.wish(server, name, sleep=0)["State"] == "Completed"
        assert stacks.wish(server, name, sleep=2 * stack.patience_s)["State"] == state


def test_the_response_timeout_of_the_guide_is_in_seconds_or_minutes(server: ServerProcess, stack: Stack, script: Path) -> None:
    """TorchServe counts seconds; Multi Model Server counts its variable of the same name in minutes."""
    if stack is TORCHSERVE:
        pytest.skip("seconds: seen in the test above")
    name = f"{stack.name}-minutes"
    stacks.serve(server, stack, name, script, {"MMS_DEFAULT_RESPONSE_TIMEOUT": "1"})
    assert stacks.wish(server, name, sleep=6)["State"] == "Completed"
    assert stacks.wish(server, name, sleep=70)["State"] == "Failed"


def test_a_model_answers_through_the_toolkits_own_functions(server: ServerProcess, stack: Stack, tmp_path: Path) -> None:
    python, name, content = stack.prepare(), f"{stack.name}-model", tmp_path / "model"
    if stack is HUGGING_FACE:
        score = float(stacks.run_in(python, stacks.TINY_BERT, content))
        stacks.serve(server, stack, name, content, {"HF_TASK": "text-classification", "HF_HUB_OFFLINE": "1"})
        said = stacks.ask(server, name, b'{"inputs": "good day"}', "application/json")
        assert json.loads(said["answer"])[0]["score"] == pytest.approx(score, abs=1e-6)
        return
    stacks.run_in(python, stacks.TORCHSCRIPT, content)
    if stack is PYTORCH_MMS:  # the toolkit of that time has no model_fn of its own
        stacks.write(content, {"code/inference.py": stacks.LOADING})
    stacks.serve(server, stack, name, content, {})
    said = stacks.ask(server, name, b"[[1, 2.5]]", "application/json")
    assert json.loads(said["answer"]) == [[2, 5]]


def test_requirements_are_installed_at_start_by_two_instances_side_by_side(
    server: ServerProcess, stack: Stack, tmp_path: Path
) -> None:
    """As the toolkits do it, with pip; the image's environment, which others share, stays as it is."""
    stack.prepare()
    inference = "import tiny\n" + stacks.SCRIPT.replace("os.path.isdir(model_dir)", "tiny.__file__")
    requirements = "--no-index\n--find-links .\ntiny\n"
    content = stacks.write(tmp_path / "model", {"code/inference.py": inference, "code/requirements.txt": requirements})
    (content / "code" / WHEEL).write_bytes(tiny_wheel())
    name = f"{stack.name}-requirements"
    stacks.serve(server, stack, name, content, {}, instances=2)
    assert "environment/lib/python3.11/site-packages/tiny.py" in json.loads(stacks.wish(server, name)["answer"])["model"]
    python = Path(stack.prepare())
    assert not list(python.parents[1].glob("lib/*/site-packages/tiny.py"))
