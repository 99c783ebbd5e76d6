"""An answer of the door that is an error, in AWS's own words."""

from collections.abc import Mapping
from typing import Literal


class AwsError(Exception):
    """What the caller is told: an AWS error code, a sentence, an HTTP status.

    ``extras`` become extra elements of an S3 error document (``<Region>``, ``<AWSAccessKeyId>`` …) and are left out by the
    other protocols. ``fault`` says whose mistake it was, in the Query protocol's words.
    """

    def __init__(
        self,
        *,
        code: str,
        message: str,
        status: int = 400,
        extras: Mapping[str, str] | None = None,
        fault: Literal["Sender", "Receiver"] = "Sender",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.extras: Mapping[str, str] = extras or {}
        self.fault = fault
