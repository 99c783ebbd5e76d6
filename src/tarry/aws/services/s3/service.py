"""S3 as one service: the operations, each behind the checks that all of them share."""

from collections.abc import Mapping
from typing import Any, Final

from tarry.aws.call import Call, Operation, Params, Reply, Service
from tarry.aws.errors import AwsError
from tarry.aws.services.s3.buckets import BucketOperations
from tarry.aws.services.s3.errors import translate
from tarry.aws.services.s3.listing import ListOperations
from tarry.aws.services.s3.objects import WriteOperations
from tarry.aws.services.s3.reading import ReadOperations
from tarry.aws.services.s3.refusals import check_honoured, check_owner
from tarry.aws.services.s3.uploads import UploadOperations
from tarry.core.errors import TarryError
from tarry.core.names import Scope
from tarry.embedded.buckets.api import BucketsApi

HEADER_BYTES_MAX: Final = 8192  # AWS: S3 user guide, "Working with object metadata"


def s3_service(buckets: BucketsApi, scope: Scope) -> Service:
    """The operations of S3 that exist here, over a bucket store. ``scope`` is the one account and region of the server."""
    tables = (
        BucketOperations(buckets, scope).table(),
        ReadOperations(buckets).table(),
        WriteOperations(buckets).table(),
        ListOperations(buckets, scope).table(),
        UploadOperations(buckets, scope).table(),
    )
    operations = {name: _guarded(operation, scope) for table in tables for name, operation in table.items()}
    return Service(name="s3", operations=operations)


def _guarded(operation: Operation, scope: Scope) -> Operation:
    async def guarded(call: Call, params: Params) -> Mapping[str, Any] | Reply:
        _check_headers(call)
        check_honoured(params)
        check_owner(params, scope.account_id)
        try:
            return await operation(call, params)
        except TarryError as error:
            told = translate(error, params)
            if told is None:
                raise
            raise told from error

    return guarded


def _check_headers(call: Call) -> None:
    size = sum(len(name) + len(value) for name, value in call.headers.items())
    if size > HEADER_BYTES_MAX:
        message = "Your request header section exceeds the maximum allowed request header section size"
        extras = {"MaxSizeAllowed": str(HEADER_BYTES_MAX)}
        raise AwsError(code="RequestHeaderSectionTooLarge", message=message, status=400, extras=extras)
