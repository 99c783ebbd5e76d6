"""The HTTP face of the XGBoost container: /ping, /execution-parameters and /invocations.

Usage: serve.py TAG. Tags 0.90-* answer as those versions do: predictions joined by commas, text/csv, whatever Accept says. Newer
tags answer Accept with csv, json or jsonlines. OURS: libsvm indices are taken as they stand for every tag.
"""

import json
import multiprocessing
import os
import sys
import traceback

import flask
import gunicorn.app.base
import model as models
import payload as payloads
import xgboost

TAG = sys.argv[1] if len(sys.argv) > 1 else "0.90-1"
OLD = TAG.startswith("0.90-")
BODY_BYTES_MAX = 6 * 1024 * 1024
KEEP_ALIVE_S = 75
THREADS = 64
ANSWERS = ("text/csv", "application/json", "application/jsonlines")

app = flask.Flask(__name__)
if not OLD:
    # AWS: 0.90-1 knows no such limit; newer versions have 6 MiB unless the variable says otherwise
    # (the repository aws/sagemaker-xgboost-container).
    app.config["MAX_CONTENT_LENGTH"] = int(os.environ.get("MAX_CONTENT_LENGTH", BODY_BYTES_MAX))


@app.get("/ping")
def ping():
    try:
        models.booster()
    except Exception as error:
        return failed(f"Unable to load model: {error}", 500)
    return flask.Response(status=200)


@app.get("/execution-parameters")
def execution_parameters():
    megabytes = (app.config["MAX_CONTENT_LENGTH"] or BODY_BYTES_MAX) // 1024**2
    parameters = {"MaxConcurrentTransforms": workers(), "BatchStrategy": "MULTI_RECORD", "MaxPayloadInMB": megabytes}
    return flask.Response(json.dumps(parameters), mimetype="application/json")


@app.post("/invocations")
def invocations():
    body = flask.request.get_data(cache=False)
    if not body:
        return flask.Response(status=204)
    try:
        content_type = payloads.content_type_of(flask.request.content_type)
    except payloads.NotAccepted as error:
        return failed(str(error), 415)
    try:
        model = models.booster()
    except Exception as error:
        return failed(f"Unable to load model: {error}", 500)
    try:
        matrix = payloads.parse(body, content_type, model.num_features())
    except payloads.NotAccepted as error:
        return failed(str(error), 415)
    try:
        predictions = models.predict(model, matrix, all_trees=OLD)
    except Exception as error:
        return failed(f"Unable to evaluate payload provided: {error}", 400)
    accept = accepted()
    if accept is None:
        return failed(
            f"Accept type {flask.request.headers.get('Accept')} is not supported. Expected one of: {', '.join(ANSWERS)}.", 406
        )
    return flask.Response(encoded(predictions.tolist(), accept), mimetype=accept)


@app.errorhandler(413)
def too_large(_):
    # The rest of the body is read and dropped: a client that is still sending would not see the answer.
    while flask.request.environ["wsgi.input"].read(1024 * 1024):
        pass
    return failed(f"The payload is larger than MAX_CONTENT_LENGTH ({app.config['MAX_CONTENT_LENGTH']} bytes).", 413)


def accepted():
    """The type to answer with, or None if the client takes none of ours."""
    default = os.environ.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or "text/csv"
    wanted = (flask.request.headers.get("Accept") or "").split(";")[0].strip().lower()
    if OLD:
        return "text/csv"
    if wanted in ("", "*/*"):
        wanted = default
    return wanted if wanted in ANSWERS else None


def encoded(predictions, accept):
    if accept == "application/json":
        return json.dumps({"predictions": [{"score": score} for score in predictions]})
    if accept == "application/jsonlines":
        return "".join(json.dumps({"score": score}) + "\n" for score in predictions)
    if os.environ.get("SAGEMAKER_BATCH"):
        return "\n".join(map(str, predictions)) + "\n"
    if OLD or not any(isinstance(score, list) for score in predictions):
        return ",".join(map(str, predictions))
    return "\n".join(",".join(map(str, row)) for row in predictions)


def failed(text, status):
    if sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"{flask.request.path}: {status} {text}", file=sys.stderr, flush=True)
    return flask.Response(text, status=status)


def workers():
    return int(os.environ.get("SAGEMAKER_MODEL_SERVER_WORKERS") or multiprocessing.cpu_count())


class Server(gunicorn.app.base.BaseApplication):
    """gunicorn with threads: a ping is answered while predictions run, since the library lets go of Python's lock."""

    def load_config(self):
        """Called by gunicorn for its settings."""
        self.cfg.set("bind", f"127.0.0.1:{os.environ.get('SAGEMAKER_BIND_TO_PORT', '8080')}")
        self.cfg.set("workers", workers())
        self.cfg.set("worker_class", "gthread")
        self.cfg.set("threads", THREADS)
        self.cfg.set("keepalive", KEEP_ALIVE_S)
        self.cfg.set("timeout", 0)  # a long prediction is no dead worker; the platform has its own limit
        self.cfg.set("graceful_timeout", 25)
        self.cfg.set("proc_name", "sagemaker-xgboost")
        self.cfg.set("post_worker_init", lambda _: warm_up())

    def load(self):
        """Called by gunicorn for the application."""
        return app


def warm_up():
    try:
        models.booster()
    except Exception as error:
        print(f"Unable to load model: {error}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    print(f"sagemaker-xgboost {TAG} on XGBoost {xgboost.__version__}", flush=True)
    Server().run()
