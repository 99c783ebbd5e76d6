"""The XGBoost image with a user's script: which functions it may have, where it comes from, what goes wrong."""

import asyncio
import io
import json
import socket
import zipfile

import numpy
import pytest
import xgboost
from tests.support.model_objects import archive_of
from tests.support.xgboost_instance import ROWS, SPARSE, Instance, csv_of, libsvm_of, saved, trained

pytestmark = pytest.mark.needs_image
SLOW = [pytest.mark.slow]  # each starts an instance; one case of each kind is in the fast set

CSV, JSON, NPY = "text/csv", "application/json", "application/x-npy"
PROGRAM = {"SAGEMAKER_PROGRAM": "inference.py", "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}

LOADING = """
import os, xgboost
def model_fn(model_dir):
    booster = xgboost.Booster()
    booster.load_model(os.path.join(model_dir, "xgboost-model"))
    return booster
"""
NEXT = """
import json, os, sys
def model_fn(model_dir):
    print("its environment:", json.dumps(dict(os.environ)))
    print("model_dir is", model_dir, "and", os.environ["SM_MODEL_DIR"], file=sys.stderr)
    return 10
"""
PARTS = (
    NEXT
    + """
from sagemaker_containers.beta.framework import worker
def input_fn(data, content_type):
    return type(data).__name__, len(data), content_type
def predict_fn(data, model):
    return [*data, model]
def output_fn(prediction, accept):
    return worker.Response(json.dumps([*prediction, accept]), mimetype=accept)
"""
)


async def start(instance: Instance, script: str, more: dict[str, bytes] | None = None, **environment: str) -> None:
    """An instance whose archive has a model and ``code/inference.py``."""
    files = {"xgboost-model": saved(trained(), "json"), "code/inference.py": script.encode(), **(more or {})}
    await instance.start(files, tag="1.7-1", **{**PROGRAM, **environment})


async def test_model_fn_alone_is_enough(instance: Instance) -> None:
    await start(instance, LOADING)
    model = trained()
    expected = model.predict(xgboost.DMatrix(ROWS))
    assert await instance.get("/ping") == (200, "")
    status, kind, text = await instance.invoke(csv_of(ROWS))
    assert (status, kind, json.loads(text)) == (200, JSON, expected.tolist())
    status, kind, text = await instance.invoke(csv_of(ROWS), "text/csv; charset=utf-8", accept=CSV)
    assert (status, kind, text) == (200, "text/csv; charset=utf-8", "".join(f"{one!s}\n" for one in expected))
    status, kind, answer = await instance.invoke_bytes(csv_of(ROWS), accept=NPY)
    numpy.testing.assert_array_equal(numpy.load(io.BytesIO(answer)), expected)
    status, _, text = await instance.invoke(libsvm_of(SPARSE), "text/libsvm")
    assert (status, len(json.loads(text))) == (200, len(ROWS))
    status, kind, text = await instance.invoke("{}", JSON)
    assert (status, kind, json.loads(text)["error"]) == (415, JSON, "UnsupportedFormatError")
    assert "Content type application/json is not supported. Define input_fn" in text
    status, _, text = await instance.invoke(csv_of(ROWS), accept="image/png")
    assert (status, json.loads(text)["error"]) == (406, "UnsupportedFormatError")
    status, _, text = await instance.invoke("1,x")
    assert (status, text[:48]) == (500, "input_fn of inference.py raised NotAccepted: Loa")
    assert (await instance.get("/execution-parameters"))[0] == 404, "as in the container"


async def test_all_functions_and_its_own_environment(instance: Instance) -> None:
    """Also the seed's check: the script prints its environment, and the log has it. Bodies have no limit of 6 MiB."""
    seed = {"TS_MAX_REQUEST_SIZE": "100000000", "TS_MAX_RESPONSE_SIZE": "100000000", "TS_DEFAULT_RESPONSE_TIMEOUT": "1000"}
    await start(instance, PARTS, {}, **seed)
    assert await instance.invoke("äöü", CSV, accept="text/x-mine") == (
        200, "text/x-mine; charset=utf-8", json.dumps(["str", 3, CSV, 10, "text/x-mine"]),
    )  # fmt: skip
    assert json.loads((await instance.invoke("äöü", "text/csv; a=b"))[2]) == ["bytes", 6, "text/csv; a=b", 10, JSON]
    assert json.loads((await instance.invoke(b"\xff", JSON))[2]) == ["str", 1, JSON, 10, JSON]
    assert json.loads((await instance.invoke(b"", None))[2]) == ["str", 0, JSON, 10, JSON]
    assert json.loads((await instance.invoke(b"x" * 10_000_000, "image/png"))[2])[:2] == ["bytes", 10_000_000]
    [line] = [line for line in (await instance.log()).splitlines() if line.startswith("its environment: ")]
    assert seed.items() <= json.loads(line.partition(": ")[2]).items()


async def test_transform_fn_takes_the_place_of_the_three(instance: Instance) -> None:
    script = NEXT + "def transform_fn(model, data, content_type, accept): return f'{model} {data} {content_type}', accept\n"
    await start(instance, script, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT=CSV)
    assert await instance.invoke("1,2") == (200, "text/csv; charset=utf-8", "10 1,2 text/csv")


async def test_helpers_of_the_container_can_be_imported(instance: Instance) -> None:
    """As AWS's own examples do; and a module of the script's may have the name of one of ours."""
    script = (
        LOADING
        + """
import payloads, serve
from sagemaker_xgboost_container import encoder as xgb_encoders
from sagemaker_containers.beta.framework import encoders, content_types
def input_fn(data, content_type):
    return {"text/libsvm": xgb_encoders.libsvm_to_dmatrix, "text/csv": xgb_encoders.csv_to_dmatrix}[content_type](data)
def output_fn(prediction, accept):
    lines = xgb_encoders.json_to_jsonlines({"predictions": prediction.tolist()})
    return payloads.MINE + serve.MINE + lines.decode(), content_types.CSV
"""
    )
    await start(instance, script, {"code/payloads.py": b"MINE = 'own,'", "code/serve.py": b"MINE = 'also own\\n'"})
    _, _, text = await instance.invoke(csv_of(ROWS))
    expected = trained().predict(xgboost.DMatrix(ROWS)).tolist()
    assert text == "own,also own\n" + "".join(f"{one}\n" for one in expected)
    assert (await instance.invoke(libsvm_of(SPARSE), "text/libsvm"))[0] == 200


async def test_what_the_script_raises_is_said_and_harms_nobody(instance: Instance) -> None:
    script = (
        NEXT
        + """
def input_fn(data, content_type):
    if data == "raise": raise ValueError("no such thing as ✗")
    if data == "exit": raise SystemExit(3)
    return data
def predict_fn(data, model): return data
def output_fn(data, accept): return {"none": None, "text": "a text", "json": {"a": 1}}.get(data, 3.5)
"""
    )
    await start(instance, script)
    assert (await instance.invoke("raise"))[::2] == (500, "input_fn of inference.py raised ValueError: no such thing as ✗")
    status, _, text = await instance.invoke("number")
    assert (status, text[:64]) == (500, "output_fn of inference.py returned float; expected text, bytes, ")
    assert (await instance.invoke("none"))[0] == 500
    assert (await instance.invoke("json"))[::2] == (200, '{"a":1}\n')
    assert (await instance.invoke("text"))[::2] == (200, "a text")
    assert "ValueError: no such thing as ✗" in await instance.log()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        pytest.param("1 / 0", "inference.py cannot be imported: ZeroDivisionError: division by zero", id="raises", marks=SLOW),
        pytest.param(
            "import no_such_thing",
            "No module named 'no_such_thing' (what the image does not have can be named in requirements.txt",
            id="imports",
        ),
        pytest.param("x = 1", "inference.py has no model_fn", id="no model_fn", marks=SLOW),
        pytest.param(
            "def model_fn(d): raise ValueError('no model')",
            "model_fn of inference.py raised ValueError: no model",
            id="model_fn raises",
            marks=SLOW,
        ),
        pytest.param(
            NEXT + "def transform_fn(*_): 0\ndef predict_fn(*_): 0",
            "Cannot use transform_fn implementation with input_fn, predict",
            id="both",
            marks=SLOW,
        ),
    ],
)
async def test_a_script_that_cannot_be_used_fails_its_ping(instance: Instance, script: str, reason: str) -> None:
    await start(instance, script)
    status, text = await instance.get("/ping")
    assert status == 500
    assert text.startswith("Unable to load model: ")
    assert reason in text
    assert reason in await instance.log()


@pytest.mark.parametrize(
    ("environment", "reason"),
    [
        ({"SAGEMAKER_PROGRAM": "other.py"}, "SAGEMAKER_PROGRAM is 'other.py', which is not in "),
        (
            {"SAGEMAKER_SUBMIT_DIRECTORY": "/nowhere"},
            "SAGEMAKER_SUBMIT_DIRECTORY is '/nowhere', where there is neither a directory",
        ),
        ({"SAGEMAKER_SUBMIT_DIRECTORY": "s3://bucket/sourcedir.tar.gz"}, "which cannot be fetched: Unable to locate credentials"),
    ],
    ids=["program", "directory", "s3"],
)
async def test_a_script_that_is_not_there_ends_the_start(instance: Instance, environment: dict[str, str], reason: str) -> None:
    await start(instance, LOADING, {}, AWS_EC2_METADATA_DISABLED="true", **environment)
    [status] = await instance.engine.observe()
    assert status.exit_code == 1
    assert reason in await instance.log()


@pytest.mark.parametrize(
    "where",
    [
        pytest.param("", marks=SLOW),
        pytest.param("file:///opt/ml/model/code", marks=SLOW),
        pytest.param("/opt/ml/model/code/sourcedir.tar.gz"),
    ],
)
async def test_a_script_may_be_in_other_places(instance: Instance, where: str) -> None:
    archive = archive_of({"inference.py": LOADING.encode(), "deep/er.py": b""})
    await start(instance, LOADING, {"code/sourcedir.tar.gz": archive}, SAGEMAKER_SUBMIT_DIRECTORY=where)
    assert (await instance.invoke(csv_of(ROWS)))[0] == 200


def wheel(name: str, version: str) -> bytes:
    """A wheel with one module."""
    buffer = io.BytesIO()
    information = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{name}.py", f"VERSION = '{version}'\n")
        archive.writestr(f"{information}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{information}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{information}/RECORD", "")
    return buffer.getvalue()


async def test_requirements_are_installed_for_this_instance_alone(instance: Instance) -> None:
    """What the image has already is not fetched again; what the script wants otherwise comes before it."""
    script = (
        NEXT
        + """
import extra_package, six, numpy
def transform_fn(*_): return f"{extra_package.VERSION} {six.VERSION} {numpy.__name__}"
"""
    )
    more = {
        "code/requirements.txt": b"--no-index\n--find-links wheels\nextra_package\nsix==99.0\nnumpy\nxgboost-cpu\n",
        "code/wheels/extra_package-1.0-py3-none-any.whl": wheel("extra_package", "1.0"),
        "code/wheels/six-99.0-py3-none-any.whl": wheel("six", "99.0"),
    }
    await start(instance, script, more)
    assert (await instance.invoke("x"))[2] == "1.0 99.0 numpy", await instance.log()
    other = Instance(instance.engine._directory / "other")
    await other.engine.open()
    try:
        await start(other, NEXT + "import extra_package")
        assert "No module named 'extra_package'" in (await other.get("/ping"))[1]
    finally:
        await other.close()


async def test_requirements_that_cannot_be_installed_end_the_start(instance: Instance) -> None:
    await start(instance, LOADING, {"code/requirements.txt": b"--no-index\nno-such-package\n"})
    [status] = await instance.engine.observe()
    assert status.exit_code == 1
    log = await instance.log()
    assert "No matching distribution found for no-such-package" in log
    assert "pip could not install what" in log


async def test_what_runs_at_a_stop_is_answered(instance: Instance) -> None:
    """A request that has begun when the server is told to end gets its time."""
    gate = socket.create_server(("127.0.0.1", 0))
    waiting = f"""
import socket
def model_fn(model_dir): return None
def transform_fn(model, data, content_type, accept):
    with socket.create_connection(("127.0.0.1", {gate.getsockname()[1]})) as gate:
        gate.recv(1)
    return "done", "text/plain"
"""
    await start(instance, waiting)
    asked = asyncio.create_task(instance.invoke("1"))
    async with asyncio.timeout(60):
        connection, _ = await asyncio.to_thread(gate.accept)
        stopping = asyncio.create_task(instance.engine.stop("i-1", grace_s=60))
        while "Handling signal: term" not in await instance.log():  # noqa: ASYNC110 - the log is a file
            await asyncio.sleep(0.01)
        connection.close()
        assert await asked == (200, "text/plain; charset=utf-8", "done")
        await stopping
    gate.close()
