"""`make demo`: from nothing to the whole main job, on real input. Standard library only: nothing is installed when this starts.

Makes three environments side by side (the server; the XGBoost image; the program of a SageMaker user), starts a server in a
temporary directory, runs `demo/program.py` against it as an unmodified SageMaker program, and stops everything that it started.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DEMO = ROOT / ".demo"
TARRY = ROOT / ".venv" / "bin" / "tarry"
PROGRAM_PYTHON = DEMO / "program" / "bin" / "python"
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-xgboost:0.90-1-cpu-py3"
START_S_MAX = 60
STARTED = time.monotonic()


def say(text: str) -> None:
    """One line with the time since the start."""
    bold, dim, plain = ("\033[1m", "\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "", "")
    print(f"{dim}{time.monotonic() - STARTED:6.1f} s{plain}  {bold}{text}{plain}", flush=True)


def run(*command: str | Path) -> None:
    """Run a command, its output shown; SystemExit if it fails."""
    done = subprocess.run([str(part) for part in command], cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed with exit code {done.returncode}")


def make_environments() -> None:
    """The program's environment beside the server's and the image's (the server's program builds the image's)."""

    def program() -> None:
        run("scripts/make-environment", DEMO / "program", "requirements/demo.txt")
        say("the program's environment is ready (boto3, sagemaker<3, scikit-learn, xgboost-cpu)")

    def server_and_image() -> None:
        run("scripts/install", "requirements/server.txt")
        say("the server's environment is ready")
        run(TARRY, "images", "build", IMAGE, "--environments", DEMO / "environments")
        say("the image's environment is ready (sagemaker-xgboost)")

    failed: list[BaseException] = []

    def guarded(work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the main thread
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (program, server_and_image)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


@contextlib.contextmanager
def server() -> Iterator[dict[str, str]]:
    """A server in a temporary directory; gives the environment for programs that use it."""
    directory = Path(tempfile.mkdtemp(prefix="tarry-demo-"))
    log = (directory / "server.log").open("w")
    command = [TARRY, "serve", "--data-dir", directory / "data", "--port", "0", "--environments", DEMO / "environments"]
    process = subprocess.Popen([str(part) for part in command], stderr=log, stdout=log, cwd=ROOT, start_new_session=True)
    try:
        wait_until_ready(process, directory)
        yield environment_of(directory / "data")
    except (Exception, SystemExit):
        log.flush()
        tail = (directory / "server.log").read_text().splitlines()[-15:]
        print("--- the end of the server's log", *tail, sep="\n", file=sys.stderr)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        log.close()
        say(f"the server has stopped (exit code {process.returncode})")
        shutil.rmtree(directory, ignore_errors=True)


def wait_until_ready(process: "subprocess.Popen[bytes]", directory: Path) -> None:
    """Wait for server.json, then for /health."""
    file = directory / "data" / "server.json"
    deadline = time.monotonic() + START_S_MAX
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"the server ended with exit code {process.returncode}")
        with contextlib.suppress(OSError, ValueError, KeyError):
            url = json.loads(file.read_text())["url"]
            with opener.open(f"{url}/health", timeout=2) as answer:
                if answer.status == 200:
                    say(f"a server is ready at {url}")
                    return
        time.sleep(0.05)
    raise SystemExit(f"the server was not ready within {START_S_MAX} s")


def environment_of(data_dir: Path) -> dict[str, str]:
    """What `eval "$(tarry env --data-dir DIR)"` does to a shell."""
    lines = subprocess.run([str(TARRY), "env", "--data-dir", str(data_dir)], check=True, capture_output=True, text=True).stdout
    shell = subprocess.run(["sh", "-c", f"{lines}\nenv -0"], check=True, capture_output=True, text=True, env=os.environ).stdout
    return dict(line.split("=", 1) for line in shell.split("\0") if "=" in line)


def main() -> int:
    """Run the demo; the exit code is the program's."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say("making the environments, side by side")
    make_environments()
    with server() as environ:
        program = subprocess.Popen([str(PROGRAM_PYTHON), str(ROOT / "demo" / "program.py"), f"{STARTED}"], env=environ, cwd=ROOT)
        try:
            code = program.wait()
        finally:
            if program.poll() is None:
                program.terminate()
                program.wait()
    if code == 0:
        say("done: every answer is the model's own")
    return code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        say("interrupted: everything has been stopped")
        sys.exit(130)
