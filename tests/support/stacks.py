"""The serving stacks of the guide's table: image, the variables that it names, and a model archive for each."""

import asyncio
import json
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import xgboost
from tests.support import deploy
from tests.support.instance import ENVIRONMENTS
from tests.support.server_process import ServerProcess

from tarry.backends.images import ImageCatalogue
from tarry.core.errors import ImageBroken

BUCKET = "stacks"
_REGISTRY = "763104351884.dkr.ecr.us-east-1.amazonaws.com"
_ALGORITHMS = "683313688378.dkr.ecr.us-east-1.amazonaws.com"
_MISSING_HERE = ("No matching distribution found for torch", "needs java", "needs Python")

SCRIPT = """
import json, os, time
print("ENVIRONMENT", json.dumps(dict(os.environ)), flush=True)

def model_fn(model_dir):
    return os.path.isdir(model_dir)

def input_fn(data, content_type):
    return json.loads(data) if content_type == "application/json" else {"got": len(data)}

def predict_fn(wish, model):
    time.sleep(wish.get("sleep", 0))
    return {"model": model, "got": wish.get("got"), "filler": "x" * wish.get("answer", 0)}

def output_fn(prediction, accept):
    return json.dumps(prediction)
"""

TORCHSCRIPT = """
import sys, torch
class Double(torch.nn.Module):
    def forward(self, x):
        return x * 2
torch.jit.script(Double()).save(sys.argv[1] + "/model.pth")
"""
LOADING = """
import os, torch
def model_fn(model_dir):
    return torch.jit.load(os.path.join(model_dir, "model.pth"))
"""
_CONSTANT = "import numpy, sklearn.dummy\ndef model_fn(d):\n    return sklearn.dummy.DummyRegressor().fit([[0, 0]], [7])\n"
TINY_BERT = """
import sys, torch, transformers
torch.manual_seed(1)
words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "day"]
open(sys.argv[1] + "/vocab.txt", "w").write("\\n".join(words))
tokenizer = transformers.BertTokenizerFast(vocab_file=sys.argv[1] + "/vocab.txt")
config = transformers.BertConfig(
    vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8,
    id2label={0: "NO", 1: "YES"}, label2id={"NO": 0, "YES": 1},
)
transformers.BertForSequenceClassification(config).save_pretrained(sys.argv[1])
tokenizer.save_pretrained(sys.argv[1])
print(transformers.pipeline("text-classification", model=sys.argv[1])("good day")[0]["score"])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """``seed`` is the Environment block of the guide; the variable ``timeout`` gives seconds to a request, and to loading.

    ``patience_s`` is long enough for loading.
    """

    name: str
    image: str
    seed: Mapping[str, str] = field(default_factory=dict)
    timeout: str = ""
    patience_s: int = 10

    def prepare(self) -> str:
        """Build its environment, once; its interpreter. Skips where the machine lacks what it needs."""
        try:
            prepared = asyncio.run(ImageCatalogue([], ENVIRONMENTS).prepare(self.image))
        except ImageBroken as error:
            if any(words in str(error) for words in _MISSING_HERE):
                pytest.skip(str(error).splitlines()[0])
            raise
        return prepared.command[0]


TORCHSERVE = Stack(
    name="torchserve",
    image=f"{_REGISTRY}/pytorch-inference:1.8.1-cpu-py3",
    seed={"TS_MAX_REQUEST_SIZE": "100000000", "TS_MAX_RESPONSE_SIZE": "100000000", "TS_DEFAULT_RESPONSE_TIMEOUT": "1000"},
    timeout="TS_DEFAULT_RESPONSE_TIMEOUT",
)
PYTORCH_MMS = Stack(
    name="pytorch-mms",
    image=f"{_REGISTRY}/pytorch-inference:1.4.0-cpu-py3",
    seed={"MMS_MAX_REQUEST_SIZE": "1000000000", "MMS_MAX_RESPONSE_SIZE": "1000000000", "MMS_DEFAULT_RESPONSE_TIMEOUT": "900"},
    timeout="MMS_DEFAULT_RESPONSE_TIMEOUT_SECONDS",
)
HUGGING_FACE = Stack(
    name="hugging-face",
    image=f"{_REGISTRY}/huggingface-pytorch-inference:1.13.1-transformers4.26.0-cpu-py39-ubuntu20.04",
    seed={"MMS_MAX_REQUEST_SIZE": "2000000000", "MMS_MAX_RESPONSE_SIZE": "2000000000", "MMS_DEFAULT_RESPONSE_TIMEOUT": "900"},
    timeout="MMS_DEFAULT_RESPONSE_TIMEOUT_SECONDS",
    patience_s=40,
)
ALL = (TORCHSERVE, PYTORCH_MMS, HUGGING_FACE)
XGBOOST = Stack(name="xgboost", image=f"{_ALGORITHMS}/sagemaker-xgboost:0.90-1-cpu-py3")
SCIKIT_LEARN = Stack(name="scikit-learn", image=f"{_ALGORITHMS}/sagemaker-scikit-learn:1.2-1-cpu-py3")
EVERY = (XGBOOST, SCIKIT_LEARN, *ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model archive's content for a stack, a request, and its answer."""

    stack: Stack
    content: Path
    body: bytes
    content_type: str
    answer: object
    environment: Mapping[str, str] = field(default_factory=dict)

    def check(self, record: Mapping[str, Any]) -> None:
        """Whether the invocation's record has the answer."""
        assert record["State"] == "Completed", record
        said = json.loads(record["answer"])
        assert (said[0]["score"] if self.stack is HUGGING_FACE else said) == self.answer, self.stack.name


def case(stack: Stack, directory: Path) -> Case:
    """One that needs the stack's own library. Skips where the machine lacks what the stack needs."""
    content = directory / stack.name
    if stack is XGBOOST:
        trees = write_trees(content)
        answer = pytest.approx(float(trees.predict(xgboost.DMatrix([[1.0]]))[0]))
        return Case(stack=stack, content=content, body=b"1.0", content_type="text/csv", answer=answer)
    if stack is SCIKIT_LEARN:
        write(content, {"code/inference.py": _CONSTANT})
        return Case(stack=stack, content=content, body=b"1,1", content_type="text/csv", answer=[7])
    if stack is HUGGING_FACE:
        score = float(run_in(stack.prepare(), TINY_BERT, content))
        return Case(
            stack=stack,
            content=content,
            body=b'{"inputs": "good day"}',
            content_type="application/json",
            answer=pytest.approx(score, abs=1e-6),
            environment={"HF_TASK": "text-classification", "HF_HUB_OFFLINE": "1"},
        )
    run_in(stack.prepare(), TORCHSCRIPT, content)
    if stack is PYTORCH_MMS:  # the toolkit of that time has no model_fn of its own
        write(content, {"code/inference.py": LOADING})
    return Case(stack=stack, content=content, body=b"[1.5]", content_type="application/json", answer=[3])


def write(directory: Path, files: Mapping[str, str]) -> Path:
    """Write text files below a new directory."""
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return directory


def write_trees(directory: Path) -> xgboost.Booster:
    """A small XGBoost model of one column as a model archive's content."""
    directory.mkdir(parents=True)
    trees = xgboost.train({"objective": "reg:squarederror"}, xgboost.DMatrix([[0.0], [1.0]], [0, 1]), num_boost_round=5)
    trees.save_model(directory / "xgboost-model.ubj")
    return trees


def run_in(python: str, program: str, directory: Path) -> str:
    """Let a stack's own Python write a model into a directory; what it prints last."""
    directory.mkdir(parents=True, exist_ok=True)
    file = write(directory.parent, {f"make-{directory.name}.py": program}) / f"make-{directory.name}.py"
    command = [python, str(file), str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"HF_HUB_OFFLINE": "1", "PATH": "/usr/bin"})
    assert done.returncode == 0, done.stderr
    return done.stdout.strip().rpartition("\n")[2]


def serve(server: ServerProcess, stack: Stack, name: str, content: Path, environment: Mapping[str, str], **over: int) -> None:
    """An endpoint with this directory as its model archive, in service; ``instances`` may be given."""
    upload(server, stack, name, content, environment, **over)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)
    deploy.in_service(server, name)


def upload(server: ServerProcess, stack: Stack, name: str, content: Path, environment: Mapping[str, str], **over: int) -> None:
    """Model and configuration of this name, with this directory as the model archive."""
    archive = content.with_suffix(".tar.gz")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(content, ".")
    server.client("s3").upload_file(str(archive), BUCKET, f"{name}/model.tar.gz")
    url = f"s3://{BUCKET}/{name}/model.tar.gz"
    deploy.model(server, name, environment, stack.image, ModelDataUrl=url)
    deploy.config(server, name, name, BUCKET, startup_s=600, **over)


def ask(server: ServerProcess, name: str, body: bytes, content_type: str = "application/octet-stream") -> dict[str, Any]:
    """Put an input, invoke, wait for the end: the invocation's record, with ``answer`` (the output object) if it completed."""
    s3 = server.client("s3")
    s3.put_object(Bucket=BUCKET, Key=f"{name}/in", Body=body)
    accepted = server.client("sagemaker-runtime").invoke_endpoint_async(
        EndpointName=name, InputLocation=f"s3://{BUCKET}/{name}/in", ContentType=content_type, InvocationTimeoutSeconds=300
    )
    invocation = accepted["ResponseMetadata"]["HTTPHeaders"]["x-tarry-invocation-id"]
    tarry = server.client("tarry")
    while True:
        record: dict[str, Any] = tarry.wait_invocation(InvocationId=invocation, WaitSeconds=20)["Invocation"]
        if record["State"] in ("Completed", "Failed"):
            break
    if record["State"] == "Completed":
        record["answer"] = deploy.read(server, accepted["OutputLocation"])
    else:
        record["failure"] = deploy.read(server, accepted["FailureLocation"])
    return record


def wish(server: ServerProcess, name: str, **wishes: int) -> dict[str, Any]:
    """Ask the endpoint of SCRIPT for something."""
    return ask(server, name, json.dumps(wishes).encode(), "application/json")


def delete(server: ServerProcess) -> None:
    """Delete all endpoints, and wait until their instances are gone."""
    sagemaker = server.client("sagemaker")
    names = [endpoint["EndpointName"] for endpoint in sagemaker.list_endpoints()["Endpoints"]]
    for name in names:
        sagemaker.delete_endpoint(EndpointName=name)
    for name in names:
        sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=deploy.WAITER)
