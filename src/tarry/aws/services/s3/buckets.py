"""Buckets: create, look at, list, delete.

One server is one account and one region, so every bucket that exists is the caller's and is here.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from tarry.aws.call import Call, Operation, Params
from tarry.aws.services.s3.errors import illegal_location, invalid_argument, invalid_location, not_implemented
from tarry.aws.services.s3.members import moment, owner
from tarry.core.errors import BucketAlreadyOwned
from tarry.core.names import Scope
from tarry.embedded.buckets.api import BucketsApi

_HOME = "us-east-1"
_REGION = re.compile(r"EU|[a-z]{2,4}(-[a-z]+)+-\d{1,2}")
_BUCKETS_PAGE_MAX = 10_000  # AWS: ListBuckets API reference, MaxBuckets


def check_location(constraint: str | None, region: str) -> None:
    """Whether a bucket with this LocationConstraint can be made in this region.

    Raises:
        AwsError: InvalidLocationConstraint, IllegalLocationConstraintException.
    """
    # AWS: CreateBucket API reference, and answers recorded in LocalStack's snapshots.
    if region == _HOME:
        if constraint is None:
            return
        if constraint == _HOME or not _REGION.fullmatch(constraint):
            raise invalid_location(constraint)
        # OURS: on AWS the endpoint of us-east-1 makes buckets in every region; here there is one.
        raise illegal_location(constraint)
    if constraint != region and not (constraint == "EU" and region == "eu-west-1"):
        raise illegal_location(constraint)


class BucketOperations:
    """The operations whose resource is a bucket, or all of them."""

    def __init__(self, buckets: BucketsApi, scope: Scope) -> None:
        self._buckets = buckets
        self._scope = scope

    def table(self) -> Mapping[str, Operation]:
        """The operations by name."""
        return {
            "ListBuckets": self.list_buckets,
            "CreateBucket": self.create_bucket,
            "HeadBucket": self.head_bucket,
            "GetBucketLocation": self.get_bucket_location,
            "DeleteBucket": self.delete_bucket,
        }

    async def create_bucket(self, call: Call, params: Params) -> Mapping[str, Any]:
        """CreateBucket."""
        name: str = params["Bucket"]
        config = params.get("CreateBucketConfiguration") or {}
        if config.get("Location") or config.get("Bucket"):
            raise not_implemented("CreateBucketConfiguration", "Directory buckets are not available.")
        if config.get("Tags"):
            raise not_implemented("CreateBucketConfiguration", "Bucket tags are not available.")
        check_location(config.get("LocationConstraint") or None, self._scope.region)
        try:
            await self._buckets.create_bucket(name)
        except BucketAlreadyOwned:
            # AWS: "For legacy compatibility, if you re-create an existing bucket that you already own in us-east-1, Amazon S3
            # returns 200 OK" (CreateBucket API reference).
            if self._scope.region != _HOME:
                raise
        location = f"/{name}" if self._scope.region == _HOME else f"{call.public_url}/{name}/"
        return {"Location": location, "BucketArn": self._arn(name)}

    async def head_bucket(self, call: Call, params: Params) -> Mapping[str, Any]:
        """HeadBucket."""
        bucket = await self._buckets.head_bucket(params["Bucket"])
        return {"BucketRegion": bucket.region, "BucketArn": self._arn(bucket.name), "AccessPointAlias": False}

    async def get_bucket_location(self, call: Call, params: Params) -> Mapping[str, Any]:
        """GetBucketLocation: empty for us-east-1."""
        bucket = await self._buckets.head_bucket(params["Bucket"])
        return {} if bucket.region == _HOME else {"LocationConstraint": bucket.region}

    async def delete_bucket(self, call: Call, params: Params) -> Mapping[str, Any]:
        """DeleteBucket."""
        await self._buckets.delete_bucket(params["Bucket"])
        return {}

    async def list_buckets(self, call: Call, params: Params) -> Mapping[str, Any]:
        """ListBuckets, in pages where MaxBuckets asks for them."""
        limit, prefix, token = params.get("MaxBuckets"), params.get("Prefix") or "", params.get("ContinuationToken")
        if limit is not None and not 1 <= limit <= _BUCKETS_PAGE_MAX:
            message = f"Argument max-buckets must be an integer between 1 and {_BUCKETS_PAGE_MAX}"
            raise invalid_argument(message, "max-buckets", limit)
        after = read_token(token) if token else ""
        region = params.get("BucketRegion") or self._scope.region
        every = await self._buckets.list_buckets()
        found = [b for b in every if b.name > after and b.name.startswith(prefix) and b.region == region]
        page = found[: limit or _BUCKETS_PAGE_MAX]
        output: dict[str, Any] = {
            "Owner": owner(self._scope.account_id),
            "Buckets": [
                {
                    "Name": bucket.name,
                    "CreationDate": moment(bucket.created_at_us),
                    "BucketRegion": bucket.region,
                    "BucketArn": self._arn(bucket.name),
                }
                for bucket in page
            ],
        }
        if prefix:
            output["Prefix"] = prefix
        if len(found) > len(page):
            output["ContinuationToken"] = write_token(page[-1].name)
        return output

    def _arn(self, name: str) -> str:
        return f"arn:{self._scope.partition}:s3:::{name}"


def write_token(after: str) -> str:
    """An opaque continuation token: the place where the next page begins."""
    return base64.urlsafe_b64encode(b"1" + after.encode("utf-8", "surrogatepass")).decode()


def read_token(token: str) -> str:
    """The place that a token stands for.

    Raises:
        AwsError: InvalidArgument for a token that is not ours.
    """
    try:
        raw = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        if raw[:1] == b"1":
            return raw[1:].decode("utf-8", "surrogatepass")
    except (binascii.Error, ValueError):
        pass
    raise invalid_argument("The continuation token provided is incorrect", "continuation-token", token)
