"""The SageMaker SDK's classes for frameworks, with a script: what they upload, name and set is what the images expect."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support import stacks
from tests.support.instance import ENVIRONMENTS
from tests.support.model_objects import archive_of
from tests.support.server_process import ServerProcess
from tests.support.stacks import HUGGING_FACE, TORCHSERVE, Stack

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".clients" / "sagemaker-sdk-v2" / "bin" / "python"
SCRIPT = """
def model_fn(model_dir):
    return open(model_dir + "/word.txt").read()
def {function}({parameters}):
    return {result}
"""
PREDICT = {"function": "predict_fn", "parameters": "data, model", "result": "[model, len(data)]"}
TRANSFORM = {"function": "transform_fn", "parameters": "model, data, content_type, accept", "result": "'[\"' + model + '\", 1]'"}

pytestmark = [
    pytest.mark.needs_clients,
    pytest.mark.needs_image,
    pytest.mark.timeout(1200),
    pytest.mark.xdist_group("scikit-learn"),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    data = tmp_path_factory.mktemp("server") / "data"
    with ServerProcess(data, "--environments", str(ENVIRONMENTS)) as running:
        yield running


@pytest.mark.parametrize(
    ("kind", "stack", "script", "repository"),
    [
        ("sklearn", None, PREDICT, "sagemaker-scikit-learn:1.2-1-cpu-py3"),
        pytest.param("pytorch", TORCHSERVE, TRANSFORM, "pytorch-inference:1.8-cpu-py3", marks=pytest.mark.slow),
        pytest.param("huggingface", HUGGING_FACE, TRANSFORM, "huggingface-pytorch-inference:1.13", marks=pytest.mark.slow),
    ],
)
def test_a_script_of_the_sdk_answers(
    server: ServerProcess, tmp_path: Path, kind: str, stack: Stack | None, script: dict[str, str], repository: str
) -> None:
    if not PYTHON.exists():
        pytest.skip("the environment of sagemaker-sdk-v2 is not there: make clients")
    if stack is not None:
        stack.prepare()
    stacks.write(tmp_path, {"source/script.py": SCRIPT.format(**script)})
    (tmp_path / "model.tar.gz").write_bytes(archive_of({"word.txt": b"loaded"}))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(server.data_dir)]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    program = f"{lines}\nexec {PYTHON} {Path(__file__).with_name('sagemaker_sdk_v2_scripts.py')} {kind}"
    done = subprocess.run(["sh", "-c", program], capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["answer"] == ["loaded", 1]
    assert repository in told["image"]
