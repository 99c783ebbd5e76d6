"""Names, ARNs and S3 locations: how they are written and read.

One account and one region per server, so ARNs follow from names. AWS lower-cases the name inside a SageMaker ARN while
``*Name`` members keep the caller's case (seen in amazon-sagemaker-examples#293); names are therefore unique without case.
"""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

from tarry.core.errors import InvalidRequest

_VIRTUAL_HOST = re.compile(r"^(?P<bucket>[^/]+)\.s3[.-]")


def partition_of(region: str) -> str:
    """The ARN partition of a region: ``aws``, ``aws-cn`` or ``aws-us-gov``."""
    if region.startswith("cn-"):
        return "aws-cn"
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    return "aws"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The one account and region that a data directory stands for."""

    account_id: str
    region: str

    @property
    def partition(self) -> str:
        """The ARN partition of the region."""
        return partition_of(self.region)

    def arn(self, service: str, resource: str) -> str:
        """The ARN of a resource of ``service`` in this account and region."""
        return f"arn:{self.partition}:{service}:{self.region}:{self.account_id}:{resource}"

    def sagemaker_arn(self, kind: str, name: str) -> str:
        """The ARN of a model, endpoint-config or endpoint; the name is lower-cased."""
        return self.arn("sagemaker", f"{kind}/{name.lower()}")


@dataclass(frozen=True, slots=True)
class S3Location:
    """Where an object lies: a bucket and a key (the key may be empty, for a prefix that is the whole bucket)."""

    bucket: str
    key: str

    def __str__(self) -> str:
        """The location as an ``s3://`` URI, as AWS writes it in answers: nothing is percent-encoded."""
        return f"s3://{self.bucket}/{self.key}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read ``s3://bucket/key``, ``https://bucket.s3.region.amazonaws.com/key`` or ``https://host/bucket/key``.

        Raises:
            InvalidRequest: the URI has another scheme or no bucket.
        """
        if uri.startswith("s3://"):
            bucket, _, key = uri[5:].partition("/")
        elif uri.startswith("https://"):
            bucket, key = _from_https(uri)
        else:
            bucket, key = "", ""
        if not bucket:
            raise InvalidRequest(f"Expected an S3 URI such as s3://bucket/key, got {uri!r}.")
        return cls(bucket, key)

    def join(self, *parts: str) -> "S3Location":
        """The location below this one: parts joined by exactly one slash, empty parts left out."""
        pieces = [piece for part in (self.key, *parts) if (piece := part.strip("/"))]
        return S3Location(self.bucket, "/".join(pieces))


def _from_https(uri: str) -> tuple[str, str]:
    try:
        split = urlsplit(uri)
    except ValueError:
        return "", ""
    path = unquote(split.path.removeprefix("/"))
    if match := _VIRTUAL_HOST.match(split.netloc):
        return match["bucket"], path
    bucket, _, key = path.partition("/")
    return bucket, key
