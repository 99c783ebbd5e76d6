"""As much of sagemaker-containers as scripts for scikit-learn use; most of it is that of all images (common/framework).

The package itself exists as source in C only, which would need a compiler on each machine.

# AWS: names and parameters: aws/sagemaker-containers (_content_types.py, _encoders.py, _errors.py, _worker.py).
"""

import pathlib

__path__.append(str(pathlib.Path(__file__).resolve().parents[4] / "common" / "framework"))

from sagemaker_containers.beta.framework import content_types, encoders, errors, worker  # noqa: E402

__all__ = ["content_types", "encoders", "env", "errors", "modules", "transformer", "worker"]


class Absent:
    """A part that has no meaning here; scripts that copy an example's import line get it and never look at it."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        raise AttributeError(f"sagemaker_containers.beta.framework.{self._name}.{attribute} is not there")


env, modules, transformer = Absent("env"), Absent("modules"), Absent("transformer")
