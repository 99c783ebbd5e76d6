"""The peers under the same load as Tarry: accepting, and from S3 object to S3 object."""

import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import boto3
from tests.support.server_process import STUB_IMAGE, ServerProcess

from bench import load
from bench.peers import services
from bench.signed import Signed
from tarry.bootstrap.directory import DataDirectory

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".bench" / "peers" / "bin" / "python"
CELERY_PROCESSES = (4, 16)
"""Four, two for each core, and more, in case that they wait."""
BUCKET = "peers"
BODY = b"x" * 1000
_ACCEPTING = {
    "celery": ("web_celery", services.redis, "BENCH_REDIS", {}),
    "celery_results": ("web_celery", services.redis, "BENCH_REDIS", {"BENCH_RESULTS": "1"}),
    "procrastinate": ("web_procrastinate", services.postgres, "BENCH_POSTGRES", {}),
}
"""By name: the application, its service, the variable with the service's URL, further variables."""


def reason_to_skip() -> str | None:
    """Why the peers cannot be measured here, None if they can."""
    if packages := services.missing():
        return f"missing: apt-get install {' '.join(packages)}"
    return None if PYTHON.exists() else "the peers' environment is not there: make bench makes it"


def accepting(requests: list[Signed], seconds: int, rounds: int) -> dict[str, Any]:
    """Rates of accepting at 64 connections."""
    runs: dict[str, Any] = {}
    for name, (app, service, variable, more) in _ACCEPTING.items():
        with ExitStack() as stack:
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            environ = {variable: stack.enter_context(service(directory)), **more}
            web = stack.enter_context(_web(f"bench.peers.{app}:app", environ, requests[0]))
            runs[name] = [load.post(web, requests, seconds).as_dict() for _ in range(rounds)]
    return runs


def end_to_end(store: ServerProcess, count: int) -> dict[str, Any]:
    """A full queue worked off by Celery, with boto3 and Tarry's own S3 front as the store, so that both use the same one."""
    key, secret = DataDirectory(store.data_dir).read_credentials()
    return _worked_off(store.url, key, secret, count)


def end_to_end_on_moto(count: int) -> dict[str, Any]:
    """The same with moto's S3 server as the store: what Celery does where people have no Tarry."""
    with services.moto(PYTHON.with_name("moto_server")) as url:
        return _worked_off(url, "testing", "testing", count)


def _worked_off(store_url: str, key: str, secret: str, count: int) -> dict[str, Any]:
    s3 = boto3.client("s3", endpoint_url=store_url, aws_access_key_id=key, aws_secret_access_key=secret, region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_object(Bucket=BUCKET, Key="in", Body=BODY, ContentType="text/plain")
    access = {"BENCH_S3": store_url, "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret, "AWS_DEFAULT_REGION": "us-east-1"}
    return {str(processes): _by_celery(access, count, processes) for processes in CELERY_PROCESSES}


def _by_celery(access: Mapping[str, str], count: int, processes: int) -> dict[str, Any]:
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        environ = {
            "BENCH_REDIS": stack.enter_context(services.redis(Path(directory))),
            **access,
            "BENCH_MODEL": stack.enter_context(_model()),
        }
        sending = _fill(environ, str(count), BUCKET)
        begun = time.perf_counter()
        command = [PYTHON, "-m", "celery", "-A", "bench.peers.tasks", "worker", "-c", str(processes), "-l", "ERROR"]
        worker = subprocess.Popen(command, env=_environ(environ), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            first_to_last_s = float(_fill(environ, "--wait", str(count)))
        finally:
            worker.terminate()
            worker.wait()
    seconds = time.perf_counter() - begun
    return {"tasks": count, "sending": sending, "seconds_with_start": seconds, "per_second": count / first_to_last_s}


def _fill(environ: Mapping[str, str], *arguments: str) -> str:
    command = [PYTHON, "-m", "bench.peers.fill", *arguments]
    done = subprocess.run(command, env=_environ(environ), cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@contextmanager
def _web(app: str, environ: Mapping[str, str], first: Signed) -> Iterator[str]:
    """A uvicorn of the peers' environment with the same protocol and loop as ours; it has answered the first request.

    By port: from ``--fd`` uvicorn takes a socket for a Unix one, and Nagle's algorithm then holds every answer for 40 ms.
    """
    port = services.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [PYTHON, "-m", "uvicorn", app, "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    process = subprocess.Popen([*command, "--no-access-log", "--log-level", "error"], env=_environ(environ), cwd=ROOT)
    try:
        services.until_listening(port)
        ask = urllib.request.Request(url + first.path, data=b"", headers=dict(first.headers), method="POST")
        urllib.request.urlopen(ask, timeout=services.START_S_MAX).close()
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def _model() -> Iterator[str]:
    """The stub model server that Tarry's endpoint has too."""
    port = services.free_port()
    environ = {"PATH": os.environ["PATH"], "SAGEMAKER_BIND_TO_PORT": str(port)}
    process = subprocess.Popen([sys.executable, str(STUB_IMAGE / "serve.py")], env=environ, stderr=subprocess.DEVNULL)
    try:
        services.until_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def _environ(more: Mapping[str, str]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/"), "PYTHONPATH": str(ROOT), **more}
