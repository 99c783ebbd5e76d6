"""FastAPI in front of procrastinate: takes a request, defers a job in PostgreSQL, answers 202."""

# mypy: ignore-errors
import contextlib
import os
import uuid

import fastapi
import procrastinate

queue = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ["BENCH_POSTGRES"], max_size=10))


@queue.task(name="infer")
async def infer(bucket, key, output_key):
    """Never run here: only accepting is measured."""


@contextlib.asynccontextmanager
async def lifespan(_app):
    """The schema and the pool."""
    async with queue.open_async():
        if not await queue.check_connection_async():
            await queue.schema_manager.apply_schema_async()
        yield


app = fastapi.FastAPI(lifespan=lifespan)


@app.post("/endpoints/{name}/async-invocations", status_code=202)
async def invoke(name: str, location: str = fastapi.Header(alias="X-Amzn-SageMaker-InputLocation")):
    """One job for each request; durable when defer_async() returns."""
    _, _, bucket, key = location.split("/", 3)
    output_key = f"out/{uuid.uuid4()}.out"
    await infer.defer_async(bucket=bucket, key=key, output_key=output_key)
    return {"InferenceId": output_key}
