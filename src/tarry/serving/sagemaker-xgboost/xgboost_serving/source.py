"""Brings the user's script and what it needs into the instance, before any worker starts.

Only this instance changes: the script's own requirements go into a small environment on top of the image's, which is shared.
Nothing here may import numpy and the like: the script may bring its own.
"""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import venv
import zlib
from pathlib import Path


class NoSource(Exception):
    """The script cannot be had; the text says why and what to do."""


def fetch(variables):
    """The directory that holds the script. Raises NoSource.

    # AWS: where it may be, and that it comes to /opt/ml/code (aws/sagemaker-containers, _files.py and _modules.py).
    """
    where = variables.submit_directory.removeprefix("file://")
    code = variables.base_dir / "code"
    if where.startswith("s3://"):
        with tempfile.TemporaryDirectory() as directory:
            archive = Path(directory, "sourcedir.tar.gz")
            _download(where, archive)
            _unpack(archive, code, where)
        return _with_program(code, variables)
    if not where:  # OURS: the container looks at /opt/ml/code only, which nothing fills
        return _with_program(code if code.is_dir() else variables.model_dir / "code", variables)
    place = _local(where, variables)
    if place.is_dir():
        return _with_program(place, variables)
    if place.is_file() and tarfile.is_tarfile(place):
        _unpack(place, code, where)
        return _with_program(code, variables)
    raise NoSource(f"SAGEMAKER_SUBMIT_DIRECTORY is {where!r}, where there is neither a directory nor a tar archive.")


def interpreter(code, variables):
    """The Python that has what code/requirements.txt names: the running one if there is no such file. Raises NoSource."""
    requirements = code / "requirements.txt"
    if not requirements.is_file():
        return sys.executable
    home = variables.base_dir / "packages"
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    below = home / "lib" / version / "site-packages" / "image.pth"
    below.write_text(sysconfig.get_path("purelib") + "\n")
    print(f"installing what {requirements} names", flush=True)
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "-r", requirements]
    if subprocess.run(command, cwd=code, check=False).returncode:
        raise NoSource(
            f"pip could not install what {requirements} names; its lines above say why. An instance without a package index can "
            "install from wheels in the archive: --no-index --find-links wheels"
        )
    return str(python)


def _local(where, variables):
    """What is said to be below /opt/ml is below the instance's own directory."""
    return variables.base_dir / where.removeprefix("/opt/ml/") if where.startswith("/opt/ml/") else Path(where)


def _with_program(code, variables):
    program = variables.program
    if not any((code / name).exists() for name in (program, f"{program}.py", f"{program}/__init__.py")):
        found = ", ".join(sorted(path.name for path in code.iterdir())) if code.is_dir() else "no such directory"
        raise NoSource(f"SAGEMAKER_PROGRAM is {program!r}, which is not in {code} ({found or 'empty'}).")
    return code


def _download(uri, file):
    import boto3  # noqa: PLC0415 - takes half a second, which others need not wait

    bucket, _, key = uri.removeprefix("s3://").partition("/")
    try:
        boto3.client("s3").download_file(bucket, key, str(file))
    except Exception as error:
        raise NoSource(
            f"SAGEMAKER_SUBMIT_DIRECTORY is {uri}, which cannot be fetched: {error}. The instance needs credentials and an "
            "endpoint for S3; or put the script into the archive as code/ and set SAGEMAKER_SUBMIT_DIRECTORY=/opt/ml/model/code."
        ) from error


def _unpack(archive, code, where):
    """A broken header is the end for tarfile; what comes after the end tells."""
    shutil.rmtree(code, ignore_errors=True)
    code.mkdir(parents=True)
    safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            tar.extractall(code, **safely)  # noqa: S202 - the code in it is run anyway
            _check_end(tar)
    except (tarfile.TarError, zlib.error, OSError, EOFError) as error:
        raise NoSource(f"{where} cannot be unpacked: {error}. Make the archive anew and upload it again.") from error


def _check_end(tar):
    """Zeros to the end of the file, where gzip compares its checksum. Raises tarfile.ReadError."""
    tar.fileobj.seek(tar.offset)
    after = tar.fileobj.read(512)
    while after and not after.strip(b"\0"):
        after = tar.fileobj.read(1024 * 1024)
    if after or tar.fileobj.tell() < tar.offset + 512:
        raise tarfile.ReadError(f"it is damaged at byte {tar.offset} of the tar, where zeros to the end were expected")
