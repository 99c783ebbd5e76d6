"""Algorithm mode: the image's own code answers, from the model files alone.

# AWS: paths, order of the checks, status codes and texts (aws/sagemaker-xgboost-container, algorithm_mode/serve.py).
"""

import json

import flask

from xgboost_serving import answers, payloads, selectable, web
from xgboost_serving import models as loaded
from xgboost_serving.variables import BODY_BYTES_MAX


def create_app(tag, variables):
    """The WSGI application, and the loader that it asks for its models."""
    app = web.new_app(body_bytes_max=variables.body_bytes_max)
    models = loaded.Loader(lambda: loaded.load(variables.model_dir, tag=tag, ensemble=variables.ensemble))
    web.add_ping(app, models)

    @app.get("/execution-parameters")
    def execution_parameters():
        megabytes = (variables.body_bytes_max or BODY_BYTES_MAX) // 1024**2
        parameters = {
            "MaxConcurrentTransforms": variables.workers, "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": megabytes,
        }  # fmt: skip
        return flask.Response(json.dumps(parameters), mimetype="application/json")

    @app.post("/invocations")
    def invocations():
        body = web.body_of_request()
        if not body:
            return flask.Response(status=204)
        try:
            payload = _payload(body, tag)
        except payloads.NotAccepted as error:
            return web.failed(str(error), 415)
        try:
            chosen = models()
        except Exception as error:
            return web.failed(f"Unable to load model: {error}", 500)
        try:
            rows = _fitting_rows(payload, chosen, tag)
            predictions = chosen.predict(rows).tolist()
        except Exception as error:
            return web.failed(f"Unable to evaluate payload provided: {loaded.first_line(error)}", 400)
        return _answer(predictions, chosen, tag, variables)

    return app, models


def _payload(body, tag):
    content_type = payloads.content_type_of(flask.request.headers.get("Content-Type"))
    return payloads.read(body, content_type, shifts_libsvm=tag.shifts_libsvm)


def _fitting_rows(payload, chosen, tag):
    """The rows of a payload whose columns fit the model. Raises ValueError for others.

    # AWS: a pickled model takes csv and recordio with one column fewer than it has, and libsvm with one more: training on libsvm
    # that counts from 1 makes a column that csv has not, and the other way round (aws/sagemaker-xgboost-container,
    # algorithm_mode/serve_utils.py: predict).
    # OURS: the container compares columns for pickled models only, and else takes what is not there for missing (0.90 also
    # ignores what is too much): a row cut short would be answered as if nothing were wrong. Sparse records may have any number
    # fewer.
    """
    kind, columns, known = payload.content_type, payload.columns, chosen.columns
    spare = 1 if chosen.pickled else 0
    most = known + spare if kind == payloads.LIBSVM else known
    if payload.sparse and columns > most:
        raise ValueError(f"Feature size of {kind} inference data {columns} is larger than feature size of trained model {known}.")
    if not payload.sparse and not known - spare <= columns <= known:
        raise ValueError(
            f"Feature size of {kind} inference data {columns} is not consistent with feature size of trained model {known}."
        )
    return payload.first_columns(known) if columns > known and tag.ignores_more_columns else payload.rows


def _answer(predictions, chosen, tag, variables):
    selecting = variables.output_keys is not None
    if not tag.accepts and not selecting:
        return flask.Response(answers.in_one_line(predictions, batch=variables.batch), mimetype=answers.CSV)
    try:
        accept = answers.accepted(flask.request.headers.get("Accept"), variables.default_accept)
    except answers.NotAcceptable as error:
        return web.failed(str(error), 406)
    if not selecting:
        return flask.Response(answers.plain(predictions, accept, batch=variables.batch), mimetype=accept)
    try:
        rows = selectable.select(predictions, variables.output_keys, chosen.objective, chosen.classes)
    except selectable.NotSupported as error:
        return web.failed(str(error), 500)
    return flask.Response(answers.selected(rows, variables.output_keys, accept, batch=variables.batch), mimetype=accept)
