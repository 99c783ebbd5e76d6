"""`make demo` and the README's program, as a new user would run them: real SageMaker SDK, real XGBoost, real processes."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import xgboost
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


def _model_archive(path: Path) -> xgboost.Booster:
    data = xgboost.DMatrix([[0.0, 1.0, 2.0], [1.0, 0.0, 2.0], [2.0, 1.0, 0.0], [3.0, 1.5, 2.5]], label=[0, 0, 1, 1])
    booster = xgboost.train({"objective": "reg:squarederror", "max_depth": 2}, data, num_boost_round=5)
    raw = bytes(booster.save_raw("ubj"))
    with tarfile.open(path, "w:gz") as archive:
        member = tarfile.TarInfo("xgboost-model")
        member.size = len(raw)
        archive.addfile(member, io.BytesIO(raw))
    return booster


def test_the_program_of_the_readme_runs_as_it_stands(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    booster = _model_archive(tmp_path / "demo-xgboost-model.tar.gz")
    make = [str(ROOT / "scripts" / "make-environment"), str(ROOT / ".demo" / "program"), str(ROOT / "requirements" / "demo.txt")]
    subprocess.run(make, check=True, capture_output=True)
    environments = ("--environments", str(ROOT / ".demo" / "environments"))
    with ServerProcess(tmp_path / "data", *environments) as server:
        command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(server.data_dir)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        shell = f'{lines}\nexec {PROGRAM_PYTHON} -c "$PROGRAM"'
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PROGRAM": program}
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    (answer,) = re.findall(r"b'([-0-9.e]+)'", done.stdout)
    expected = float(booster.predict(xgboost.DMatrix([[0.5, 1.5, 2.5]]))[0])
    assert float(answer) == pytest.approx(expected, abs=1e-6)
