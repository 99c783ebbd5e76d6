"""The answer that a script may return."""


class Response:
    """An answer with a media type, as a script's output_fn may return it."""

    def __init__(self, response=b"", accept=None, status=200, headers=None, mimetype=None):
        self._body = response.encode("utf-8") if isinstance(response, str) else response
        self.status_code = status
        self.mimetype = mimetype or accept or "application/json"

    def get_data(self):
        """The body as bytes."""
        return self._body
