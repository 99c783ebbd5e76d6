"""The parts of the container's framework that serving scripts use.

# AWS: names and parameters: aws/sagemaker-containers (_content_types.py, _encoders.py, _errors.py, _worker.py).
"""

from sagemaker_containers.beta.framework import content_types, encoders, errors, worker

__all__ = ["content_types", "encoders", "errors", "worker"]
