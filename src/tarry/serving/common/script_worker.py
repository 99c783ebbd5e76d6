"""A worker process: loads the model with the user's code, then answers one request after the other over a socket.

The functions are those of the SageMaker inference toolkit: ``model_fn(model_dir)``, then either ``transform_fn(model, data,
content_type, accept)`` or ``input_fn(data, content_type)``, ``predict_fn(data, model)``, ``output_fn(prediction, accept)``. What
the code leaves out is the image's default. A function with one more parameter gets a context as its last argument.

# AWS: the functions and the context (aws/sagemaker-inference-toolkit, transformer.py); JSON where Content-Type or Accept is left
# out, SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT, and csv and JSON as str (aws/sagemaker-containers, _worker.py).
"""

import importlib
import inspect
import json
import os
import sys
import traceback
from multiprocessing.connection import Connection

import user_code

TEXTS = ("text/csv", "application/json")
ANY = "*/*"


class NotSupported(Exception):
    """A default function does not know the media type; ``status`` 415 for a request, 406 for an answer."""

    def __init__(self, content_type, status, known):
        what, function = ("Content-Type", "input_fn") if status == 415 else ("Accept", "output_fn")
        super().__init__(f"{what} {content_type} is not supported; known are {', '.join(known)}. Write an {function} for others.")
        self.status = status


class Context:
    """What a function with one more parameter is told of the request (as much of the toolkit's context as has a meaning here)."""

    def __init__(self, headers):
        self.system_properties = {"model_dir": str(user_code.model_directory()), "gpu_id": None, "batch_size": 1}
        self._headers = {name.lower(): value for name, value in headers.items()}

    def get_request_header(self, index, name):
        """A header of the one request; ``index`` is 0."""
        return self._headers.get(name.lower())

    def get_all_request_header(self, index):
        return dict(self._headers)


class Functions:
    """The user's functions over the image's. Errors of the constructor: user_code.Unusable."""

    def __init__(self, module, defaults):
        own = {name for name in ("input_fn", "predict_fn", "output_fn") if hasattr(module, name)}
        if hasattr(module, "transform_fn") and own:
            raise user_code.Unusable(f"{module.__name__}: transform_fn takes the place of {min(own)}: write one or the other.")
        self._whole = getattr(module, "transform_fn", None)
        self._model_fn = getattr(module, "model_fn", None) or defaults.model_fn
        self._steps = {
            name: getattr(module, name, None) or getattr(defaults, name) for name in ("input_fn", "predict_fn", "output_fn")
        }
        self._model = None

    def load(self):
        """Call model_fn."""
        self._model = call(self._model_fn, [str(user_code.model_directory())], Context({}))

    def transform(self, body, content_type, accept, context):
        """What the functions make of a body: whatever output_fn or transform_fn returns."""
        if self._whole is not None:
            return call(self._whole, [self._model, body, content_type, accept], context)
        data = call(self._steps["input_fn"], [body, content_type], context)
        prediction = call(self._steps["predict_fn"], [data, self._model], context)
        return call(self._steps["output_fn"], [prediction, accept], context)


def call(function, arguments, context):
    parameters = inspect.signature(function).parameters.values()
    positional = [one for one in parameters if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    return function(*arguments, context) if len(positional) == len(arguments) + 1 else function(*arguments)


def answered(functions, headers, body):
    """(status, content type, bytes) for one request; never raises."""
    given = {name.lower(): value for name, value in headers.items()}
    content_type = given.get("content-type") or "application/json"
    accept = given.get("accept")
    if not accept or accept == ANY:
        accept = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or "application/json"
    try:
        data = body.decode("utf-8") if bare(content_type) in TEXTS else body
        return answer_of(functions.transform(data, content_type, accept, Context(headers)), accept)
    except NotSupported as error:
        return refused(error, error.status)
    except Exception as error:
        traceback.print_exc()
        return refused(error, 500)


def answer_of(result, accept):
    """A body, a body with its content type, or an object like Flask's Response."""
    status, content_type = 200, bare(accept)
    if isinstance(result, tuple):
        result, content_type = result
    elif hasattr(result, "get_data") and hasattr(result, "mimetype"):
        status, content_type, result = result.status_code, result.mimetype, result.get_data()
    if isinstance(result, str):
        result = result.encode("utf-8")
    if not isinstance(result, (bytes, bytearray, memoryview)):
        raise TypeError(
            f"output_fn or transform_fn returned {type(result).__name__}; expected str or bytes, or (body, content type)"
        )
    return status, content_type, bytes(result)


def refused(error, status):
    known = {"error": type(error).__name__, "error-message": str(error)}
    return status, "application/json", json.dumps(known).encode()


def bare(content_type):
    return content_type.split(";")[0].strip().lower()


def main(defaults):
    """Usage: worker.py CODE_DIRECTORY FD. ``defaults`` has model_fn, input_fn, predict_fn and output_fn."""
    code, descriptor = sys.argv[1:3]
    connection = Connection(int(descriptor))
    sys.path.insert(0, code)
    try:
        functions = Functions(importlib.import_module(user_code.program()), defaults)
        functions.load()
    except BaseException as error:
        if isinstance(error, user_code.Unusable):
            print(error, file=sys.stderr, flush=True)
        else:
            traceback.print_exc()
        os._exit(1)
    connection.send_bytes(b"started")
    while True:
        try:
            headers = json.loads(connection.recv_bytes())
            connection.send_bytes(b"taken")  # from here on it is this process's
            body = connection.recv_bytes()
        except EOFError:
            return
        status, content_type, answer = answered(functions, headers, body)
        connection.send_bytes(json.dumps({"status": status, "content_type": content_type}).encode())
        connection.send_bytes(answer)
