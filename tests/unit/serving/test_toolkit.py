"""How the real toolkits are started, with others of the same names in their place: they keep to the instance's directories."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.support.serving_common import SERVING

TOOLKITS = {
    "pytorch-inference": ("sagemaker_pytorch_serving_container", "torchserve", "TS_CONFIG_FILE"),
    "pytorch-inference-mms": ("sagemaker_pytorch_serving_container", None, "MMS_CONFIG_FILE"),
    "huggingface-pytorch-inference": ("sagemaker_huggingface_inference_toolkit", "mms_model_server", "MMS_CONFIG_FILE"),
}
"""Of each image: its toolkit, the module in it that starts the server (None: only sagemaker_inference.model_server), and the name
there of the file with the server's configuration."""
MAIN = """
import json, os, subprocess, sys, psutil
def main():
    child = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    found = [one.pid for one in psutil.process_iter()]
    child.communicate()
    files = {name: getattr(sys.modules[name], NAME) for name in MODULES}
    variables = {name: os.environ.get(name) for name in ("LOG_LOCATION", "METRICS_LOCATION", "VIRTUAL_ENV")}
    path = os.environ["PATH"].split(os.pathsep)[0]
    print(json.dumps({"files": files, "children": found == [child.pid], "prefix": sys.prefix, "path": path, **variables}))
"""


def started(directory: Path, image: str) -> dict[str, Any]:
    """What the image's toolkit finds when it is started in an instance whose home is a directory."""
    toolkit, module, name = TOOLKITS[image]
    modules = [] if image == "pytorch-inference" else ["sagemaker_inference.model_server"]
    modules += [] if module is None else [f"{toolkit}.{module}"]
    for dotted in modules:
        file = directory / "fakes" / (dotted.replace(".", "/") + ".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{name} = '/etc/sagemaker-server.properties'\n")
    inference = directory / "fakes" / "sagemaker_inference"
    inference.mkdir(parents=True, exist_ok=True)
    (inference / "__init__.py").touch()
    (inference / "decoder.py").write_text("def decode(data): return numpy.load(data, allow_pickle=True)\n")
    serving = directory / "fakes" / toolkit / "serving.py"
    serving.parent.mkdir(parents=True, exist_ok=True)
    serving.write_text(f"NAME, MODULES = {name!r}, {modules!r}\n{MAIN}")
    home = directory / "home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, SERVING / image / "serve.py"],
        capture_output=True,
        text=True,
        check=False,
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "PYTHONPATH": str(directory / "fakes")},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert set(told["files"]) == set(modules)
    return told


@pytest.mark.parametrize("image", TOOLKITS)
def test_a_toolkit_keeps_to_its_instance(tmp_path: Path, image: str) -> None:
    told, home = started(tmp_path, image), tmp_path / "home"
    assert set(told["files"].values()) == {str(home / "sagemaker-server.properties")}, "not below /etc"
    assert told["children"], "it looks for its server among its own children only"
    environment = home / "environment"
    assert (told["prefix"], told["VIRTUAL_ENV"]) == (str(environment), str(environment)), "what pip installs changes this alone"
    assert told["path"] == str(environment / "bin")
    logs = str(home / "logs") if image == "pytorch-inference" else None
    assert (told["LOG_LOCATION"], told["METRICS_LOCATION"]) == (logs, logs)
    [decoder] = environment.glob("lib/python*/site-packages/sagemaker_inference/decoder.py")
    assert decoder.read_text() == "def decode(data): return numpy.load(data, allow_pickle=False)\n", "no code of clients is run"
