"""What a SageMaker user's program does, with unmodified boto3 and the SageMaker SDK: only AWS's own variables say where to.

The steps are those of the guide's page "Create an asynchronous inference endpoint". A model is trained on scikit-learn's breast
cancer data; its answers through the endpoint are compared with its own predictions in this process.
"""

import http.server
import io
import json
import logging
import os
import sys
import tarfile
import threading
import time
import urllib.request
import warnings
from typing import Any

os.environ["SAGEMAKER_SUPPRESS_V2_WARNING"] = "1"
logging.getLogger("sagemaker").setLevel(logging.WARNING)
logging.getLogger("sagemaker.config").setLevel(logging.WARNING)
print("          loading boto3, the SageMaker SDK, scikit-learn and XGBoost", flush=True)

import boto3
import numpy as np
import xgboost
from sklearn.datasets import load_breast_cancer
from sklearn.model_selection import train_test_split

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from sagemaker import image_uris

BATCH = 40
ROWS_EACH = 3
WAIT_S_MAX = 120
STARTED = float(sys.argv[1]) if len(sys.argv) > 1 else time.monotonic()
WAITER = {"Delay": 1, "MaxAttempts": 300}

aws_region = boto3.session.Session().region_name
sagemaker_client = boto3.client("sagemaker", region_name=aws_region)
sagemaker_runtime = boto3.client("sagemaker-runtime", region_name=aws_region)
s3 = boto3.client("s3", region_name=aws_region)
sns = boto3.client("sns", region_name=aws_region)
account = boto3.client("sts", region_name=aws_region).get_caller_identity()["Account"]
sagemaker_role = f"arn:aws:iam::{account}:role/demo"
s3_bucket = f"demo-{account}"
bucket_prefix = "saved_models"


def say(text: str) -> None:
    """One line with the time since the demo's start."""
    dim, plain = ("\033[2m", "\033[0m") if sys.stdout.isatty() else ("", "")
    print(f"{dim}{time.monotonic() - STARTED:6.1f} s{plain}  {text}", flush=True)


class Subscriber:
    """An HTTP subscriber: confirms its subscriptions and keeps what it is told."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.arrived = threading.Condition()
        subscriber = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                envelope = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()
                subscriber.take(envelope)

            def log_message(self, *_: object) -> None:
                """Be quiet."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, envelope: dict[str, Any]) -> None:
        """Confirm, or keep the message."""
        if envelope["Type"] == "SubscriptionConfirmation":
            urllib.request.build_opener(urllib.request.ProxyHandler({})).open(envelope["SubscribeURL"], timeout=10).read()
            return
        with self.arrived:
            self.messages.append(json.loads(envelope["Message"]))
            self.arrived.notify_all()

    def wait_for(self, what: str, count: int, **fields: str) -> list[dict[str, Any]]:
        """Wait until this many messages have these fields."""

        def matching() -> list[dict[str, Any]]:
            return [message for message in self.messages if fields.items() <= message.items()]

        with self.arrived:
            if not self.arrived.wait_for(lambda: len(matching()) >= count, WAIT_S_MAX):
                raise SystemExit(f"only {len(matching())} of {count} messages came: {what}")
            return matching()

    def wait_for_outputs(self, locations: set[str]) -> None:
        """Wait until a success message has come for each of these."""

        def missing() -> set[str]:
            return locations - {message.get("responseParameters", {}).get("outputLocation") for message in self.messages}

        with self.arrived:
            if not self.arrived.wait_for(lambda: not missing(), WAIT_S_MAX):
                raise SystemExit(f"no success notification came for {sorted(missing())}")


def train() -> tuple[xgboost.Booster, np.ndarray]:
    """A model trained on real data, and rows that it has not seen."""
    data = load_breast_cancer()
    x_train, x_test, y_train, y_test = train_test_split(data.data, data.target, test_size=0.3, random_state=1)
    booster = xgboost.train(
        {"objective": "binary:logistic", "max_depth": 4}, xgboost.DMatrix(x_train, y_train), num_boost_round=60
    )
    right = ((booster.predict(xgboost.DMatrix(x_test)) > 0.5) == y_test).mean()
    say(
        f"trained XGBoost on {len(x_train)} rows of scikit-learn's breast cancer data; right on {right:.1%} of {len(x_test)} more"
    )
    return booster, x_test


def upload_model(booster: xgboost.Booster) -> str:
    """The model archive as SageMaker expects it, in S3."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = bytes(booster.save_raw("deprecated"))  # the binary form that XGBoost 0.90 wrote
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("xgboost-model")
        member.size = len(raw)
        tar.addfile(member, io.BytesIO(raw))
    key = f"{bucket_prefix}/demo-xgboost-model.tar.gz"
    location = {} if aws_region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws_region}}
    s3.create_bucket(Bucket=s3_bucket, **location)
    s3.put_object(Bucket=s3_bucket, Key=key, Body=archive.getvalue())
    say(f"uploaded s3://{s3_bucket}/{key} ({len(archive.getvalue()):,} bytes)")
    return f"s3://{s3_bucket}/{key}"


def make_topics(subscriber: Subscriber) -> tuple[str, str]:
    """A success and an error topic, both with the subscriber."""
    topics = [sns.create_topic(Name=name)["TopicArn"] for name in ("demo-success", "demo-error")]
    for topic in topics:
        sns.subscribe(TopicArn=topic, Protocol="http", Endpoint=subscriber.url)
    deadline = time.monotonic() + WAIT_S_MAX
    for topic in topics:
        while True:
            found = sns.list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
            if all(one["SubscriptionArn"].startswith("arn:") for one in found):
                break
            if time.monotonic() > deadline:
                raise SystemExit("the subscriptions were not confirmed")
            time.sleep(0.1)
    say("two topics, an HTTP subscriber confirmed on both")
    return topics[0], topics[1]


def create_config(name: str, model_name: str, topics: tuple[str, str]) -> None:
    """The page's create_endpoint_config, with the comma that it lost after S3OutputPath."""
    response = sagemaker_client.create_endpoint_config(
        EndpointConfigName=name,
        ProductionVariants=[
            {"VariantName": "variant1", "ModelName": model_name, "InstanceType": "ml.m5.xlarge", "InitialInstanceCount": 1}
        ],
        AsyncInferenceConfig={
            "OutputConfig": {
                "S3OutputPath": f"s3://{s3_bucket}/{bucket_prefix}/output",
                "NotificationConfig": {"SuccessTopic": topics[0], "ErrorTopic": topics[1]},
            },
            "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 4},
        },
    )
    say(f"created {response['EndpointConfigArn']}")


def wait_in_service(endpoint_name: str) -> None:
    """The waiter of boto3, asking every second instead of every thirty."""
    sagemaker_client.get_waiter("endpoint_in_service").wait(EndpointName=endpoint_name, WaiterConfig=WAITER)
    described = sagemaker_client.describe_endpoint(EndpointName=endpoint_name)
    variant = described["ProductionVariants"][0]
    counts = f"{variant['CurrentInstanceCount']} of {variant['DesiredInstanceCount']} instances"
    say(f"{endpoint_name} is {described['EndpointStatus']} on {described['EndpointConfigName']}, {counts}")
    if described.get("FailureReason"):
        raise SystemExit(described["FailureReason"])


def csv_of(rows: np.ndarray) -> bytes:
    """Rows as text/csv."""
    return "\n".join(",".join(repr(float(value)) for value in row) for row in rows).encode()


def libsvm_of(rows: np.ndarray) -> bytes:
    """Rows as text/libsvm with a label that is ignored."""
    return "\n".join("0 " + " ".join(f"{i}:{float(value)!r}" for i, value in enumerate(row)) for row in rows).encode()


def invoke_batch(endpoint_name: str, booster: xgboost.Booster, rows: np.ndarray, subscriber: Subscriber) -> None:
    """Send a batch of requests, wait for all outputs, compare each with the model's own prediction."""
    asked: list[tuple[str, np.ndarray]] = []
    begun = time.monotonic()
    for number in range(BATCH):
        part = rows[(number * ROWS_EACH) % (len(rows) - ROWS_EACH) :][:ROWS_EACH]
        content_type, body = ("text/csv", csv_of(part)) if number % 2 else ("text/libsvm", libsvm_of(part))
        key = f"{bucket_prefix}/input/{endpoint_name}-{number}"
        s3.put_object(Bucket=s3_bucket, Key=key, Body=body, ContentType=content_type)
        answer = sagemaker_runtime.invoke_endpoint_async(EndpointName=endpoint_name, InputLocation=f"s3://{s3_bucket}/{key}")
        asked.append((answer["OutputLocation"], booster.predict(xgboost.DMatrix(part))))
    say(f"{BATCH} requests accepted, text/csv and text/libsvm in turn")
    worst = 0.0
    for location, expected in asked:
        _, _, bucket, key = location.split("/", 3)
        s3.get_waiter("object_exists").wait(Bucket=bucket, Key=key, WaiterConfig=WAITER)
        text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
        worst = max(worst, float(np.abs(np.array(text.split(","), dtype=float) - expected).max()))
    if worst > 1e-6:
        raise SystemExit(f"an answer differs from the model's own prediction by {worst}")
    say(f"{BATCH} answers read from S3 after {time.monotonic() - begun:.1f} s; largest difference to the model: {worst:.1e}")
    subscriber.wait_for_outputs({location for location, _ in asked})
    say(f"{BATCH} success notifications received")


def invoke_badly(endpoint_name: str, subscriber: Subscriber) -> None:
    """A request that the model refuses: a failure object and an error notification."""
    answer = sagemaker_runtime.invoke_endpoint_async(EndpointName=endpoint_name, Body=b"not,a,number", ContentType="text/csv")
    told = subscriber.wait_for("the failure", 1, invocationStatus="Failed")[0]
    _, _, bucket, key = answer["FailureLocation"].split("/", 3)
    text = s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    say(f"a bad request failed as it should: {told['failureReason']}")
    say(f"its failure object says: {text[:100]!r}")


def delete_all(endpoint_name: str, configs: list[str], model_name: str) -> None:
    """Delete everything; nothing is left to list."""
    sagemaker_client.delete_endpoint(EndpointName=endpoint_name)
    sagemaker_client.get_waiter("endpoint_deleted").wait(EndpointName=endpoint_name, WaiterConfig=WAITER)
    for config in configs:
        sagemaker_client.delete_endpoint_config(EndpointConfigName=config)
    sagemaker_client.delete_model(ModelName=model_name)
    left = (
        sagemaker_client.list_endpoints()["Endpoints"],
        sagemaker_client.list_endpoint_configs()["EndpointConfigs"],
        sagemaker_client.list_models()["Models"],
    )
    if any(left):
        raise SystemExit(f"something was left behind: {left}")
    say("endpoint, configurations and model deleted")


def main() -> None:
    """The page, from its first line to its last."""
    subscriber = Subscriber()
    booster, rows = train()
    model_url = upload_model(booster)
    topics = make_topics(subscriber)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        container = image_uris.retrieve(region=aws_region, framework="xgboost", version="0.90-1")
    say(f"the SageMaker SDK says the image is {container}")
    model_name, endpoint_name = "demo-xgboost", "demo-endpoint"
    configs = [f"XGBoostEndpointConfig-{time.strftime('%Y-%m-%d-%H-%M-%S', time.gmtime())}-{number}" for number in (1, 2)]
    sagemaker_client.create_model(
        ModelName=model_name,
        ExecutionRoleArn=sagemaker_role,
        PrimaryContainer={"Image": container, "ModelDataUrl": model_url},
    )
    create_config(configs[0], model_name, topics)
    sagemaker_client.create_endpoint(EndpointName=endpoint_name, EndpointConfigName=configs[0])
    wait_in_service(endpoint_name)
    subscriber.wait_for("test notifications", 2, eventName="TestNotification")
    say("both topics had their test notification")
    invoke_batch(endpoint_name, booster, rows, subscriber)
    invoke_badly(endpoint_name, subscriber)
    create_config(configs[1], model_name, topics)
    sagemaker_client.update_endpoint(EndpointName=endpoint_name, EndpointConfigName=configs[1])
    wait_in_service(endpoint_name)
    sagemaker_client.update_endpoint_weights_and_capacities(
        EndpointName=endpoint_name, DesiredWeightsAndCapacities=[{"VariantName": "variant1", "DesiredInstanceCount": 2}]
    )
    wait_in_service(endpoint_name)
    subscriber.wait_for("test notifications", 6, eventName="TestNotification")
    say("each change sent its test notifications again")
    invoke_batch(endpoint_name, booster, rows, subscriber)
    delete_all(endpoint_name, configs, model_name)


if __name__ == "__main__":
    main()
