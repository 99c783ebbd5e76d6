"""`tarry package` and `tarry serve-local`, as somebody uses them who has a model and no endpoint yet."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import stacks
from tests.support.instance import ENVIRONMENTS

pytestmark = [pytest.mark.needs_image, pytest.mark.timeout(300), pytest.mark.xdist_group("tarry-python")]

IMAGE = "tarry/python:{}.{}".format(*platform.python_version_tuple())
CODE = "import os\nprint('loading')\ndef predict_fn(data, model):\n    return [data, os.environ.get('COLOUR')]\n"


def _tarry(directory: Path, *arguments: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "tarry", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory)
    return done.returncode, done.stdout, done.stderr


def _serve(directory: Path, *arguments: str) -> tuple[int, str, str]:
    return _tarry(directory, "serve-local", "model.tar.gz", "--image", IMAGE, "--environments", str(ENVIRONMENTS), *arguments)


def test_a_directory_becomes_an_archive_that_answers(tmp_path: Path) -> None:
    stacks.write(tmp_path / "model", {"code/inference.py": CODE})
    stacks.write(tmp_path, {"in.json": "[1]"})
    assert _tarry(tmp_path, "package", "model")[:2] == (
        0,
        f"model.tar.gz: 1 file, {(tmp_path / 'model.tar.gz').stat().st_size} bytes\n",
    )
    code, said, _ = _serve(tmp_path, "--input", "in.json", "--env", "COLOUR=blue")
    assert code == 0
    assert "/ping\t200 after" in said
    assert "/invocations\t200 application/json after" in said
    assert said.endswith('answer\t13 bytes\n[[1], "blue"]\n')


def test_what_does_not_load_is_told_with_its_log(tmp_path: Path) -> None:
    stacks.write(tmp_path / "model", {"code/inference.py": "import absent_module\n"})
    code, _, doubts = _tarry(tmp_path, "package", "model")
    assert (code, "defines none of" in doubts) == (0, True)
    code, said, complaints = _serve(tmp_path)
    assert (code, "/ping\tnever 200" in said) == (3, True)
    assert "No module named 'absent_module'" in complaints


def test_an_answer_that_is_an_error_is_told_with_the_log(tmp_path: Path) -> None:
    stacks.write(tmp_path / "model", {"code/inference.py": "def predict_fn(data, model):\n    return data[7]\n"})
    stacks.write(tmp_path, {"in.json": "[1]"})
    _tarry(tmp_path, "package", "model")
    code, said, complaints = _serve(tmp_path, "--input", "in.json")
    assert (code, "/invocations\t500" in said, "IndexError" in complaints) == (3, True, True)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("package", "absent"), "absent is not a directory"),
        (("serve-local", "model.tar.gz", "--image", "nobody/knows:1"), "No image is known"),
        (("serve-local", "model.tar.gz", "--image", IMAGE, "--env", "x"), "--env expects NAME=VALUE"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    stacks.write(tmp_path, {"model.tar.gz": "no archive"})
    code, said, complaint = _tarry(tmp_path, *arguments)
    assert (code, said) == (1, "")
    assert says in complaint
    assert "Traceback" not in complaint


def test_a_damaged_archive_is_said_in_a_line(tmp_path: Path) -> None:
    stacks.write(tmp_path, {"model.tar.gz": "no archive"})
    code, _, complaint = _serve(tmp_path)
    assert (code, "not a gzip-compressed tar archive" in complaint, "Traceback" in complaint) == (1, True, False)
