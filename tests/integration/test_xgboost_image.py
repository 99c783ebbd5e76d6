"""The built-in XGBoost image, in its own environment, against predictions made in this process."""

import asyncio
import io
import json
import os
import pickle
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy
import pytest
import scipy.sparse  # type: ignore[import-untyped]
import xgboost
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.images import ImageCatalogue
from tarry.backends.model_data import ModelData
from tarry.core.catalog import ModelDataSource
from tarry.ports import ContainerSpec, InstanceSpec

pytestmark = pytest.mark.needs_image

ENVIRONMENTS = Path(os.environ.get("TARRY_TEST_ENVIRONMENTS", Path(__file__).parents[2] / ".image-environments"))
URL = "s3://bucket/model.tar.gz"
COLUMNS = 5


def trained(objective: str = "reg:squarederror", **more: object) -> xgboost.Booster:
    random = numpy.random.default_rng(7)
    rows = random.normal(size=(300, COLUMNS)).astype(numpy.float32)
    label = (rows @ [1, -2, 0.5, 0, 3] > 0).astype(int) + (rows[:, 0] > 1 if objective.startswith("multi") else 0)
    matrix = xgboost.DMatrix(rows, label)
    return xgboost.train({"objective": objective, "max_depth": 3, "seed": 1, **more}, matrix, num_boost_round=12)


def saved(model: xgboost.Booster, form: str = "ubj") -> bytes:
    with xgboost.config_context(verbosity=0):  # it warns of the old binary format, which is the one that old models have
        return bytes(model.save_raw(form))


class Instance:
    """Starts instances of one test, each with a model and a tag."""

    def __init__(self, directory: Path) -> None:
        self.objects = ModelObjects()
        self.engine = ProcessEngine(
            directory,
            images=ImageCatalogue([], ENVIRONMENTS),
            model_data=ModelData(self.objects, directory / "models"),
            ports=PortRange(20000, 29999),
            region="us-east-1",
        )
        self.http = aiohttp.ClientSession(skip_auto_headers=["Content-Type", "Accept"])
        self.address = ""

    async def start(self, files: dict[str, bytes], tag: str = "0.90-1-cpu-py3", **environment: str) -> None:
        self.objects.objects[URL] = archive_of(files)
        spec = InstanceSpec(
            instance_id="i-1", endpoint_name="e", variant_name="v", instance_type="ml.m5.xlarge", containers=(ContainerSpec(
                image=f"sagemaker-xgboost:{tag}", model_data=ModelDataSource(s3_uri=URL),
                environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **environment},
            ),), model_data_timeout_s=60, startup_timeout_s=60,
        )  # fmt: skip
        [self.address] = await self.engine.start(spec)

    async def get(self, path: str) -> tuple[int, str]:
        async with self.http.get(self.address + path) as response:
            return response.status, await response.text()

    async def invoke(self, body: str | bytes, content_type: str | None = "text/csv", accept: str = "") -> tuple[int, str, str]:
        headers = {name: value for name, value in {"Content-Type": content_type, "Accept": accept}.items() if value}
        data = io.BytesIO(body.encode() if isinstance(body, str) else body)
        async with self.http.post(f"{self.address}/invocations", data=data, headers=headers) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.text()


@pytest.fixture
async def instance(tmp_path: Path) -> AsyncIterator[Instance]:
    instance = Instance(tmp_path)
    await instance.engine.open()
    yield instance
    await instance.http.close()
    await instance.engine.close(grace_s=10)


def csv_of(rows: numpy.ndarray) -> str:
    return "\n".join(",".join(map(str, row)) for row in rows.tolist())


def libsvm_of(rows: numpy.ndarray) -> str:
    return "\n".join("0 " + " ".join(f"{index}:{value}" for index, value in enumerate(row) if value) for row in rows.tolist())


def joined(predictions: numpy.ndarray) -> str:
    return ",".join(map(str, predictions.tolist()))


ROWS = numpy.random.default_rng(8).normal(size=(40, COLUMNS)).astype(numpy.float32)
SPARSE = numpy.where(ROWS > 0.5, ROWS, 0)


async def test_answers_are_the_models_own_predictions(instance: Instance) -> None:
    model = trained()
    await instance.start({"xgboost-model": saved(model, "deprecated")})
    expected = joined(model.predict(xgboost.DMatrix(ROWS)))
    sparse = joined(model.predict(xgboost.DMatrix(scipy.sparse.csr_matrix(SPARSE))))
    assert await instance.get("/ping") == (200, "")
    csv_answer = (200, "text/csv; charset=utf-8", expected)
    assert await instance.invoke(csv_of(ROWS)) == csv_answer
    assert await instance.invoke(csv_of(ROWS) + "\n", "TEXT/CSV; charset=utf-8", accept="application/json") == csv_answer
    assert await instance.invoke(csv_of(ROWS).replace(",", ";")) == csv_answer
    for content_type in ("text/libsvm", "text/x-libsvm", None):
        assert await instance.invoke(libsvm_of(SPARSE), content_type) == (200, "text/csv; charset=utf-8", sparse)
    status, parameters = await instance.get("/execution-parameters")
    assert (status, json.loads(parameters)["BatchStrategy"]) == (200, "MULTI_RECORD")


async def test_bad_requests_are_told_why(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained())})
    assert (await instance.invoke(b""))[0] == 204
    status, _, text = await instance.invoke("1,2", "application/json")
    assert status == 415
    assert text.startswith("application/json is not an accepted ContentType")
    for body in ("a,b,c,d,e", "1,2\n1,2,3", b"\xff\xfe"):
        status, _, text = await instance.invoke(body)
        assert (status, text[:17]) == (415, "Loading csv data "), body
    for body in ("1 x:2", "1 -1:2", "1 99999999999:2", "1 1:2 3", "a 1:2"):
        status, _, text = await instance.invoke(body, "text/libsvm")
        assert (status, text[:20]) == (415, "Loading libsvm data "), body
    for body, content_type in [("1,2", "text/csv"), (",".join("123456"), "text/csv"), ("1 5:1", "text/libsvm")]:
        status, _, text = await instance.invoke(body, content_type)
        assert status == 400, body
        assert text.startswith("Unable to evaluate payload provided: Feature size")
    assert (await instance.invoke("1,,3,4,5"))[0] == 200, "an empty cell is a missing value"
    assert (await instance.invoke(csv_of(numpy.repeat(ROWS, 4000, axis=0))))[0] == 200, "0.90-1 has no limit of 6 MiB"


async def test_newer_tags_obey_accept_and_the_size_limit(instance: Instance) -> None:
    model = trained("multi:softprob", num_class=3)
    await instance.start({"model.json": saved(model, "json")}, tag="1.7-1", MAX_CONTENT_LENGTH="10000")
    predictions = model.predict(xgboost.DMatrix(ROWS[:2])).tolist()
    body = csv_of(ROWS[:2])
    _, content_type, text = await instance.invoke(body, accept="application/json")
    assert content_type == "application/json"
    assert json.loads(text) == {"predictions": [{"score": score} for score in predictions]}
    _, content_type, text = await instance.invoke(body, accept="application/jsonlines")
    assert [json.loads(line) for line in text.splitlines()] == [{"score": score} for score in predictions]
    _, content_type, text = await instance.invoke(body, accept="*/*")
    assert (content_type, text) == ("text/csv; charset=utf-8", "\n".join(",".join(map(str, row)) for row in predictions))
    assert (await instance.invoke(body, accept="image/png"))[0] == 406
    assert (await instance.invoke(b"1" * 5_000_000))[0] == 413


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "no file in the model directory"),
        ({"a": b"1", "b": b"2"}, "2 files in the model directory (a, b); one model a container"),
        ({"xgboost-model": b"this is no model at all"}, "xgboost-model"),
        ({"xgboost-model": pickle.dumps({"a": 1})}, "a pickle of dict"),
        ({"xgboost-model": b"\x80\x04junk"}, "is a pickle that XGBoost 3.0.5 cannot read"),
    ],
    ids=["none", "two", "junk", "other pickle", "broken pickle"],
)
async def test_a_model_that_cannot_be_loaded_fails_its_ping(instance: Instance, files: dict[str, bytes], reason: str) -> None:
    await instance.start(files)
    status, text = await instance.get("/ping")
    assert status == 500
    assert text.startswith("Unable to load model: ")
    assert reason in text
    assert reason in " ".join(await instance.engine.log_tail("i-1", 40))


async def test_a_pickled_booster_is_read(instance: Instance) -> None:
    model = trained()
    await instance.start({"xgboost-model": pickle.dumps(model), ".hidden": b"x"})
    assert (await instance.invoke(csv_of(ROWS)))[2] == joined(model.predict(xgboost.DMatrix(ROWS)))


async def test_pings_are_answered_while_predictions_run(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained())})
    body = csv_of(numpy.repeat(ROWS, 1000, axis=0))
    busy = [asyncio.create_task(instance.invoke(body)) for _ in range(4)]
    pinged = 0
    while not all(task.done() for task in busy):
        async with asyncio.timeout(2):
            assert (await instance.get("/ping"))[0] == 200
        pinged += 1
    assert pinged > 1
    assert {task.result()[0] for task in busy} == {200}


async def test_it_stops_on_sigterm(instance: Instance) -> None:
    await instance.start({"xgboost-model": saved(trained())})
    async with asyncio.timeout(15):
        await instance.engine.stop("i-1", grace_s=60)
