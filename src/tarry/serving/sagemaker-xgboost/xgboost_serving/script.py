"""Script mode: functions of the user's script load the model, read requests, predict and write answers.

# AWS: which functions there are, what they are called with, what stands in for those that are missing, and the answers to errors:
# aws/sagemaker-containers (_transformer.py, _worker.py) and aws/sagemaker-xgboost-container (serving.py).
"""

import importlib
import json
import sys
from dataclasses import dataclass
from typing import Any

import flask
from sagemaker_containers.beta.framework import content_types, encoders, errors, worker
from sagemaker_xgboost_container import encoder

from xgboost_serving import models as loaded
from xgboost_serving import web

MODEL, TRANSFORM, PARTS = "model_fn", "transform_fn", ("input_fn", "predict_fn", "output_fn")


class BadScript(Exception):
    """The script cannot be used; the text says why."""


class Raised(Exception):
    """A function of the script raised; the text says which and what."""


@dataclass(frozen=True)
class Script:
    """The functions of a script."""

    name: str
    functions: dict[str, Any]

    def call(self, name, *arguments):
        """What a function returns. Raises Raised, or UnsupportedFormatError, which has answers of its own."""
        try:
            return self.functions[name](*arguments)
        except errors.UnsupportedFormatError:
            raise
        except Exception as error:
            raise Raised(f"{name} of {self.name} raised {type(error).__name__}: {error}") from error


def create_app(variables, code):
    """The WSGI application, and the loader that it asks for the script and its model."""
    app = web.new_app()
    models = loaded.Loader(lambda: _load(variables, code))
    web.add_ping(app, models)

    @app.post("/invocations")
    def invocations():
        try:
            script, model = models()
        except Exception as error:
            return web.failed(f"Unable to load model: {error}", 500)
        content_type = flask.request.headers.get("Content-Type") or content_types.JSON
        accept = flask.request.headers.get("Accept") or content_types.ANY
        if accept == content_types.ANY:
            accept = variables.default_accept or content_types.JSON
        body = web.body_of_request()
        try:
            if content_type in content_types.UTF8_TYPES:
                body = body.decode(errors="replace")
            return _response(script, _transformed(script, model, body, content_type, accept))
        except Raised as error:
            return web.failed(str(error), 500)

    return app, models


def _transformed(script, model, body, content_type, accept):
    if TRANSFORM in script.functions:
        return script.call(TRANSFORM, model, body, content_type, accept)
    try:
        data = script.call("input_fn", body, content_type)
    except errors.UnsupportedFormatError as error:
        return _unsupported(error, 415)
    prediction = script.call("predict_fn", data, model)
    try:
        return script.call("output_fn", prediction, accept)
    except errors.UnsupportedFormatError as error:
        return _unsupported(error, 406)


def _unsupported(error, status):
    body = {"error": type(error).__name__, "error-message": str(error)}  # OURS: without the stack
    return worker.Response(json.dumps(body), status=status, mimetype=content_types.JSON)


def _response(script, result):
    """Whatever Flask takes; a pair is a body and its type."""
    if isinstance(result, tuple) and len(result) == 2:
        return worker.Response(result[0], mimetype=result[1])
    if isinstance(result, flask.Response | str | bytes | bytearray | dict):
        return result
    last = TRANSFORM if TRANSFORM in script.functions else "output_fn"
    raise Raised(
        f"{last} of {script.name} returned {type(result).__name__}; expected text, bytes, a pair of one of these and its content "
        "type, or a Response"
    )


def _load(variables, code):
    script = _script(variables, code)
    return script, script.call(MODEL, str(variables.model_dir))


def _script(variables, code):
    """Import the script and pick its functions. Raises BadScript."""
    file = code / variables.program
    name = file.name.removesuffix(".py")
    for directory in (str(code), str(file.parent)):
        if directory not in sys.path:
            sys.path.insert(0, directory)
    try:
        module = importlib.import_module(name)
    except Exception as error:
        hint = ""
        if isinstance(error, ModuleNotFoundError):
            hint = " (what the image does not have can be named in requirements.txt beside the script)"
        raise BadScript(f"{variables.program} cannot be imported: {type(error).__name__}: {error}{hint}") from error
    functions = {one: getattr(module, one) for one in (MODEL, TRANSFORM, *PARTS) if callable(getattr(module, one, None))}
    if MODEL not in functions:
        raise BadScript(f"{variables.program} has no model_fn: define model_fn(model_dir), which returns the loaded model")
    if TRANSFORM in functions and len(functions) > 2:
        raise BadScript("Cannot use transform_fn implementation with input_fn, predict_fn, and/or output_fn")
    return Script(variables.program, {**DEFAULTS, **functions} if TRANSFORM not in functions else functions)


def _default_predict_fn(data, model):
    return model.predict(data, validate_features=False)


def _default_output_fn(prediction, accept):
    return worker.Response(encoders.encode(prediction, accept), mimetype=accept)


DEFAULTS = {"input_fn": encoder.decode, "predict_fn": _default_predict_fn, "output_fn": _default_output_fn}
