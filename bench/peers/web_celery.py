"""FastAPI in front of Celery: takes a request, hands it to the broker, answers 202."""

# mypy: ignore-errors
import uuid

import fastapi

from bench.peers.tasks import infer

app = fastapi.FastAPI()


@app.post("/endpoints/{name}/async-invocations", status_code=202)
def invoke(name: str, location: str = fastapi.Header(alias="X-Amzn-SageMaker-InputLocation")):
    """One task for each request; durable when delay() returns, since Redis syncs at every write."""
    _, _, bucket, key = location.split("/", 3)
    output_key = f"out/{uuid.uuid4()}.out"
    infer.delay(bucket, key, output_key)
    return {"InferenceId": output_key}
