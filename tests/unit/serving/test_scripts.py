"""The parts of the images for scripts that can be seen without an instance."""

import contextlib
import http.client
import os
import runpy
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.serving_common import SERVING, overlay, script_server, script_worker, user_code


def answered(module: Any, headers: dict[str, str], body: bytes = b"{}") -> tuple[int, str, bytes]:
    """What a worker says of one request."""
    defaults = SimpleNamespace(model_fn=lambda _: None, input_fn=None, predict_fn=None, output_fn=None)
    functions = script_worker.Functions(module, defaults)
    functions.load()
    given: tuple[int, str, bytes] = script_worker.answered(functions, headers, body)
    return given


class Response:
    """As sagemaker_containers and Flask have it."""

    status_code, mimetype = 418, "text/x-tea"

    def get_data(self) -> bytes:
        return b"short and stout"


def test_a_response_object_says_status_type_and_body() -> None:
    module = SimpleNamespace(transform_fn=lambda model, data, content_type, accept: Response())
    assert answered(module, {}) == (418, "text/x-tea", b"short and stout")


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({}, ["str", "application/json", "application/json"]),
        ({"Content-Type": "text/csv; charset=utf-8", "Accept": "*/*"}, ["str", "text/csv; charset=utf-8", "application/json"]),
        ({"content-type": "application/x-npy", "ACCEPT": "text/csv"}, ["bytes", "application/x-npy", "text/csv"]),
    ],
)
def test_what_a_function_is_given(headers: dict[str, str], told: list[str]) -> None:
    def transform_fn(model: Any, data: Any, content_type: str, accept: str) -> tuple[str, str]:
        return " ".join([type(data).__name__, content_type, accept]), "text/plain"

    module = SimpleNamespace(transform_fn=transform_fn)
    assert answered(module, headers) == (200, "text/plain", " ".join(told).encode())


@pytest.mark.parametrize(
    ("submitted", "there"),
    [
        ("", "BASE/model/code"),
        ("/opt/ml/model/code", "BASE/model/code"),
        ("file:///opt/ml/model/mine", "BASE/model/mine"),
        ("/opt/ml/code", "BASE/code"),
        ("/srv/mine", "/srv/mine"),
    ],
)
def test_where_code_lies(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, submitted: str, there: str) -> None:
    """What is said to be below /opt/ml is below the instance's own directory, where there is no sandbox."""
    monkeypatch.setenv("SAGEMAKER_BASE_DIR", str(tmp_path))
    monkeypatch.setenv("SAGEMAKER_SUBMIT_DIRECTORY", submitted)
    monkeypatch.delenv("SAGEMAKER_PROGRAM", raising=False)
    assert user_code.code_directory() == Path(there.replace("BASE", str(tmp_path)))


@pytest.mark.parametrize(("image", "timeout_s"), [("sagemaker-scikit-learn", 60), ("tarry-python", None)])
def test_how_long_a_request_may_take_by_default(monkeypatch: pytest.MonkeyPatch, image: str, timeout_s: int | None) -> None:
    """AWS: 60 s for scikit-learn (aws/sagemaker-containers, _env.py: model_server_timeout)."""
    called: list[tuple[Any, ...]] = []
    monkeypatch.setitem(sys.modules, "script_server", SimpleNamespace(main=lambda *arguments: called.append(arguments)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    runpy.run_path(str(SERVING / image / "serve.py"), run_name="__main__")
    [(worker, *rest)] = called
    assert (worker, rest) == (SERVING / image / "worker.py", [] if timeout_s is None else [timeout_s])


def test_an_overlay_sees_the_image_and_has_its_programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also what the image's own .pth files bring: here the package tarry, which is installed from its sources."""
    monkeypatch.setenv("HOME", str(tmp_path))
    python = overlay.make()
    assert python == tmp_path / "environment" / "bin" / "python"
    program = "import sys, pytest, tarry; print(sys.prefix)"
    done = subprocess.run([python, "-c", program], capture_output=True, text=True, check=True, cwd=tmp_path, env={})
    assert Path(done.stdout.strip()) == tmp_path / "environment"
    mine = (python.parent / "pytest").read_text()
    image = Path(sysconfig.get_path("scripts"), "pytest").read_text()
    assert mine == image.replace(f"#!{sys.executable}\n", f"#!{python}\n", 1) != image
    subprocess.run([python.parent / "pytest", "--version"], check=True, capture_output=True, env={})


class Workers:
    """Echoes."""

    ready = True

    def ask(self, headers: dict[str, str], body: bytes) -> tuple[int, str, bytes]:
        return 200, headers["Content-Type"], body


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.client.HTTPConnection]:
    monkeypatch.setattr(script_server.Handler, "workers", Workers())
    running = script_server.Server(("127.0.0.1", 0), script_server.Handler)
    thread = threading.Thread(target=running.serve_forever, args=(0.01,))
    thread.start()
    connection = http.client.HTTPConnection("127.0.0.1", running.server_address[1], timeout=10)
    yield connection
    connection.close()
    running.shutdown()
    thread.join()
    running.server_close()


def said(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    response = connection.getresponse()
    return response.status, response.read()


def test_the_routes_of_the_server_in_front(server: http.client.HTTPConnection) -> None:
    server.request("POST", "/invocations", b"abc", {"Content-Type": "text/x-mine"})
    assert said(server) == (200, b"abc")
    server.request("GET", "/ping")
    assert said(server) == (200, b"")
    for method, path in (("GET", "/else"), ("POST", "/else")):
        server.request(method, path, b"abc" if method == "POST" else None)
        assert said(server)[0] == 404


def test_a_body_in_chunks_is_read_to_its_end(server: http.client.HTTPConnection) -> None:
    """As HTTP has it, for others than the platform, which says the length; the connection is good for the next request."""
    for _ in range(2):
        server.request("POST", "/invocations", iter([b"abc", b"d" * 300]), {"Content-Type": "text/x-mine"}, encode_chunked=True)
        assert said(server) == (200, b"abc" + b"d" * 300)


DYING = """
import os
def transform_fn(model, data, content_type, accept):
    if data == b"die" and os.fork():
        os._exit(7)
    elif data == b"die":
        open(model).read()  # a child that lives on, and has all that was open
    return str(os.getpid())
def model_fn(model_dir):
    return os.environ["FIFO"]
"""


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """One worker, whose model is the path of a pipe; at the end a reader of it is let go, and the worker with it."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    monkeypatch.setenv("FIFO", str(fifo))
    (tmp_path / "inference.py").write_text(DYING)
    processes: list[subprocess.Popen[bytes]] = []
    stopped, made, before = threading.Event(), script_server.Worker, set(threading.enumerate())

    def made_unless_stopped(command: Any) -> Any:
        if stopped.is_set():
            sys.exit()
        return made(command)

    def noted(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen(*arguments, **options))
        return processes[-1]

    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # sys.exit ends a thread; for pytest that is a fault
    monkeypatch.setattr(script_server, "give_up", lambda _: sys.exit())
    monkeypatch.setattr(script_server, "Worker", made_unless_stopped)
    monkeypatch.setattr(script_server, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": noted}))
    yield script_server.Workers([sys.executable, SERVING / "tarry-python" / "worker.py", tmp_path], 1, 60)
    stopped.set()
    while others := set(threading.enumerate()) - before:
        for process in processes:
            process.kill()
        others.pop().join(0.05)
    with contextlib.suppress(OSError):  # nobody reads
        os.close(os.open(fifo, os.O_WRONLY | os.O_NONBLOCK))


BYTES = {"Content-Type": "application/octet-stream"}


@pytest.mark.timeout(50)
def test_a_worker_that_died_is_noticed_whoever_holds_its_socket(workers: Any) -> None:
    first = workers.ask(BYTES, b"who")
    assert workers.ask(BYTES, b"die") == (
        500, "text/plain", b"the process that worked on the request ended (exit code 7)",
    )  # fmt: skip
    second = workers.ask(BYTES, b"who")
    assert (second[0], second != first) == (200, True)


@pytest.mark.timeout(50)
def test_a_worker_that_died_idle_has_no_part_in_the_next_request(workers: Any) -> None:
    pids = set()
    for _ in range(5):
        status, _, pid = workers.ask(BYTES, b"who")
        assert status == 200
        pids.add(pid)
        os.kill(int(pid), signal.SIGKILL)
    assert len(pids) == 5


@pytest.mark.timeout(50)
def test_a_worker_that_died_idle_is_replaced_before_there_is_a_request(workers: Any) -> None:
    old = workers._free.get()
    os.kill(old.process.pid, signal.SIGKILL)
    assert workers._free.get().process.pid != old.process.pid


def test_a_worker_over_its_time_makes_room_for_another(workers: Any) -> None:
    stuck = workers._free.get()
    os.kill(stuck.process.pid, signal.SIGSTOP)
    workers._free.put(stuck)
    workers._timeout_s = 0.0
    assert workers.ask(BYTES, b"who")[0] == 504
    workers._timeout_s = None
    assert workers.ask(BYTES, b"who")[0] == 200


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "many", "a whole number from 1 to 1000"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "0", "a whole number from 1 to 1000"),
        ("SAGEMAKER_MODEL_SERVER_WORKERS", "-1", "a whole number from 1 to 1000"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "nan", "a number from 0 to 1000000"),
        ("SAGEMAKER_MODEL_SERVER_TIMEOUT", "-5", "a number from 0 to 1000000"),
        ("HOME", __file__, "Leave HOME out of the model's Environment"),
    ],
)
def test_variables_that_cannot_be_end_the_instance_with_the_reason(tmp_path: Path, name: str, value: str, wanted: str) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "inference.py").write_text("")
    environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin", "SAGEMAKER_BASE_DIR": str(tmp_path), name: value}
    done = subprocess.run(
        [sys.executable, SERVING / "tarry-python" / "serve.py"], capture_output=True, text=True, check=False, env=environment
    )
    assert done.returncode == 1
    assert wanted in done.stderr
    assert "Traceback" not in done.stderr
