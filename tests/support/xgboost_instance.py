"""Real instances of the XGBoost image on the process engine, with models that are trained here."""

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import numpy
import xgboost
from tests.support.model_objects import ModelObjects, archive_of

from tarry.backends.engines.addresses import PortRange
from tarry.backends.engines.process import ProcessEngine
from tarry.backends.images import ImageCatalogue
from tarry.backends.model_data import ModelData
from tarry.core.catalog import ModelDataSource
from tarry.ports import ContainerSpec, InstanceSpec

ENVIRONMENTS = Path(os.environ.get("TARRY_TEST_ENVIRONMENTS", Path(__file__).parents[2] / ".image-environments"))
"""Where the pinned environments of images are built and kept."""
URL = "s3://bucket/model.tar.gz"
COLUMNS = 5
ROWS = numpy.random.default_rng(8).normal(size=(40, COLUMNS)).astype(numpy.float32)
SPARSE = numpy.where(ROWS > 0.5, ROWS, 0)

Answer = tuple[int, str, str]
"""Status, Content-Type and body."""


def trained(objective: str = "reg:squarederror", seed: int = 1, **more: object) -> xgboost.Booster:
    """A model of five columns."""
    random = numpy.random.default_rng(seed)
    rows = random.normal(size=(300, COLUMNS)).astype(numpy.float32)
    label = (rows @ [1, -2, 0.5, 0, 3] > 0).astype(int) + (rows[:, 0] > 1 if objective.startswith("multi") else 0)
    parameters = {"objective": objective, "max_depth": 3, "seed": seed, "nthread": 1, **more}
    return xgboost.train(parameters, xgboost.DMatrix(rows, label), num_boost_round=12)


def saved(model: xgboost.Booster, form: str = "ubj") -> bytes:
    """A model file."""
    with xgboost.config_context(verbosity=0):  # it warns of the old binary format, which is the one that old models have
        return bytes(model.save_raw(form))


def csv_of(rows: numpy.ndarray) -> str:
    """Rows as text/csv."""
    return "\n".join(",".join(map(str, row)) for row in rows.tolist())


def libsvm_of(rows: numpy.ndarray) -> str:
    """Rows as text/libsvm, without their zeros."""
    return "\n".join("0 " + " ".join(f"{index}:{value}" for index, value in enumerate(row) if value) for row in rows.tolist())


class Instance:
    """Starts one instance, with a model and a tag, and asks it."""

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

    async def start(self, files: Mapping[str, bytes], tag: str = "0.90-1-cpu-py3", **environment: str) -> None:
        """Returns when it listens, or has ended. ``environment``: the model's; one worker unless it says otherwise."""
        self.objects.objects[URL] = archive_of(files)
        repository = "xgboost" if tag in ("1", "latest") else "sagemaker-xgboost"
        container = ContainerSpec(
            image=f"{repository}:{tag}",
            model_data=ModelDataSource(s3_uri=URL),
            environment={"SAGEMAKER_MODEL_SERVER_WORKERS": "1", **environment},
        )
        spec = InstanceSpec(
            instance_id="i-1", endpoint_name="e", variant_name="v", instance_type="ml.m5.xlarge", containers=(container,),
            model_data_timeout_s=60, startup_timeout_s=60,
        )  # fmt: skip
        [self.address] = await self.engine.start(spec)

    async def log(self) -> str:
        """The end of its log."""
        return "\n".join(await self.engine.log_tail("i-1", 60))

    async def get(self, path: str) -> tuple[int, str]:
        """Status and body."""
        async with self.http.get(self.address + path) as response:
            return response.status, await response.text()

    async def invoke(self, body: str | bytes, content_type: str | None = "text/csv", accept: str = "") -> Answer:
        """POST /invocations, with the two headers if they are not empty."""
        status, kind, answer = await self.invoke_bytes(body, content_type, accept)
        return status, kind, answer.decode()

    async def invoke_bytes(
        self, body: str | bytes, content_type: str | None = "text/csv", accept: str = ""
    ) -> tuple[int, str, bytes]:
        """The same for an answer that is no text."""
        headers = {name: value for name, value in {"Content-Type": content_type, "Accept": accept}.items() if value}
        data: Any = io.BytesIO(body.encode() if isinstance(body, str) else body)
        async with self.http.post(f"{self.address}/invocations", data=data, headers=headers) as response:
            return response.status, response.headers.get("Content-Type", ""), await response.read()

    async def close(self) -> None:
        """End it."""
        await self.http.close()
        await self.engine.close(grace_s=10)
