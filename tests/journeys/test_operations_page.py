"""The examples of docs/operations.md, as a reader would type them."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import deploy
from tests.support.server_process import ServerProcess

PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
BUCKET = "operations-page"


def _examples(section: str) -> dict[str, str]:
    """The code of a section, by language."""
    _, _, rest = PAGE.read_text().partition(f"## {section}\n")
    text, _, _ = rest.partition("\n## ")
    return dict(re.findall(r"```(\w+)\n(.*?)```", text, re.DOTALL))


def test_what_happened_to_my_request(tmp_path: Path) -> None:
    examples = _examples("What happened to my request?")
    (tmp_path / "in.csv").write_text("1,2,3")
    (tmp_path / "broken.csv").write_bytes(deploy.wish(status=500, answer="out of memory"))
    (tmp_path / "program.py").write_text(examples["python"])
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    with ServerProcess(tmp_path / "tarry") as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "my-endpoint", BUCKET)
        shell = f"set -e\n{examples['sh']}\npython program.py"
        done = subprocess.run(["sh", "-c", shell], capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1,2,3")
    assert "out of memory" in done.stderr
    for words in (
        "exit code 3",
        "timeline\tAnswered",
        "my-endpoint\tInService\t1/1",
        "Completed None",
        "Received 20",
        "1 asked again",
    ):
        assert words in done.stdout, words


def test_what_did_the_model_server_say(tmp_path: Path) -> None:
    examples = _examples("What did the model server say?")
    (tmp_path / "program.py").write_text(examples["python"])
    once = [line for line in examples["sh"].splitlines() if "--follow" not in line]
    environ = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HOME": str(tmp_path)}
    with ServerProcess(tmp_path / "tarry") as server:
        deploy.bucket(server, BUCKET)
        deploy.endpoint(server, "my-endpoint", BUCKET)
        lines = ["set -e", 'eval "$(tarry env --data-dir tarry)"', *once, "python program.py"]
        shell = ["sh", "-c", "\n".join(lines)]
        done = subprocess.run(shell, capture_output=True, text=True, check=False, cwd=tmp_path, env=environ)
    assert done.returncode == 0, done.stderr
    printed, every, listed, *told = [line for line in done.stdout.splitlines() if line]
    assert printed == every
    assert printed.startswith("stub model server on port")
    instance = listed.split("\t")[0]
    assert listed.split("\t")[1:4] == ["", "v", "InService"]
    assert told == [f"{instance} InService {printed}"]
