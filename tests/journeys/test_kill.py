"""Promises P1 to P3 on a real server that is killed with SIGKILL while 200 accepted invocations are queued and running."""

import os
import sqlite3
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.support.server_process import ServerProcess
from tests.support.subscriber import Subscriber

INVOCATIONS = 200
BUCKET = "kill-test"


def _deploy(server: ServerProcess, topics: dict[str, str]) -> None:
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(
        ModelName="stub",
        ExecutionRoleArn="arn:aws:iam::123456789012:role/test",
        PrimaryContainer={"Image": "stub:1", "Environment": {"STUB_DEFAULT": '{"sleep": 0.05}'}},
    )
    sagemaker.create_endpoint_config(
        EndpointConfigName="stub",
        ProductionVariants=[{"VariantName": "v", "ModelName": "stub", "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}],
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": f"s3://{BUCKET}/out",
                "S3FailurePath": f"s3://{BUCKET}/failed",
                "NotificationConfig": topics,
            }
        },
    )
    sagemaker.create_endpoint(EndpointName="stub", EndpointConfigName="stub")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="stub", WaiterConfig={"Delay": 0.1, "MaxAttempts": 600})


def _invoke(server: ServerProcess) -> dict[str, bytes]:
    """Output location → the bytes that have to be there."""
    s3, runtime = server.client("s3"), server.client("sagemaker-runtime")
    expected = {}
    for number in range(INVOCATIONS):
        body = f"input {number}".encode()
        s3.put_object(Bucket=BUCKET, Key=f"in/{number}", Body=body, ContentType="text/plain")
        answer = runtime.invoke_endpoint_async(EndpointName="stub", InputLocation=f"s3://{BUCKET}/in/{number}")
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 202
        expected[answer["OutputLocation"]] = body
    return expected


def _objects(s3: Any) -> dict[str, bytes]:
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
    keys = [entry["Key"] for page in pages for entry in page.get("Contents", []) if not entry["Key"].startswith("in/")]
    return {f"s3://{BUCKET}/{key}": s3.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}


def _states(data_dir: Path) -> Counter[str]:
    connection = sqlite3.connect(f"file:{data_dir / 'tarry.db'}?mode=ro", uri=True)
    try:
        return Counter(dict(connection.execute("SELECT state, count(*) FROM invocation GROUP BY state").fetchall()))
    finally:
        connection.close()


def _kill_after_progress(server: ServerProcess) -> None:
    """Let some complete, then kill and start again."""
    done = _states(server.data_dir)["Completed"]
    while _states(server.data_dir)["Completed"] < min(done + 20, INVOCATIONS):
        os.sched_yield()
    server.kill()
    server.start()


@pytest.mark.parametrize("further_kills", [0, pytest.param(6, marks=pytest.mark.slow)])
def test_nothing_accepted_is_lost_by_a_kill(tmp_path: Path, further_kills: int) -> None:
    data_dir = tmp_path / "data"
    with Subscriber() as subscriber:
        # Leases of an hour: what was running is taken up at once because the new server's epoch voids them, not because they end.
        server = ServerProcess(data_dir, settings={"TARRY_QUEUE__LEASE_S": "3600"}).start()
        try:
            server.client("s3").create_bucket(Bucket=BUCKET)
            sns = server.client("sns")
            topic = sns.create_topic(Name="ends")["TopicArn"]
            subscriber.subscribe(sns, topic)
            _deploy(server, {"SuccessTopic": topic, "ErrorTopic": topic})
            expected = _invoke(server)
            server.kill()
            before = _states(data_dir)
            assert before["Completed"] < INVOCATIONS, "the kill came too late to prove anything"
            server.start()
            for _ in range(further_kills):
                _kill_after_progress(server)
            subscriber.wait(lambda: expected.keys() <= subscriber.results("Completed").keys(), "200 success notifications")
            assert _objects(server.client("s3")) == expected
            assert _states(data_dir) == {"Completed": INVOCATIONS}
            assert not subscriber.results("Failed")
        finally:
            server.stop()
