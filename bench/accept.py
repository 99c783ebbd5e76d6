"""How many invocations a second are accepted, signed and durable, beside a bare application on the same server."""

import socket
import subprocess
import sys
import urllib.request
from typing import Any

from tests.support.server_process import ServerProcess

from bench import deploy, load
from bench.signed import Signed, sign_invocations
from tarry.bootstrap.directory import DataDirectory

PREPARED = 200


def measure(server: ServerProcess, seconds: int, rounds: int) -> dict[str, Any]:
    """Interleaved rounds; the endpoint has no instance, so that only accepting is measured."""
    deploy.endpoint(server, instances=0)
    directory = DataDirectory(server.data_dir)
    runs: dict[str, Any] = {"bare": [], "bare_plain": [], "tarry": []}
    for _ in range(rounds):
        requests = sign_invocations(directory, deploy.NAME, [f"s3://{deploy.BUCKET}/in/{number}" for number in range(PREPARED)])
        runs["bare"].append(_bare(requests, seconds).as_dict())
        runs["bare_plain"].append(_bare(requests, seconds, "--plain").as_dict())
        tarry = load.post(server.url, requests, seconds, pid=server.pid)
        assert tarry.errors == 0, f"{tarry.errors} requests were not accepted"
        runs["tarry"].append(tarry.as_dict())
    runs["queued"] = deploy.count(server, "Queued")
    assert runs["queued"] >= sum(run["requests"] for run in runs["tarry"]), "an accepted request is missing"
    return runs


def _bare(requests: list[Signed], seconds: int, *flags: str) -> load.Load:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(2048)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "bench.bare", str(listener.fileno()), *flags]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
        try:
            with urllib.request.urlopen(url, timeout=60):  # answered once it has started; till then it waits in the backlog
                pass
            return load.post(url, requests, seconds, pid=process.pid)
        finally:
            process.terminate()
            process.wait()
