"""Unmodified clients, each in the pinned environment that `make clients` builds."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.server_process import ServerProcess

ROOT = Path(__file__).parents[2]
CLIENTS = sorted(path.stem for path in (ROOT / "requirements" / "clients").glob("*.in"))


@pytest.mark.needs_clients
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_gets_its_answers(tmp_path: Path, client: str) -> None:
    python = ROOT / ".clients" / client / "bin" / "python"
    if not python.exists():
        pytest.skip(f"the environment of {client} is not there: make clients")
    with ServerProcess(tmp_path / "data") as server:
        command = [sys.executable, "-m", "tarry", "env", "--data-dir", str(server.data_dir)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        shell = f"{lines}\nexec {python} {ROOT / 'tests' / 'clients' / 'program.py'}"
        environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["bodies"] == ["from S3", "inline"]
