from typing import Any

import pytest
from tests.support.s3 import S3

from tarry.aws.services.s3.refusals import _ALLOWED, _REFUSED
from tarry.aws.specs import load_spec

SHAPES = [load_spec("s3").operation(name).input_shape for name in load_spec("s3").operation_names]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("params", "header"),
    [
        ({"ServerSideEncryption": "aws:kms:dsse"}, "x-amz-server-side-encryption"),
        ({"SSEKMSKeyId": "alias/k"}, "x-amz-server-side-encryption-aws-kms-key-id"),
        ({"SSECustomerAlgorithm": "AES256"}, "x-amz-server-side-encryption-customer-algorithm"),
        ({"BucketKeyEnabled": True}, "x-amz-server-side-encryption-bucket-key-enabled"),
        ({"ACL": "public-read"}, "x-amz-acl"),
        ({"GrantRead": "id=1"}, "x-amz-grant-read"),
        ({"StorageClass": "GLACIER"}, "x-amz-storage-class"),
        ({"WebsiteRedirectLocation": "/x"}, "x-amz-website-redirect-location"),
        ({"Tagging": "a=b"}, "x-amz-tagging"),
        ({"ObjectLockMode": "GOVERNANCE"}, "x-amz-object-lock-mode"),
        ({"WriteOffsetBytes": 3}, "x-amz-write-offset-bytes"),
    ],
)
async def test_refused_before_anything_is_done(s3: S3, params: dict[str, Any], header: str) -> None:
    for operation in ("PutObject", "CreateMultipartUpload"):
        error = await s3.error(operation, Key="k", body=b"x", **params)
        assert (error.code, error.status, error.extras["Header"]) == ("NotImplemented", 501, header)
        assert error.extras["additionalMessage"]
    assert "Contents" not in await s3("ListObjectsV2")


async def test_what_describes_what_happens_anyway(s3: S3) -> None:
    given = {"ServerSideEncryption": "AES256", "StorageClass": "STANDARD", "BucketKeyEnabled": False, "Tagging": ""}
    for acl in ("private", "bucket-owner-full-control"):
        await s3("PutObject", Key="k", body=b"x", ACL=acl, RequestPayer="requester", **given)
    assert (await s3("PutObject", Key="kms", body=b"x", ServerSideEncryption="aws:kms"))["ServerSideEncryption"] == "AES256"
    await s3("CreateBucket", Bucket="new", ObjectOwnership="BucketOwnerEnforced", ObjectLockEnabledForBucket=False)
    assert (await s3.error("CreateBucket", Bucket="new2", ObjectOwnership="ObjectWriter")).code == "NotImplemented"


async def test_versions(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"x")
    await s3("GetObject", Key="k", VersionId="null")
    for operation in ("GetObject", "HeadObject", "DeleteObject"):
        error = await s3.error(operation, Key="k", VersionId="3HL4kqtJlcpXroDTDmjVBH40Nrjfkd")
        assert (error.code, error.extras["ArgumentName"]) == ("InvalidArgument", "versionId")
    await s3("HeadObject", Key="k")


@pytest.mark.parametrize("member", [*_REFUSED, *_ALLOWED])
def test_the_table_names_real_members_and_headers(member: str) -> None:
    named = {shape.members[member].serialization["name"] for shape in SHAPES if shape is not None and member in shape.members}
    header = (_REFUSED.get(member) or _ALLOWED[member])[0]
    assert header.lower() in {name.lower() for name in named}


KNOWN = {
    "Body", "Bucket", "Key", "Delete", "CreateBucketConfiguration", "MultipartUpload", "Metadata", "ContentMD5", "ContentLength",
    "RequestPayer", "ExpectedBucketOwner", "ExpectedSourceBucketOwner", "VersionId", "CacheControl", "Expires",
    "OptionalObjectAttributes",
}  # fmt: skip


async def test_every_member_is_honoured_or_refused(s3: S3) -> None:
    """A new botocore may bring members that nobody here has thought about: each has to be read somewhere, or refused."""
    from pathlib import Path

    import tarry.aws.services.s3 as package

    source = "".join(path.read_text() for path in Path(package.__file__).parent.glob("*.py"))
    for name in s3.service.operations:
        shape = load_spec("s3").operation(name).input_shape  # type: ignore[union-attr]
        for member in shape.members if shape is not None else ():
            if member in KNOWN | _REFUSED.keys() | _ALLOWED.keys() or member.startswith("Checksum"):
                continue
            base = member.removeprefix("CopySource") or member
            assert f'"{member}"' in source or f'"{base}"' in source, f"{name}.{member}"
