"""Starts AWS's SageMaker PyTorch toolkit of the time of PyTorch 1.4, which configures and starts Multi Model Server."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))

import toolkit

if __name__ == "__main__":
    toolkit.enter(__file__)

    from sagemaker_inference import model_server
    from sagemaker_pytorch_serving_container import serving

    toolkit.keep_apart(model_server)
    serving.main()
