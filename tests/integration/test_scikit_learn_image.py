"""The scikit-learn image: a script and a model that scikit-learn itself has written."""

import asyncio
import io
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy
import pytest
from tests.support.instance import ENVIRONMENTS, Instance

from tarry.backends.images import ImageCatalogue

pytestmark = [pytest.mark.needs_image, pytest.mark.xdist_group("scikit-learn"), pytest.mark.timeout(400)]

IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
SCRIPT = b"""
import joblib, os
def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""
FIT = """
import joblib, numpy, sklearn.linear_model, sys
model = sklearn.linear_model.LinearRegression().fit(numpy.array([[0, 0], [1, 0], [0, 1]]), numpy.array([1, 3, 4]))
joblib.dump(model, sys.argv[1])
"""


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    async with Instance.opened(tmp_path) as instance:
        yield instance


@pytest.fixture
async def files(tmp_path: Path) -> dict[str, bytes]:
    return await fitted(tmp_path, IMAGE)


async def fitted(directory: Path, image: str) -> dict[str, bytes]:
    """A model of 1 + 2a + 3b by the image's own library, and a script without anything but model_fn."""
    prepared = await ImageCatalogue([], ENVIRONMENTS).prepare(image)
    fitting = await asyncio.create_subprocess_exec(prepared.command[0], "-c", FIT, directory / "fitted")
    assert await fitting.wait() == 0
    return {"model.joblib": (directory / "fitted").read_bytes(), "code/inference.py": SCRIPT}


def npy(array: object) -> bytes:
    stream = io.BytesIO()
    numpy.save(stream, numpy.asarray(array))
    return stream.getvalue()


async def test_the_default_functions(instance: Instance, files: dict[str, bytes]) -> None:
    await instance.start(IMAGE, files, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    for body, kind in (
        (b"[[1, 1], [2, 0]]", "application/json"),
        (b"1,1\n2,0\n", "text/csv"),
        (npy([[1, 1], [2, 0]]), "application/x-npy"),
    ):
        status, answer_kind, said = await instance.ask(body, kind)
        assert (status, answer_kind) == (200, "application/json")
        assert json.loads(said) == pytest.approx([6, 5], abs=1e-5)
    assert json.loads((await instance.ask(b"1,1", "text/csv"))[2]) == pytest.approx([6], abs=1e-5)
    status, kind, said = await instance.ask(b"1,1\n2,0\n", "text/csv", "text/csv")
    assert (kind, [round(float(line)) for line in said.decode().splitlines()]) == ("text/csv", [6, 5])
    _, kind, said = await instance.ask(b"1,1\n2,0\n", "text/csv", "application/x-npy")
    assert (kind, numpy.load(io.BytesIO(said)).round().tolist()) == ("application/x-npy", [6, 5])


async def test_texts_become_single_floats_and_types_have_parameters(instance: Instance, files: dict[str, bytes]) -> None:
    """AWS: float32 (aws/sagemaker-scikit-learn-container, handler.py). The model answers with what it was given."""
    script = b"""
def model_fn(model_dir): return None
def predict_fn(data, model): return [str(data.dtype), data.tolist()]
"""
    await instance.start(IMAGE, {"code/inference.py": script}, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert json.loads((await instance.ask(b"1,0.1", "text/csv; charset=utf-8"))[2]) == [
        "float32", [[1, float(numpy.float32(0.1))]],
    ]  # fmt: skip
    assert json.loads((await instance.ask(b"[0.1]", "application/json"))[2]) == ["float32", [float(numpy.float32(0.1))]]
    assert json.loads((await instance.ask(npy([0.1]), "application/x-npy"))[2]) == ["float64", [0.1]]


@pytest.mark.slow
@pytest.mark.parametrize(("tag", "version"), [("1.4-2-py312-cpu-py3", "1.4.2"), ("1.9-0-cpu-py3", "1.9.0")])
async def test_newer_tags_have_the_library_of_their_name(instance: Instance, tmp_path: Path, tag: str, version: str) -> None:
    image = IMAGE.replace("1.2-1-cpu-py3", tag)
    files = await fitted(tmp_path, image)
    files["code/inference.py"] += b"    \nimport sklearn\nprint('library', sklearn.__version__, flush=True)\n"
    await instance.start(image, files, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert json.loads((await instance.ask(b"1,1", "text/csv"))[2]) == pytest.approx([6], abs=1e-5)
    assert f"library {version}" in await instance.log()


async def test_errors_and_unknown_types(instance: Instance, files: dict[str, bytes]) -> None:
    await instance.start(IMAGE, files, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    status, _, said = await instance.ask(b"1,2,3", "text/csv")
    assert status == 500
    assert "X has 3 features, but LinearRegression is expecting 2" in json.loads(said)["error-message"]
    assert (await instance.ask(b"x", "image/png"))[0] == 415
    assert (await instance.ask(b"1,1", "text/csv", "image/png"))[0] == 406


async def test_a_script_of_the_examples(instance: Instance, files: dict[str, bytes]) -> None:
    """The import line of AWS's inference pipeline example, and its way to answer; the program has another name."""
    script = (
        SCRIPT
        + b"""
from sagemaker_containers.beta.framework import content_types, encoders, env, modules, transformer, worker
def output_fn(prediction, accept):
    if accept == "application/json":
        return worker.Response('{"instances": %d}' % len(prediction), mimetype=accept)
    return worker.Response(encoders.encode(prediction, accept), mimetype=accept)
"""
    )
    given = {"model.joblib": files["model.joblib"], "code/train_and_serve.py": script}
    await instance.start(IMAGE, given, SAGEMAKER_PROGRAM="train_and_serve.py", SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert await instance.ask(b"1,1\n2,0\n", "text/csv") == (200, "application/json", b'{"instances": 2}')
    status, kind, said = await instance.ask(b"1,1\n", "text/csv", "text/csv")
    assert (status, kind, round(float(said))) == (200, "text/csv", 6)


async def test_a_script_without_model_fn_is_refused(instance: Instance) -> None:
    assert "Please provide a model_fn" in await instance.ended(IMAGE, {"code/inference.py": b""})


async def test_requirements_see_what_the_image_has(instance: Instance, files: dict[str, bytes]) -> None:
    """pip counts the image's packages as installed, so nothing is fetched."""
    more = {"code/requirements.txt": b"--no-index\nscikit-learn>=1.0\npandas\n"}
    await instance.start(IMAGE, files | more, SAGEMAKER_MODEL_SERVER_WORKERS="1")
    assert "Requirement already satisfied: scikit-learn" in await instance.log()
