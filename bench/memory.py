"""What the server's memory does while requests queue up. Nothing works on them."""

from typing import Any

from tests.support.server_process import ServerProcess

from bench import deploy, load
from bench.process import resident_bytes
from bench.signed import sign_invocations
from tarry.bootstrap.directory import DataDirectory

WARM_UP = 5000
PREPARED = 200
RUN_S = 2
SAMPLES = 10


def measure(server: ServerProcess, queued: int) -> dict[str, Any]:
    """Samples until a server that had accepted some already has accepted ``queued`` more; and the growth for each 100,000."""
    deploy.endpoint(server, instances=0)
    samples = [_accepted(server, WARM_UP)]
    while samples[-1]["queued"] < samples[0]["queued"] + queued:
        samples.append(_accepted(server, queued // SAMPLES))
    first, last = samples[0], samples[-1]
    grown, more = last["bytes"] - first["bytes"], last["queued"] - first["queued"]
    return {"samples": samples, "bytes_per_100000": grown / more * 100_000}


def _accepted(server: ServerProcess, at_least: int) -> dict[str, int]:
    """The server after it has accepted so many more, and after the run that they were reached in."""
    wanted = deploy.count(server, "Queued") + at_least
    locations = [f"s3://{deploy.BUCKET}/in/{number}" for number in range(PREPARED)]
    while (queued := deploy.count(server, "Queued")) < wanted:
        requests = sign_invocations(DataDirectory(server.data_dir), deploy.NAME, locations)
        assert load.post(server.url, requests, RUN_S).errors == 0
    return {"queued": queued, "bytes": resident_bytes(server.pid)}
