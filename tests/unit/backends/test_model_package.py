"""What `tarry package` makes, and what it finds."""

import os
import tarfile
from pathlib import Path

import pytest

from tarry.backends.model_package import make
from tarry.core.errors import InvalidRequest

GOOD = "def model_fn(model_dir):\n    return 1\ndef predict_fn(data, model, context):\n    return data\n"


def tree(directory: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = directory / "m" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory / "m"


def names(archive: Path) -> list[str]:
    with tarfile.open(archive) as tar:
        return tar.getnames()


def test_it_packs_what_is_there_and_says_what_it_left_out(tmp_path: Path) -> None:
    model = tree(tmp_path, {"weights.bin": "w", "code/inference.py": GOOD, "code/__pycache__/x.pyc": "", ".git/HEAD": ""})
    package = make(model, tmp_path / "model.tar.gz")
    assert names(tmp_path / "model.tar.gz") == ["code", "code/inference.py", "weights.bin"]
    assert (package.files, package.doubts) == (2, ())
    assert sorted(package.left_out) == [".git", "code/__pycache__"]
    assert package.size == (tmp_path / "model.tar.gz").stat().st_size
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m", "model.tar.gz"]


def test_an_archive_in_the_directory_itself_is_not_packed_and_a_second_is_the_same(tmp_path: Path) -> None:
    model = tree(tmp_path, {"weights.bin": "w"})
    make(model, model / "model.tar.gz")
    make(model, model / "model.tar.gz")
    assert names(model / "model.tar.gz") == ["weights.bin"]
    first = (model / "model.tar.gz").read_bytes()
    make(model, model / "model.tar.gz")
    assert (model / "model.tar.gz").read_bytes() == first


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("def model_fn(:\n", r"code/inference\.py, line 1: invalid syntax"),
        ("def model_fn():\n    pass\n", r"line 1: model_fn is called with \(model_dir\)"),
        ("def predict_fn(a, b, c, d):\n    pass\n", r"predict_fn is called with \(data, model\), and a context"),
        ("async def input_fn(data, content_type):\n    pass\n", "input_fn is async"),
        ("def transform_fn(m, d, c, a): pass\ndef output_fn(p, a): pass\n", "transform_fn takes the place of output_fn"),
    ],
)
def test_code_that_cannot_work_is_refused(tmp_path: Path, code: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        make(tree(tmp_path, {"code/inference.py": code}), tmp_path / "model.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    "code",
    ["def model_fn(d, c): pass", "def model_fn(*a): pass", "def input_fn(d, t='x'): pass", "def input_fn(d, t, more=1): pass"],
)
def test_every_way_to_take_the_arguments_is_fine(tmp_path: Path, code: str) -> None:
    assert make(tree(tmp_path, {"code/inference.py": code}), tmp_path / "model.tar.gz").doubts == ()


@pytest.mark.parametrize(
    ("files", "program", "says"),
    [
        ({"inference.py": GOOD}, "inference.py", "belongs into code/"),
        ({"code/mine.py": GOOD}, "inference.py", "There is no code/inference.py"),
        ({"code/inference.py": "import mine"}, "inference.py", "defines none of model_fn"),
        ({"code/mine.py": GOOD, "requirements.txt": "x"}, "mine", "requirements.txt is not installed where it lies"),
    ],
)
def test_what_is_doubtful_is_said(tmp_path: Path, files: dict[str, str], program: str, says: str) -> None:
    [doubt] = make(tree(tmp_path, files), tmp_path / "model.tar.gz", program).doubts
    assert says in doubt


def test_what_the_server_would_refuse_is_refused_here(tmp_path: Path) -> None:
    model = tree(tmp_path, {"weights.bin": "w"})
    (model / "outside").symlink_to("/etc/passwd")
    with pytest.raises(
        InvalidRequest, match=r'The server would refuse this archive\. The link "outside" points to "/etc/passwd"'
    ):
        make(model, tmp_path / "model.tar.gz")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


@pytest.mark.parametrize(
    ("name", "left_out"),
    [
        ("__pycache__/x.txt", "__pycache__"),
        (".git/HEAD", ".git"),
        (".ipynb_checkpoints/a.ipynb", ".ipynb_checkpoints"),
        (".DS_Store", ".DS_Store"),
        ("x.pyc", "x.pyc"),
    ],
)
def test_what_tools_leave_behind_is_left_out(tmp_path: Path, name: str, left_out: str) -> None:
    package = make(tree(tmp_path, {"weights.bin": "w", name: ""}), tmp_path / "model.tar.gz")
    assert names(tmp_path / "model.tar.gz") == ["weights.bin"]
    assert package.left_out == (left_out,)


def test_paths_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The archive within the directory is not packed into itself, however both are named."""
    tree(tmp_path, {"weights.bin": "w"})
    monkeypatch.chdir(tmp_path / "m")
    for directory, archive in ((".", "model.tar.gz"), ("../m", "model.tar.gz"), (".", "../m/model.tar.gz")):
        make(Path(directory), Path(archive))
        assert names(tmp_path / "m/model.tar.gz") == ["weights.bin"]


def test_an_archive_is_nobodys(tmp_path: Path) -> None:
    """Else it would say who made it, and be another for each of them."""
    model = tree(tmp_path, {"weights.bin": "w", "code/inference.py": GOOD})
    if os.geteuid() == 0:  # whose files have the owner 0 anyway
        os.chown(model / "weights.bin", 1234, 1234)
    make(model, tmp_path / "model.tar.gz")
    with tarfile.open(tmp_path / "model.tar.gz") as tar:
        assert {(one.uid, one.gid, one.uname, one.gname) for one in tar} == {(0, 0, "", "")}


def test_no_directory_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequest, match="is not a directory"):
        make(tmp_path / "absent", tmp_path / "model.tar.gz")


def test_only_a_file_is_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InvalidRequest, match="pipe is not a file, so no archive takes its place"):
        make(tree(tmp_path, {"w": ""}), pipe)
    assert pipe.is_fifo()


def test_a_loop_of_links_is_packed_as_it_is(tmp_path: Path) -> None:
    model = tree(tmp_path, {"w": ""})
    (model / "loop").symlink_to("loop")
    make(model, tmp_path / "model.tar.gz")
    assert names(tmp_path / "model.tar.gz") == ["loop", "w"]


def test_code_that_python_cannot_take_in_is_told(tmp_path: Path) -> None:
    model = tree(tmp_path, {"code/inference.py": "x = " + "-" * 100_000 + "1"})
    with pytest.raises(InvalidRequest, match=r"code/inference\.py cannot be read as Python: (RecursionError|MemoryError)"):
        make(model, tmp_path / "model.tar.gz")
