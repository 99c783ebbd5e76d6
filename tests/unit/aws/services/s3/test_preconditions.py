from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tarry.aws.errors import AwsError
from tarry.aws.services.s3.preconditions import (
    check_copy_source,
    copy_slice,
    not_modified,
    parse_range,
    write_condition,
)
from tarry.embedded.buckets.values import ByteRange, Condition, ObjectInfo

MODIFIED_US = 1_700_000_000_900_000
INFO = ObjectInfo(key="k", size=10, etag="abc", modified_at_us=MODIFIED_US)
SHOWN = datetime.fromtimestamp(1_700_000_000, UTC)
BEFORE, AFTER = SHOWN - timedelta(seconds=1), SHOWN + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("params", "outcome"),
    [
        ({}, "200"),
        ({"IfMatch": '"abc"'}, "200"),
        ({"IfMatch": "abc"}, "200"),
        ({"IfMatch": "*"}, "200"),
        ({"IfMatch": '"x", "abc"'}, "200"),
        ({"IfMatch": '"x"'}, "If-Match"),
        ({"IfMatch": '"abc"', "IfUnmodifiedSince": BEFORE}, "200"),
        ({"IfUnmodifiedSince": BEFORE}, "If-Unmodified-Since"),
        ({"IfUnmodifiedSince": SHOWN}, "200"),
        ({"IfNoneMatch": '"abc"'}, "304"),
        ({"IfNoneMatch": 'W/"abc"'}, "304"),
        ({"IfNoneMatch": "*"}, "304"),
        ({"IfNoneMatch": '"x"'}, "200"),
        ({"IfNoneMatch": '"x"', "IfModifiedSince": AFTER}, "200"),
        ({"IfNoneMatch": '"abc"', "IfModifiedSince": BEFORE}, "304"),
        ({"IfModifiedSince": BEFORE}, "200"),
        ({"IfModifiedSince": SHOWN}, "304"),
        ({"IfModifiedSince": AFTER}, "304"),
    ],
)
def test_reads_and_copies_agree(params: dict[str, Any], outcome: str) -> None:
    if outcome.startswith("If-"):
        with pytest.raises(AwsError) as caught:
            not_modified(params, INFO)
        assert (caught.value.status, caught.value.extras) == (412, {"Condition": outcome})
    else:
        assert not_modified(params, INFO) is (outcome == "304")
    copied = {f"CopySource{name}": value for name, value in params.items()}
    if outcome == "200":
        check_copy_source(copied, INFO)
    else:
        with pytest.raises(AwsError) as caught:
            check_copy_source(copied, INFO)
        assert (caught.value.code, caught.value.extras["Condition"][:17]) == ("PreconditionFailed", "x-amz-copy-source")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("bytes=0-4", ByteRange(first=0, last=4)),
        ("bytes=5-", ByteRange(first=5)),
        ("bytes=-3", ByteRange(suffix=3)),
        ("bytes=-", None),
        ("bytes=4-1", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=٣-4", None),
        ("bytes=" + "9" * 5000 + "-", None),
    ],
)
def test_ranges(text: str, found: ByteRange | None) -> None:
    assert parse_range(text) == found


@pytest.mark.parametrize(
    ("params", "found"),
    [
        ({}, Condition()),
        ({"IfNoneMatch": "*"}, Condition(absent=True)),
        ({"IfMatch": '"abc"'}, Condition(etag="abc")),
    ],
)
def test_write_conditions(params: dict[str, str], found: Condition) -> None:
    assert write_condition(params) == found


@pytest.mark.parametrize("params", [{"IfNoneMatch": '"abc"'}, {"IfMatch": "*"}, {"IfMatch": '"a"', "IfNoneMatch": "*"}])
def test_write_conditions_that_s3_refuses(params: dict[str, str]) -> None:
    with pytest.raises(AwsError) as caught:
        write_condition(params)
    assert (caught.value.code, caught.value.status) == ("NotImplemented", 501)


def test_copy_ranges_are_exact() -> None:
    assert copy_slice(None, 10) == (0, 10)
    assert copy_slice("bytes=2-9", 10) == (2, 8)
    for wrong in ("bytes=2-10", "bytes=2-", "bytes=-2", "2-3", "bytes=5-2"):
        with pytest.raises(AwsError) as caught:
            copy_slice(wrong, 10)
        assert caught.value.extras == {"ArgumentName": "x-amz-copy-source-range", "ArgumentValue": wrong}
