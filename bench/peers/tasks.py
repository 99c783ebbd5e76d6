"""The Celery side: what Tarry's worker does, as a person would write it with Celery and boto3."""

# mypy: ignore-errors
import os

import boto3
import celery
import redis
import urllib3

# With BENCH_RESULTS as "Keeping Results" in Celery's first steps has it, so that somebody can ask what became of a task.
RESULTS = os.environ["BENCH_REDIS"] if os.environ.get("BENCH_RESULTS") else None
app = celery.Celery("bench", broker=os.environ["BENCH_REDIS"], backend=RESULTS)
app.conf.update(task_ignore_result=RESULTS is None, task_acks_late=True, broker_connection_retry_on_startup=True)

ENDED = "ended"
_clients = {}


def _client(name, make):
    """One client in each worker process, made after the fork."""
    key = (name, os.getpid())
    if key not in _clients:
        _clients[key] = make()
    return _clients[key]


@app.task(name="infer")
def infer(bucket, key, output_key):
    """Input from S3, the model's answer, output to S3, one notification."""
    s3 = _client("s3", lambda: boto3.client("s3", endpoint_url=os.environ["BENCH_S3"]))
    http = _client("http", urllib3.PoolManager)
    source = s3.get_object(Bucket=bucket, Key=key)
    headers = {"Content-Type": source["ContentType"]}
    answer = http.request("POST", os.environ["BENCH_MODEL"] + "/invocations", body=source["Body"].read(), headers=headers)
    s3.put_object(Bucket=bucket, Key=output_key, Body=answer.data, ContentType=answer.headers["Content-Type"])
    _client("redis", lambda: redis.Redis.from_url(os.environ["BENCH_REDIS"])).rpush(ENDED, output_key)
