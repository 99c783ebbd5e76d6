"""Serves a scikit-learn script: inference.py, or what SAGEMAKER_PROGRAM and SAGEMAKER_SUBMIT_DIRECTORY name."""

import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "common"))

import script_server  # noqa: E402

TIMEOUT_S = 60  # AWS: the toolkit's default of SAGEMAKER_MODEL_SERVER_TIMEOUT (the repository aws/sagemaker-containers)

if __name__ == "__main__":
    script_server.main(HERE / "worker.py", TIMEOUT_S)
