from typing import Any

import pytest
from tests.support.s3 import ACCOUNT, S3

from tarry.aws.errors import AwsError
from tarry.aws.services.s3.buckets import check_location, read_token, write_token


@pytest.mark.parametrize(
    ("constraint", "region", "code"),
    [
        (None, "us-east-1", None),
        ("us-east-1", "us-east-1", "InvalidLocationConstraint"),
        ("nonsense!", "us-east-1", "InvalidLocationConstraint"),
        ("eu-west-1", "us-east-1", "IllegalLocationConstraintException"),
        ("EU", "us-east-1", "IllegalLocationConstraintException"),
        (None, "eu-central-1", "IllegalLocationConstraintException"),
        ("eu-central-1", "eu-central-1", None),
        ("us-west-2", "eu-central-1", "IllegalLocationConstraintException"),
        ("EU", "eu-west-1", None),
        ("EU", "eu-central-1", "IllegalLocationConstraintException"),
    ],
)
def test_location_constraint(constraint: str | None, region: str, code: str | None) -> None:
    if code is None:
        check_location(constraint, region)
        return
    with pytest.raises(AwsError) as caught:
        check_location(constraint, region)
    assert (caught.value.code, caught.value.status) == (code, 400)


def test_unspecified_constraint_has_the_text_that_clients_know() -> None:
    with pytest.raises(AwsError, match="The unspecified location constraint is incompatible for the region specific endpoint"):
        check_location(None, "eu-central-1")


async def test_create_again_is_no_error_in_us_east_1(s3: S3) -> None:
    first = await s3("CreateBucket", Bucket="new")
    assert first["Location"] == "/new"
    assert await s3("CreateBucket", Bucket="new") == first


async def test_bad_name(s3: S3) -> None:
    error = await s3.error("CreateBucket", Bucket="My_Bucket")
    assert (error.code, error.status, error.extras) == ("InvalidBucketName", 400, {"BucketName": "My_Bucket"})


async def test_head_and_location(s3: S3) -> None:
    found = await s3("HeadBucket")
    assert (found["BucketRegion"], found["BucketArn"]) == ("us-east-1", "arn:aws:s3:::bbb")
    assert await s3("GetBucketLocation") == {}


@pytest.mark.parametrize(
    "operation", ["HeadBucket", "GetBucketLocation", "DeleteBucket", "ListObjectsV2", "ListMultipartUploads"]
)
async def test_missing_bucket(s3: S3, operation: str) -> None:
    error = await s3.error(operation, Bucket="missing")
    assert (error.code, error.status, error.extras) == ("NoSuchBucket", 404, {"BucketName": "missing"})


async def test_delete_needs_an_empty_bucket(s3: S3) -> None:
    await s3("PutObject", Key="k", body=b"x")
    assert (await s3.error("DeleteBucket")).code == "BucketNotEmpty"
    await s3("DeleteObject", Key="k")
    await s3("DeleteBucket")
    assert (await s3.error("HeadBucket")).code == "NoSuchBucket"


async def test_list_buckets_in_pages(s3: S3) -> None:
    for name in ("aaa", "bb1", "ccc"):
        await s3("CreateBucket", Bucket=name)
    every = await s3("ListBuckets")
    assert [bucket["Name"] for bucket in every["Buckets"]] == ["aaa", "bb1", "bbb", "ccc"]
    first = await s3("ListBuckets", MaxBuckets=1, Prefix="b")
    assert [bucket["Name"] for bucket in first["Buckets"]] == ["bb1"]
    rest = await s3("ListBuckets", MaxBuckets=1, Prefix="b", ContinuationToken=first["ContinuationToken"])
    assert [bucket["Name"] for bucket in rest["Buckets"]] == ["bbb"]
    assert "ContinuationToken" not in rest
    assert (await s3.error("ListBuckets", MaxBuckets=0)).code == "InvalidArgument"


@pytest.mark.parametrize("config", [{"Tags": [{"Key": "a", "Value": "b"}]}, {"Location": {"Type": "AvailabilityZone"}}])
async def test_what_a_bucket_cannot_be(s3: S3, config: dict[str, Any]) -> None:
    error = await s3.error("CreateBucket", Bucket="new", CreateBucketConfiguration=config)
    assert (error.code, error.status) == ("NotImplemented", 501)


async def test_expected_owner(s3: S3) -> None:
    await s3("HeadBucket", ExpectedBucketOwner=ACCOUNT)
    assert (await s3.error("HeadBucket", ExpectedBucketOwner="210987654321")).code == "AccessDenied"
    assert (await s3.error("HeadBucket", ExpectedBucketOwner="me")).code == "InvalidBucketOwnerAWSAccountID"


@pytest.mark.parametrize("token", ["", "x", "%%", "bm90IG91cnM=", "ä"])
def test_foreign_tokens(token: str) -> None:
    with pytest.raises(AwsError, match="continuation token"):
        read_token(token)


def test_token_keeps_any_key() -> None:
    assert read_token(write_token("a/ü\u0001+%")) == "a/ü\u0001+%"
