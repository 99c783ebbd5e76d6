"""tarry/python: the code of a model archive, served by a Python of this machine."""

import asyncio
import json
import os
import platform
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.instance import ENVIRONMENTS, Instance
from tests.support.wheels import WHEEL, tiny_wheel

from tarry.backends import pythons

pytestmark = [pytest.mark.needs_image, pytest.mark.xdist_group("tarry-python")]

PYTHON = ".".join(platform.python_version_tuple()[:2])
IMAGE = f"tarry/python:{PYTHON}"
ECHO = b"def predict_fn(data, model):\n    return data\n"


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    async with Instance.opened(tmp_path) as instance:
        yield instance


def code(text: str | bytes, **more: bytes) -> dict[str, bytes]:
    return {"code/inference.py": text if isinstance(text, bytes) else text.encode(), **more}


async def test_all_four_functions_and_the_model_directory(instance: Instance) -> None:
    script = """
import json, os
print("ENVIRONMENT", json.dumps(dict(os.environ)))
def model_fn(model_dir):
    return float(open(model_dir + "/weight.txt").read())
def input_fn(data, content_type):
    assert (type(data), content_type) == (str, "text/csv; header=absent"), (data, content_type)
    return [float(x) for x in data.split(",")]
def predict_fn(data, model):
    return [x * model for x in data]
def output_fn(prediction, accept):
    return " ".join(map(str, prediction)), accept + "+mine"
"""
    await instance.start(IMAGE, code(script, **{"weight.txt": b"2"}), COLOUR="blue", SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert await instance.ask(b"1,2", "text/csv; header=absent", "text/x") == (200, "text/x+mine", b"2.0 4.0")
    [line] = [line for line in (await instance.log()).splitlines() if line.startswith("ENVIRONMENT")]
    assert json.loads(line.removeprefix("ENVIRONMENT"))["COLOUR"] == "blue"


@pytest.mark.parametrize(
    ("body", "content_type", "answer"),
    [
        (b'{"a": [1, "x"]}', "application/json", {"a": [1, "x"]}),
        (b'{"a": 1}', None, {"a": 1}),
        (b"1,2.5\nx,\n", "text/csv", [[1.0, 2.5], ["x", ""]]),
    ],
)
async def test_what_the_defaults_make_of_a_body(
    instance: Instance, body: bytes, content_type: str | None, answer: object
) -> None:
    await instance.start(IMAGE, code(ECHO), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    status, kind, said = await instance.ask(body, content_type)
    assert (status, kind, json.loads(said)) == (200, "application/json", answer)


async def test_what_the_defaults_do_not_know_is_refused(instance: Instance) -> None:
    await instance.start(IMAGE, code(ECHO), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    status, _, said = await instance.ask(b"x", "image/png")
    assert (status, json.loads(said)["error-message"]) == (
        415,
        "Content-Type image/png is not supported; known are application/json, text/csv. Write an input_fn for others.",
    )
    status, _, said = await instance.ask(b"1", accept="image/png")
    assert (status, json.loads(said)["error"]) == (406, "NotSupported")


async def test_transform_fn_gets_bytes_and_a_context(instance: Instance) -> None:
    script = """
def model_fn(model_dir, context):
    return context.system_properties["model_dir"] == model_dir
def transform_fn(model, data, content_type, accept, context):
    assert model and type(data) is bytes
    return context.get_request_header(0, "X-Amzn-SageMaker-Custom-Attributes") + content_type + accept
"""
    await instance.start(IMAGE, code(script), SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT="text/z")
    headers = {"X-Amzn-SageMaker-Custom-Attributes": "mine ", "Content-Type": "image/png", "Accept": "*/*"}
    async with instance.http.post(f"{instance.address}/invocations", data=b"\xff", headers=headers) as response:
        assert (response.status, await response.text()) == (200, "mine image/pngtext/z")


async def test_an_error_is_named_and_the_next_request_answered(instance: Instance) -> None:
    script = "def predict_fn(data, model):\n    return 1 / data\n"
    await instance.start(IMAGE, code(script), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    status, _, said = await instance.ask(b"0")
    assert (status, json.loads(said)) == (500, {"error": "ZeroDivisionError", "error-message": "division by zero"})
    assert await instance.ask(b"4") == (200, "application/json", b"0.25")
    assert 'inference.py", line 2, in predict_fn' in await instance.log()


BUSY = """
import os, signal, sys
def predict_fn(data, model):
    if data == "die":
        os.kill(os.getpid(), signal.SIGSEGV)
    if data == "spin":
        sys.setswitchinterval(3600)  # no other thread of this process gets to run
        while True:
            pass
    return [data, os.getpid()]
"""


async def test_a_worker_that_dies_is_told_of_and_replaced(instance: Instance) -> None:
    await instance.start(IMAGE, code(BUSY), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    first = json.loads((await instance.ask(b'"a"'))[2])[1]
    assert await instance.ask(b'"die"') == (500, "text/plain", b"the process that worked on the request ended (exit code -11)")
    assert json.loads((await instance.ask(b'"b"'))[2])[1] != first


async def test_a_worker_over_its_time_is_ended_and_pings_are_answered_meanwhile(instance: Instance) -> None:
    await instance.start(IMAGE, code(BUSY), SAGEMAKER_MODEL_SERVER_WORKERS="1", SAGEMAKER_MODEL_SERVER_TIMEOUT="3")
    spinning = asyncio.create_task(instance.ask(b'"spin"'))
    waiting = asyncio.create_task(instance.ask(b'"a"'))
    pings = 0
    while not spinning.done():
        assert await instance._ping() == 200
        pings += 1
    assert pings > 10
    assert await spinning == (504, "text/plain", b"no answer within 3 seconds (SAGEMAKER_MODEL_SERVER_TIMEOUT)")
    assert (await waiting)[0] == 200


async def test_a_worker_has_one_request_at_a_time_and_workers_share_them(instance: Instance) -> None:
    script = """
import os, socket
def predict_fn(data, model):
    with socket.create_connection(("127.0.0.1", data)) as meeting:
        meeting.sendall(str(os.getpid()).encode())
        return int(meeting.recv(10))
"""
    met: asyncio.Queue[tuple[bytes, asyncio.StreamWriter]] = asyncio.Queue()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        met.put_nowait((await reader.read(100), writer))

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    port = str(server.sockets[0].getsockname()[1]).encode()
    await instance.start(IMAGE, code(script), SAGEMAKER_MODEL_SERVER_WORKERS="2")
    asked = [asyncio.create_task(instance.ask(port)) for _ in range(3)]
    (first, answer_first), (second, answer_second) = await met.get(), await met.get()
    assert first != second
    assert met.empty(), "the third waits"
    answer_first.write(b"1")
    third, answer_third = await met.get()
    assert third == first
    for writer in (answer_second, answer_third):
        writer.write(b"2")
    assert sorted([(await task)[2] for task in asked]) == [b"1", b"2", b"2"]
    for writer in (answer_first, answer_second, answer_third):
        writer.close()
    server.close()


async def test_requirements_are_installed_for_this_instance_alone(instance: Instance) -> None:
    script = "import tiny\ndef predict_fn(data, model):\n    return [tiny.ANSWER, tiny.__file__]\n"
    more = {"code/requirements.txt": b"--no-index\n--find-links .\ntiny\n", f"code/{WHEEL}": tiny_wheel()}
    await instance.start(IMAGE, code(script, **more), SAGEMAKER_MODEL_SERVER_WORKERS="1")
    answer, file = json.loads((await instance.ask(b"null"))[2])
    assert answer == 42
    assert "/home/" in file
    assert str(ENVIRONMENTS) not in file, "the image's environment is everybody's"
    assert "Successfully installed tiny-1.0" in await instance.log()


async def test_requirements_that_cannot_be_had_end_the_instance_with_the_reason(instance: Instance) -> None:
    log = await instance.ended(IMAGE, code(ECHO, **{"code/requirements.txt": b"--no-index\nabsent\n"}))
    assert "No matching distribution found for absent" in log
    assert "could not be installed: pip ended with code 1" in log
    assert "put wheels beside the file" in log


@pytest.mark.parametrize(
    ("files", "environment", "says"),
    [
        ({"model.bin": b""}, {}, "There is no inference.py in .*/model/code (there is no such directory)"),
        (code(ECHO), {"SAGEMAKER_PROGRAM": "mine.py"}, "There is no mine.py in .*/code (it holds inference.py)"),
        (code("import absent_module"), {}, "No module named 'absent_module'"),
        (code("def model_fn(d):\n    raise OSError('no weights')\n"), {}, "OSError: no weights"),
        (code("import os\nos._exit(7)"), {}, "The model could not be loaded (exit code 7)"),
        (code("def transform_fn(m, d, c, a): pass\ndef input_fn(d, c): pass\n"), {}, "transform_fn takes the place of input_fn"),
        (code(ECHO), {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://b/source.tar.gz"}, "this image has no boto3 to fetch it"),
    ],
)
async def test_code_that_cannot_serve_ends_the_instance_with_the_reason(
    instance: Instance, files: dict[str, bytes], environment: dict[str, str], says: str
) -> None:
    log = await instance.ended(IMAGE, files, **environment)
    for part in says.split(".*"):
        assert part in log


@pytest.mark.parametrize(
    ("files", "environment"),
    [
        ({"inference.py": ECHO}, {}),
        (
            {"source/serve_it.py": ECHO},
            {"SAGEMAKER_PROGRAM": "serve_it.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/source"},
        ),
        ({"code/inference.py": ECHO}, {"SAGEMAKER_SUBMIT_DIRECTORY": "file:///opt/ml/model/code"}),
    ],
)
async def test_where_code_may_lie(instance: Instance, files: dict[str, bytes], environment: dict[str, str]) -> None:
    await instance.start(IMAGE, files, **environment)
    assert (await instance.ask(b"1"))[2] == b"1"


async def test_another_python_of_the_machine(instance: Instance) -> None:
    others = [minor for minor in ("3.9", "3.10", "3.11", "3.12", "3.13", "3.14") if minor != PYTHON]
    found = [minor for minor in others if await pythons.find(minor)]
    if not found:
        pytest.skip("this machine has one Python only")
    script = "import platform\ndef predict_fn(data, model):\n    return platform.python_version()\n"
    await instance.start(f"tarry/python:{found[0]}", code(script))
    assert json.loads((await instance.ask(b"1"))[2]).startswith(f"{found[0]}.")


async def test_bodies_of_many_megabytes(instance: Instance) -> None:
    script = "def transform_fn(model, data, content_type, accept):\n    return data[::-1]\n"
    await instance.start(IMAGE, code(script))
    body = os.urandom(1024) * 20_000
    assert await instance.ask(body, "application/octet-stream") == (200, "application/json", body[::-1])
