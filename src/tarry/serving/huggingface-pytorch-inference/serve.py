"""Starts Hugging Face's inference toolkit, which configures and starts Multi Model Server."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "common"))

import toolkit

if __name__ == "__main__":
    toolkit.enter(__file__)

    from sagemaker_huggingface_inference_toolkit import mms_model_server, serving
    from sagemaker_inference import model_server

    toolkit.keep_apart(model_server, mms_model_server)
    serving.main()
