from typing import Any

import pytest
from tests.support.s3 import ACCOUNT, S3, etag

KEYS = ("a b+c=d", "dir/1", "dir/2", "dir2/1", "z", "ü")


@pytest.fixture
async def filled(s3: S3) -> S3:
    for key in KEYS:
        await s3("PutObject", Key=key, body=b"x")
    return s3


async def test_everything(filled: S3) -> None:
    answer = await filled("ListObjectsV2")
    assert [entry["Key"] for entry in answer["Contents"]] == list(KEYS)
    assert answer["Contents"][0] | {"LastModified": None} == {
        "Key": "a b+c=d",
        "LastModified": None,
        "ETag": etag(b"x"),
        "Size": 1,
        "StorageClass": "STANDARD",
    }
    assert {name: answer[name] for name in answer if name != "Contents"} == {
        "Name": "bbb",
        "Prefix": "",
        "MaxKeys": 1000,
        "KeyCount": 6,
        "IsTruncated": False,
    }


async def test_url_encoding_is_echoed(filled: S3) -> None:
    answer = await filled("ListObjectsV2", EncodingType="url", Delimiter="/", StartAfter="a +", Prefix="")
    assert answer["EncodingType"] == "url"
    assert (answer["Delimiter"], answer["StartAfter"]) == ("/", "a+%2B")
    assert [entry["Key"] for entry in answer["Contents"]] == ["a+b%2Bc%3Dd", "z", "%C3%BC"]
    assert [entry["Prefix"] for entry in answer["CommonPrefixes"]] == ["dir/", "dir2/"]
    assert (await filled.error("ListObjectsV2", EncodingType="base64")).code == "InvalidArgument"


async def test_pages_count_keys_and_prefixes(filled: S3) -> None:
    seen: list[str] = []
    token: dict[str, str] = {}
    while True:
        answer = await filled("ListObjectsV2", Delimiter="/", MaxKeys=2, StartAfter="a", **token)
        entries = [entry["Key"] for entry in answer.get("Contents", [])]
        entries += [entry["Prefix"] for entry in answer.get("CommonPrefixes", [])]
        assert answer["KeyCount"] == len(entries)
        seen += entries
        if not answer["IsTruncated"]:
            break
        token = {"ContinuationToken": answer["NextContinuationToken"]}
    assert sorted(seen) == ["a b+c=d", "dir/", "dir2/", "z", "ü"]


async def test_owner_on_request(filled: S3) -> None:
    answer = await filled("ListObjectsV2", FetchOwner=True)
    assert answer["Contents"][0]["Owner"]["ID"].endswith(ACCOUNT)


@pytest.mark.parametrize("operation", ["ListObjectsV2", "ListObjects"])
async def test_max_keys(filled: S3, operation: str) -> None:
    empty = await filled(operation, MaxKeys=0)
    assert (empty.get("Contents"), empty["IsTruncated"], empty["MaxKeys"]) == (None, False, 0)
    assert (await filled(operation, MaxKeys=5000))["MaxKeys"] == 1000
    error = await filled.error(operation, MaxKeys=-1)
    assert error.extras == {"ArgumentName": "max-keys", "ArgumentValue": "-1"}
    assert (await filled.error(operation, MaxKeys=0, Bucket="missing")).code == "NoSuchBucket"


@pytest.mark.parametrize("token", ["", "x"])
async def test_wrong_token(filled: S3, token: str) -> None:
    assert (await filled.error("ListObjectsV2", ContinuationToken=token)).extras["ArgumentName"] == "continuation-token"


async def test_first_version_tells_the_next_marker_only_with_a_delimiter(filled: S3) -> None:
    plain = await filled("ListObjects", MaxKeys=2)
    assert (plain["IsTruncated"], plain.get("NextMarker"), plain["Marker"]) == (True, None, "")
    rest = await filled("ListObjects", Marker=plain["Contents"][-1]["Key"])
    assert [entry["Key"] for entry in rest["Contents"]] == ["dir/2", "dir2/1", "z", "ü"]
    rolled = await filled("ListObjects", MaxKeys=2, Delimiter="/")
    assert rolled["NextMarker"] == "dir/"
    rest = await filled("ListObjects", Marker="dir/", Delimiter="/")
    assert [entry["Prefix"] for entry in rest["CommonPrefixes"]] == ["dir2/"]


async def test_uploads(s3: S3) -> None:
    ids = [(await s3("CreateMultipartUpload", Key=key, ChecksumAlgorithm="CRC32"))["UploadId"] for key in ("a b", "a b", "d/1")]
    answer = await s3("ListMultipartUploads", EncodingType="url", Delimiter="/")
    assert [(entry["Key"], entry["UploadId"]) for entry in answer["Uploads"]] == [("a+b", ids[0]), ("a+b", ids[1])]
    assert (answer["Uploads"][0]["ChecksumAlgorithm"], answer["Uploads"][0]["ChecksumType"]) == ("CRC32", "COMPOSITE")
    assert answer["CommonPrefixes"] == [{"Prefix": "d/"}]
    seen: list[str] = []
    markers: dict[str, Any] = {}
    for _ in range(3):
        page = await s3("ListMultipartUploads", MaxUploads=1, **markers)
        seen += [entry["UploadId"] for entry in page["Uploads"]]
        markers = {"KeyMarker": page.get("NextKeyMarker"), "UploadIdMarker": page.get("NextUploadIdMarker")}
    assert (seen, page["IsTruncated"]) == (ids, False)
    assert "Uploads" not in await s3("ListMultipartUploads", MaxUploads=0)
