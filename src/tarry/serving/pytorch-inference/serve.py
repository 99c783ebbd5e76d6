"""Starts AWS's SageMaker PyTorch toolkit, which configures and starts TorchServe."""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))

import toolkit

if __name__ == "__main__":
    toolkit.enter(__file__)
    os.environ["LOG_LOCATION"] = os.environ["METRICS_LOCATION"] = str(pathlib.Path(os.environ["HOME"], "logs"))

    from sagemaker_pytorch_serving_container import serving, torchserve

    toolkit.keep_apart(torchserve)
    serving.main()
