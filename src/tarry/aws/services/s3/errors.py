"""What S3 callers are told when something cannot be done: S3's codes, statuses and extra elements.

Clients branch on the code (``NoSuchKey``, ``404``) and people read the extra elements, so both are S3's own. ``translate``
is the one table from the core's errors; what is not in it goes on to the table of the door.

AWS: "Error responses" in the S3 API reference, and answers of the real service recorded in LocalStack's snapshots.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tarry.aws.call import Params
from tarry.aws.errors import AwsError
from tarry.core import errors as core


def invalid_argument(message: str, name: str, value: object) -> AwsError:
    """InvalidArgument, with what was wrong."""
    extras = {"ArgumentName": name, "ArgumentValue": str(value)}
    return AwsError(code="InvalidArgument", message=message, status=400, extras=extras)


def invalid_request(message: str) -> AwsError:
    """InvalidRequest: the parts of the request do not go together."""
    return AwsError(code="InvalidRequest", message=message, status=400)


def malformed_xml() -> AwsError:
    """MalformedXML."""
    message = "The XML you provided was not well-formed or did not validate against our published schema"
    return AwsError(code="MalformedXML", message=message, status=400)


def not_implemented(header: str, why: str) -> AwsError:
    """NotImplemented for a header (or query parameter) that is known and cannot be honoured."""
    message = "A header you provided implies functionality that is not implemented"
    return AwsError(code="NotImplemented", message=message, status=501, extras={"Header": header, "additionalMessage": why})


def access_denied(message: str = "Access Denied") -> AwsError:
    """AccessDenied."""
    return AwsError(code="AccessDenied", message=message, status=403)


def precondition_failed(condition: str) -> AwsError:
    """PreconditionFailed, naming the header that does not hold."""
    message = "At least one of the pre-conditions you specified did not hold"
    return AwsError(code="PreconditionFailed", message=message, status=412, extras={"Condition": condition})


def no_such_key(key: str) -> AwsError:
    """NoSuchKey."""
    return AwsError(code="NoSuchKey", message="The specified key does not exist.", status=404, extras={"Key": key})


def no_such_upload(upload_id: str) -> AwsError:
    """NoSuchUpload."""
    message = (
        "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
    )
    return AwsError(code="NoSuchUpload", message=message, status=404, extras={"UploadId": upload_id})


def illegal_location(constraint: str | None) -> AwsError:
    """A bucket is wanted somewhere else than in the region of this server (which is not us-east-1)."""
    what = f"{constraint} location" if constraint else "unspecified location"
    message = f"The {what} constraint is incompatible for the region specific endpoint this request was sent to."
    return AwsError(code="IllegalLocationConstraintException", message=message, status=400)


def invalid_location(constraint: str) -> AwsError:
    """A location that us-east-1 does not know."""
    message = "The specified location-constraint is not valid"
    return AwsError(code="InvalidLocationConstraint", message=message, status=400, extras={"LocationConstraint": constraint})


_Row = Callable[[Any, Params], AwsError]


def _bucket_not_found(_: core.BucketNotFound, params: Params) -> AwsError:
    name = params.get("Bucket", "")
    return AwsError(code="NoSuchBucket", message="The specified bucket does not exist", status=404, extras={"BucketName": name})


def _invalid_bucket_name(error: core.InvalidBucketName, _: Params) -> AwsError:
    # OURS: the rule that is broken follows S3's sentence, which does not say it.
    message = f"The specified bucket is not valid. {error.rule}".rstrip()
    return AwsError(code="InvalidBucketName", message=message, status=400, extras={"BucketName": error.name})


def _bucket_already_owned(error: core.BucketAlreadyOwned, _: Params) -> AwsError:
    message = "Your previous request to create the named bucket succeeded and you already own it."
    return AwsError(code="BucketAlreadyOwnedByYou", message=message, status=409, extras={"BucketName": error.name})


def _bucket_not_empty(error: core.BucketNotEmpty, _: Params) -> AwsError:
    message = "The bucket you tried to delete is not empty"
    return AwsError(code="BucketNotEmpty", message=message, status=409, extras={"BucketName": error.name})


def _key_too_long(error: core.KeyTooLong, _: Params) -> AwsError:
    extras = {"Size": str(error.size), "MaxSizeAllowed": str(error.size_max)}
    return AwsError(code="KeyTooLongError", message="Your key is too long", status=400, extras=extras)


def _invalid_range(error: core.InvalidRange, _: Params) -> AwsError:
    extras = {"RangeRequested": error.requested, "ActualObjectSize": str(error.size)}
    return AwsError(code="InvalidRange", message="The requested range is not satisfiable", status=416, extras=extras)


def _invalid_part(error: core.InvalidPart, _: Params) -> AwsError:
    message = (
        "One or more of the specified parts could not be found.  The part may not have been uploaded, "
        "or the specified entity tag may not match the part's entity tag."
    )
    extras = {"UploadId": error.upload_id, "PartNumber": str(error.number), "ETag": error.etag}
    return AwsError(code="InvalidPart", message=message, status=400, extras=extras)


def _invalid_part_order(error: core.InvalidPartOrder, _: Params) -> AwsError:
    message = "The list of parts was not in ascending order. Parts must be ordered by part number."
    return AwsError(code="InvalidPartOrder", message=message, status=400, extras={"UploadId": error.upload_id})


def _invalid_part_number(error: core.InvalidPartNumber, params: Params) -> AwsError:
    if "UploadId" in params:
        message = f"Part number must be an integer between 1 and {error.number_max}, inclusive"
        return invalid_argument(message, "partNumber", error.number)
    extras = {"ActualPartCount": str(error.number_max), "PartNumberRequested": str(error.number)}
    message = "The requested partnumber is not satisfiable"
    return AwsError(code="InvalidPartNumber", message=message, status=416, extras=extras)


def _entity_too_small(error: core.EntityTooSmall, _: Params) -> AwsError:
    extras = {
        "ProposedSize": str(error.size),
        "MinSizeAllowed": str(error.size_min),
        "PartNumber": str(error.number),
        "ETag": error.etag,
    }
    message = "Your proposed upload is smaller than the minimum allowed size"
    return AwsError(code="EntityTooSmall", message=message, status=400, extras=extras)


def _checksum_mismatch(error: core.ChecksumMismatch, _: Params) -> AwsError:
    message = f"The {error.algorithm.upper()} you specified did not match the calculated checksum."
    return AwsError(code="BadDigest", message=message, status=400)


_TABLE: Mapping[type[core.TarryError], _Row] = {
    core.BucketNotFound: _bucket_not_found,
    core.ObjectNotFound: lambda _, params: no_such_key(params.get("Key", "")),
    core.InvalidBucketName: _invalid_bucket_name,
    core.BucketAlreadyOwned: _bucket_already_owned,
    core.BucketNotEmpty: _bucket_not_empty,
    core.KeyTooLong: _key_too_long,
    core.InvalidRange: _invalid_range,
    core.PreconditionFailed: lambda error, _: precondition_failed(error.condition),
    core.NoSuchUpload: lambda error, _: no_such_upload(error.upload_id),
    core.NoParts: lambda _, __: invalid_request("You must specify at least one part"),
    core.InvalidPart: _invalid_part,
    core.InvalidPartOrder: _invalid_part_order,
    core.InvalidPartNumber: _invalid_part_number,
    core.EntityTooSmall: _entity_too_small,
    core.ChecksumMismatch: _checksum_mismatch,
    core.InvalidRequest: lambda error, _: invalid_request(str(error)),
}


def translate(error: core.TarryError, params: Params) -> AwsError | None:
    """S3's answer to an error of the core, or None where S3 has no word of its own for it.

    ``params`` are those of the request: they name the bucket and key that an error is about.
    """
    for kind in type(error).__mro__:
        if row := _TABLE.get(kind):
            return row(error, params)
    return None
