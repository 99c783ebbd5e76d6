"""`make demo` and the README's program, as a new user would run them: real SageMaker SDK, real XGBoost, real processes."""

import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import xgboost
from tests.support import deploy
from tests.support.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
PROGRAM_PYTHON = ROOT / ".demo" / "program" / "bin" / "python"
pytestmark = [pytest.mark.needs_image, pytest.mark.timeout(900), pytest.mark.xdist_group("demo")]


def test_the_demo_compares_every_answer() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "demo" / "run.py")], capture_output=True, text=True, check=False, env=os.environ
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("largest difference to the model") == 2
    assert "every answer is the model's own" in done.stdout


def _run(program: str, directory: Path, lines: str = "") -> str:
    """A Python program of the README in the demo's environment, as a shell would run it."""
    environ = {"PATH": os.environ["PATH"], "HOME": str(directory), "PROGRAM": program}
    shell = f'{lines}\nexec {PROGRAM_PYTHON} -c "$PROGRAM"'
    done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, cwd=directory, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _prediction(archive: Path) -> float:
    """What the archive's model says by itself."""
    with tarfile.open(archive) as tar:
        member = tar.extractfile("xgboost-model")
        assert member is not None
        booster = xgboost.Booster(model_file=bytearray(member.read()))
    return float(booster.predict(xgboost.DMatrix([[0.5, 1.5, 2.5]]))[0])


def test_the_programs_of_the_readme_run_as_they_stand_and_can_run_again(tmp_path: Path) -> None:
    text = (ROOT / "README.md").read_text()
    make_model, program, clean_up = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    *_, one_line = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    make = [str(ROOT / "scripts" / "make-environment"), str(ROOT / ".demo" / "program"), str(ROOT / "requirements" / "demo.txt")]
    subprocess.run(make, check=True, capture_output=True)
    _run(make_model, tmp_path)
    with ServerProcess(tmp_path / "data", "--environments", str(ROOT / ".demo" / "environments")) as server:
        command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(server.data_dir)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        said = _run(program, tmp_path, lines)
        (answer,) = re.findall(r"b'([-0-9.e]+)'", said)
        assert float(answer) == pytest.approx(_prediction(tmp_path / "demo-xgboost-model.tar.gz"), abs=1e-6)
        typed = _run("print()", tmp_path, f"{lines}\n{one_line}")
        assert typed.startswith(answer)
        assert typed.count("Completed") == 2
        _run(f"import boto3\nsagemaker = boto3.client('sagemaker')\n{clean_up}", tmp_path, lines)
        sagemaker = server.client("sagemaker")
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName="demo-endpoint", WaiterConfig=deploy.WAITER)
        assert _run(program, tmp_path, lines) == said
