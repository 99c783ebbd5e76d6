"""wrk with a table of prepared requests; its figures as numbers."""

import json
import resource
import shutil
import subprocess
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from bench.signed import Signed

CONNECTIONS = 64
_DONE = """
done = function(summary, latency, requests)
  io.write(string.format('\\nRESULT {"requests":%d,"duration_us":%d,"connect":%d,"read":%d,' ..
    '"write":%d,"status":%d,"timeout":%d,"p50_us":%d,"p99_us":%d}\\n',
    summary.requests, summary.duration, summary.errors.connect, summary.errors.read,
    summary.errors.write, summary.errors.status, summary.errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of wrk gave.

    Rates suffer from whatever else runs on the machine; the server's CPU time per request much less.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int
    requests: int
    server_cpu_us: float | None
    """CPU time of the server's process, all threads, per request; None where it is more than one process."""
    wrk_cores: float
    """What the load generator itself took of the machine."""

    def as_dict(self) -> dict[str, Any]:
        """For the raw results."""
        return asdict(self)


def require_wrk() -> None:
    """SystemExit with what to do where wrk is missing."""
    if shutil.which("wrk") is None:
        raise SystemExit("make bench needs wrk: apt-get install wrk")


def post(url: str, requests: list[Signed], seconds: int, *, pid: int | None = None) -> Load:
    """POST the prepared requests in turn over 64 connections for some seconds; ``pid`` is the server's process, if it is one."""
    server = None if pid is None else psutil.Process(pid)
    server_s, wrk_s = _cpu_s(server), _children_s()
    figures = _wrk(url, requests, seconds)
    server_s, wrk_s = _cpu_s(server) - server_s, _children_s() - wrk_s
    seconds_taken = figures["duration_us"] / 1e6
    return Load(
        per_second=figures["requests"] / seconds_taken,
        p50_ms=figures["p50_us"] / 1000,
        p99_ms=figures["p99_us"] / 1000,
        errors=sum(figures[kind] for kind in ("connect", "read", "write", "status", "timeout")),
        requests=figures["requests"],
        server_cpu_us=server_s / figures["requests"] * 1e6 if server else None,
        wrk_cores=wrk_s / seconds_taken,
    )


def _wrk(url: str, requests: list[Signed], seconds: int) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "requests.lua"
        script.write_text(_script(requests))
        command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(script), url]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, int] = json.loads(output.rpartition("RESULT ")[2])
    return figures


def _cpu_s(process: psutil.Process | None) -> float:
    if process is None:
        return 0.0
    times = process.cpu_times()
    return float(times.user + times.system)


def _children_s() -> float:
    """CPU time of processes that have been started and waited for here."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _script(requests: list[Signed]) -> str:
    rows = "\n".join(f"table.insert(prepared, {{{_lua(one.path)}, {{{_headers(one)}}}}})" for one in requests)
    return f"""local prepared = {{}}
local turn = 0
function init(args)
{rows}
end
request = function()
  turn = turn % #prepared + 1
  return wrk.format("POST", prepared[turn][1], prepared[turn][2], "")
end
{_DONE}"""


def _headers(one: Signed) -> str:
    return ", ".join(f"[{_lua(name)}]={_lua(value)}" for name, value in one.headers.items())


def _lua(text: str) -> str:
    return json.dumps(text)
