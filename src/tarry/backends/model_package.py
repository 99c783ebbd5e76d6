"""A model archive that cannot be served is found out late: when an endpoint fails to start. Making it here looks first.

``make`` packs a directory as the container contract wants it (a tar.gz whose root is the model directory), unpacks the result as
the server would, and reads the Python code that came along without running it.
"""

import ast
import gzip
import os
import tarfile
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tarry.backends.model_archive import ArchiveBounds, ArchiveRefused, unpack
from tarry.backends.trees import discard_tree
from tarry.core.errors import InvalidRequest

LEFT_OUT = ("__pycache__", ".git", ".ipynb_checkpoints", ".DS_Store")
_PARAMETERS = {
    "model_fn": ("model_dir",),
    "input_fn": ("data", "content_type"),
    "predict_fn": ("data", "model"),
    "output_fn": ("prediction", "accept"),
    "transform_fn": ("model", "data", "content_type", "accept"),
}
# AWS: the functions and their parameters, and that each may take a context more (repository aws/sagemaker-inference-toolkit).


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """What was packed: the number of files, bytes of the archive, names that were left out, and what is doubtful about it."""

    files: int
    size: int
    left_out: tuple[str, ...]
    doubts: tuple[str, ...]


def make(directory: Path, archive: Path, program: str = "inference.py") -> Package:
    """Pack a directory. ``program`` is what SAGEMAKER_PROGRAM will name.

    Blocking. Errors: InvalidRequest, with everything that is wrong; then there is no archive. The archive appears whole.
    """
    if not directory.is_dir():
        raise InvalidRequest(f"{directory} is not a directory. Expected the directory that becomes /opt/ml/model.")
    if archive.exists() and not archive.is_file():
        raise InvalidRequest(f"{archive} is not a file, so no archive takes its place. Name a file, or what is not there yet.")
    faults, doubts = review(directory, program)
    if faults:
        raise InvalidRequest(" ".join(faults))
    unfinished = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        names, left_out = _pack(directory, unfinished, archive)
        _try_to_unpack(unfinished)
        unfinished.replace(archive)
    except OSError as error:
        raise InvalidRequest(f"{archive} cannot be written: {error}.") from error
    finally:
        unfinished.unlink(missing_ok=True)
    return Package(files=len(names), size=archive.stat().st_size, left_out=tuple(left_out), doubts=tuple(doubts))


def review(directory: Path, program: str) -> tuple[list[str], list[str]]:
    """What will not work, and what may not, told from the names of files and from the code."""
    code, name = directory / "code", program.removesuffix(".py") + ".py"
    faults, doubts = [], []
    if (directory / "requirements.txt").is_file():
        doubts.append("requirements.txt is not installed where it lies; it belongs into code/.")
    if (code / name).is_file():
        wrong, doubtful = _review_code(code / name)
        faults += wrong
        doubts += doubtful
    elif (directory / name).is_file():
        doubts.append(f"{name} belongs into code/: the toolkits of PyTorch and Hugging Face look for it there only.")
    elif code.is_dir():
        doubts.append(f"There is no code/{name}: --program names the file that SAGEMAKER_PROGRAM will name.")
    return faults, doubts


def _review_code(file: Path) -> tuple[list[str], list[str]]:
    try:
        tree = ast.parse(file.read_bytes(), str(file))
    except SyntaxError as error:
        return [f"code/{file.name}, line {error.lineno}: {error.msg}."], []
    except (OSError, ValueError, RecursionError, MemoryError) as error:  # the last two: what is nested too deeply for Python
        return [f"code/{file.name} cannot be read as Python: {type(error).__name__} {error}."], []
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    known = [name for name in _PARAMETERS if name in functions]
    faults = [text for name in known for text in _review_function(file, functions[name])]
    if "transform_fn" in known and (others := set(known) - {"transform_fn", "model_fn"}):
        faults.append(f"code/{file.name}: transform_fn takes the place of {min(others)}; write one or the other.")
    if not known:
        return faults, [f"code/{file.name} defines none of {', '.join(_PARAMETERS)} itself."]
    return faults, []


def _review_function(file: Path, function: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    where = f"code/{file.name}, line {function.lineno}: {function.name}"
    wanted = _PARAMETERS[function.name]
    arguments = function.args
    positional = len(arguments.posonlyargs) + len(arguments.args)
    needed = positional - len(arguments.defaults)
    if isinstance(function, ast.AsyncFunctionDef):
        yield f"{where} is async, and nobody would await it."
    elif not arguments.vararg and not needed <= len(wanted) <= positional and needed != len(wanted) + 1:
        yield f"{where} is called with ({', '.join(wanted)}), and a context if it has one parameter more."


def _pack(directory: Path, archive: Path, result: Path) -> tuple[Sequence[str], Sequence[str]]:
    """The same directory gives the same archive: names in order, nobody's, nothing of when it was made."""
    names: list[str] = []
    left_out: list[str] = []
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar,
    ):
        for path in sorted(_below(directory, {archive.resolve(), result.resolve()}, left_out)):
            name = str(path.relative_to(directory))
            tar.add(path, name, recursive=False, filter=_anonymous)
            names += [name] if not path.is_dir() else []
    return names, left_out


def _below(directory: Path, not_these: set[Path], left_out: list[str]) -> Iterator[Path]:
    for folder, folders, files in os.walk(directory):
        for name in [*folders, *files]:
            path = Path(folder, name)
            if name in LEFT_OUT or path.suffix == ".pyc":
                left_out.append(str(path.relative_to(directory)))
            elif Path(os.path.realpath(path)) not in not_these:  # unlike resolve, it bears a loop of links
                yield path
        folders[:] = [name for name in folders if name not in LEFT_OUT]


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _try_to_unpack(archive: Path) -> None:
    """Unpack it as the server does, beside it, and throw the result away."""
    place = Path(tempfile.mkdtemp(prefix=".tarry-package-", dir=archive.parent))
    try:
        unpack(archive, place / "model", ArchiveBounds(), threading.Event())
    except ArchiveRefused as error:
        raise InvalidRequest(f"The server would refuse this archive. {error}") from error
    finally:
        discard_tree(place)
