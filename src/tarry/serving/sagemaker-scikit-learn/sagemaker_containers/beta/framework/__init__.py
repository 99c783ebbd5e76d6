"""As much of sagemaker-containers as scripts for scikit-learn use: answers, encoders and the names of media types.

The package itself exists as source in C only, which would need a compiler on each machine.
"""

import types

import arrays


class Response:
    """An answer with a media type, as a script's output_fn may return it."""

    def __init__(self, response=b"", accept=None, status=200, headers=None, mimetype=None):
        self._body = response.encode("utf-8") if isinstance(response, str) else response
        self.status_code = status
        self.mimetype = mimetype or accept or "application/json"

    def get_data(self):
        """The body as bytes."""
        return self._body


class Absent:
    """A part that has no meaning here; scripts that copy an example's import line get it and never look at it."""

    def __init__(self, name):
        self._name = name

    def __getattr__(self, attribute):
        raise AttributeError(f"sagemaker_containers.beta.framework.{self._name}.{attribute} is not there")


def encode(array, content_type):
    return arrays.ENCODERS[content_type](array)


def decode(data, content_type):
    return arrays.DECODERS[content_type](data)


content_types = types.SimpleNamespace(
    JSON="application/json",
    CSV="text/csv",
    NPY="application/x-npy",
    ANY="*/*",
    OCTET_STREAM="application/octet-stream",
    UTF8_TYPES=["application/json", "text/csv"],
)
encoders = types.SimpleNamespace(encode=encode, decode=decode)
worker = types.SimpleNamespace(Response=Response)
env, modules, transformer = Absent("env"), Absent("modules"), Absent("transformer")
