"""Starts AWS's SageMaker PyTorch toolkit, which configures and starts TorchServe.

TorchServe takes its settings from TS_* variables too, and they come before the toolkit's own. Only those that the model's
Environment leaves open are set here: loopback instead of all addresses, and ports that nobody else on this machine has.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))

import toolkit

if __name__ == "__main__":
    toolkit.enter(__file__)
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    management, metrics, grpc_inference, grpc_management = toolkit.spare_ports(4)
    toolkit.default("TS_INFERENCE_ADDRESS", f"http://127.0.0.1:{port}")
    toolkit.default("TS_MANAGEMENT_ADDRESS", f"http://127.0.0.1:{management}")
    toolkit.default("TS_METRICS_ADDRESS", f"http://127.0.0.1:{metrics}")
    toolkit.default("TS_GRPC_INFERENCE_PORT", grpc_inference)
    toolkit.default("TS_GRPC_MANAGEMENT_PORT", grpc_management)
    # Not a port but part of a socket's name in /tmp, which is everybody's without a sandbox.
    toolkit.default("TS_INITIAL_WORKER_PORT", port * 1000)
    os.environ["LOG_LOCATION"] = os.environ["METRICS_LOCATION"] = str(pathlib.Path(os.environ["HOME"], "logs"))

    from sagemaker_pytorch_serving_container import serving, torchserve

    toolkit.keep_apart(torchserve)
    serving.main()
