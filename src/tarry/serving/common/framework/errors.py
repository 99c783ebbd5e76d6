"""Errors that mean something to the server."""


class ClientError(Exception):
    """The script or the request is wrong."""


class UnsupportedFormatError(Exception):
    """A type that is not known: 415 when it is the request's, 406 when it is the answer's."""

    def __init__(self, content_type, **_):
        super().__init__(
            f"Content type {content_type} is not supported. Define input_fn to read such a request, "
            "or output_fn to write such an answer."
        )
