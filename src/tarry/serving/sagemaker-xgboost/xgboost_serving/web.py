"""What the HTTP side of both modes has in common: pings, errors as plain sentences, bodies that are too large."""

import sys
import traceback

import flask
from werkzeug.exceptions import HTTPException

DRAIN_BYTES = 1024 * 1024


def new_app(*, body_bytes_max=None):
    """A Flask application that answers every error with one line of text; the stack goes to the log."""
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = body_bytes_max

    @app.errorhandler(413)
    def too_large(_):
        # The rest of the body is read and dropped: a client that is still sending would not see the answer.
        while flask.request.environ["wsgi.input"].read(DRAIN_BYTES):
            pass
        return failed(f"The payload is larger than MAX_CONTENT_LENGTH ({body_bytes_max} bytes).", 413)

    @app.errorhandler(HTTPException)
    def refused(error):
        return failed(f"{error.name}.", error.code)

    @app.errorhandler(Exception)
    def broken(error):
        return failed(f"The model server failed: {type(error).__name__}: {error}", 500)

    return app


def body_of_request():
    """The whole body. One in chunks, which announces no length, would be cut off at the limit without a word: that is 413 too."""
    body = flask.request.get_data(cache=False)
    limit = flask.current_app.config["MAX_CONTENT_LENGTH"]
    if limit is not None and len(body) >= limit and flask.request.environ["wsgi.input"].read(1):
        flask.abort(413)
    return body


def add_ping(app, models):
    """GET /ping: healthy once the models are loaded.

    # OURS: tags before 1.2-2 answer 200 without a look at the model; here an endpoint whose model cannot be loaded never begins.
    """

    @app.get("/ping")
    def ping():
        try:
            models()
        except Exception as error:
            return failed(f"Unable to load model: {error}", 500)
        return flask.Response(status=200)


def text(body, status=200):
    """A plain answer."""
    return flask.Response(body, status=status, mimetype="text/plain")


def failed(body, status):
    """An answer that says what is wrong; the log has it too, with the stack if the fault is not the client's."""
    if status >= 500 and sys.exc_info()[0] is not None:
        traceback.print_exc()
    print(f"{flask.request.path}: {status} {body}", file=sys.stderr, flush=True)
    return text(body, status)
