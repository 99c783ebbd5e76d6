"""The parts of the container's framework that serving scripts use; most of them are those of all images (common/framework).

# AWS: names and parameters: aws/sagemaker-containers (_content_types.py, _encoders.py, _errors.py, _worker.py).
"""

import pathlib

__path__.append(str(pathlib.Path(__file__).resolve().parents[5] / "common" / "framework"))

from sagemaker_containers.beta.framework import content_types, encoders, errors, worker  # noqa: E402

__all__ = ["content_types", "encoders", "errors", "worker"]
