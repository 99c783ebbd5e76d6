"""Starts Hugging Face's inference toolkit, which configures and starts Multi Model Server.

The server takes its settings from MMS_* variables too, and they come before the toolkit's own.
"""

import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))

import toolkit

if __name__ == "__main__":
    toolkit.enter(__file__)
    port = os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080")
    toolkit.default("MMS_INFERENCE_ADDRESS", f"http://127.0.0.1:{port}")
    toolkit.default("MMS_MANAGEMENT_ADDRESS", f"http://127.0.0.1:{port}")

    from sagemaker_huggingface_inference_toolkit import mms_model_server, serving
    from sagemaker_inference import model_server

    toolkit.keep_apart(model_server, mms_model_server)
    serving.main()
