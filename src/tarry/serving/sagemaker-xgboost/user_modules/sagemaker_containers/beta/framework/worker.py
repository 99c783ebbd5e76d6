"""The answer that a script may return."""

import flask


class Response(flask.Response):
    """A Flask response that is JSON unless something else is said."""

    default_mimetype = "application/json"

    def __init__(self, response=None, accept=None, status=200, headers=None, mimetype=None, direct_passthrough=False):
        del accept  # the original ignores it too
        super().__init__(response, status, headers, mimetype, None, direct_passthrough)
