"""The code that comes with a model: where it lies, and what it wants to have installed.

# AWS: SAGEMAKER_PROGRAM, SAGEMAKER_SUBMIT_DIRECTORY and what it may say (aws/sagemaker-containers, _env.py and _files.py); code/
# in the model directory, and inference.py (aws/sagemaker-inference-toolkit, environment.py).
"""

import os
import subprocess
import sys
import tarfile
import urllib.parse
from pathlib import Path, PurePosixPath

DEFAULT_PROGRAM = "inference.py"
CONTRACT_BASE = PurePosixPath("/opt/ml")


class Unusable(Exception):
    """The instance cannot start; the text says why and what to do."""


def base_directory():
    """What the container contract calls /opt/ml."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", CONTRACT_BASE))


def model_directory():
    return base_directory() / "model"


def program():
    """The name of the user's module."""
    return (os.environ.get("SAGEMAKER_PROGRAM") or DEFAULT_PROGRAM).removesuffix(".py")


def code_directory():
    """SAGEMAKER_SUBMIT_DIRECTORY (a directory, or an archive in S3, which is fetched), else ``code`` in the model directory.

    Without either, the model directory itself, if the program lies there. Errors: Unusable.
    """
    submitted = os.environ.get("SAGEMAKER_SUBMIT_DIRECTORY", "")
    if submitted.startswith("s3://"):
        return fetched(submitted)
    if submitted:
        path = PurePosixPath(submitted.removeprefix("file://"))
        return base_directory() / path.relative_to(CONTRACT_BASE) if path.is_relative_to(CONTRACT_BASE) else Path(path)
    code, beside = model_directory() / "code", model_directory() / f"{program()}.py"
    return model_directory() if beside.is_file() and not code.is_dir() else code


def fetched(uri):
    """Unpack ``s3://bucket/…/sourcedir.tar.gz`` into the home directory; returns where. Errors: Unusable."""
    try:
        import boto3  # noqa: PLC0415 - not every image has it
    except ImportError:
        raise Unusable(
            f"SAGEMAKER_SUBMIT_DIRECTORY is {uri}, and this image has no boto3 to fetch it: put the code into the model archive, "
            f"as code/{program()}.py."
        ) from None
    place, archive = Path(os.environ["HOME"], "code"), Path(os.environ["HOME"], "sourcedir.tar.gz")
    where = urllib.parse.urlsplit(uri)
    try:
        boto3.client("s3").download_file(where.netloc, where.path.lstrip("/"), str(archive))
        unpack(archive, place)
    except Exception as error:
        raise Unusable(f"SAGEMAKER_SUBMIT_DIRECTORY {uri} cannot be fetched: {error}") from error
    return place


def unpack(archive, place):
    """Unpack a tar archive whole. tarfile takes a broken header for the end; what comes after the end tells. Errors: TarError."""
    safe = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # an old Python has none
    with tarfile.open(archive) as tar:
        tar.extractall(place, **safe)  # noqa: S202 - the model owner's archive, in the model owner's instance
        tar.fileobj.seek(tar.offset)
        after = tar.fileobj.read(512)
        while after and not after.strip(b"\0"):  # to the end of the file, where gzip compares its checksum
            after = tar.fileobj.read(1024 * 1024)
        if after or tar.fileobj.tell() < tar.offset + 512:
            raise tarfile.ReadError(f"it is damaged at byte {tar.offset} of the tar: zeros to the end were expected there")


def check(code):
    """Errors: Unusable when the program is not in its directory."""
    file = code.joinpath(*program().split(".")).with_suffix(".py")
    if file.is_file():
        return
    there = ", ".join(sorted(path.name for path in code.iterdir())[:20]) if code.is_dir() else None
    found = "there is no such directory" if there is None else f"it holds {there or 'nothing'}"
    raise Unusable(f"There is no {file.name} in {code} ({found}). Put it there, or name yours in SAGEMAKER_PROGRAM.")


def install_requirements(code, python):
    """``pip install -r requirements.txt`` with the instance's own interpreter, if there is such a file. Errors: Unusable."""
    file = code / "requirements.txt"
    if not file.is_file():
        return
    print(f"Installing {file} ...", flush=True)
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-r", file]
    ended = subprocess.call(command, stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=sys.stderr, cwd=code)
    if ended != 0:
        raise Unusable(
            f"The packages of {file} could not be installed: pip ended with code {ended}; its own words stand above. "
            "Without a network, put wheels beside the file, with a line --find-links . in it, "
            "or set PIP_INDEX_URL in the model's Environment."
        )
