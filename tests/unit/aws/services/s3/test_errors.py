import pytest

from tarry.aws.services.s3.errors import translate
from tarry.core import errors as core


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        (core.NotSupported("x"), "InvalidRequest", 400),
        (core.BucketAlreadyOwned("b"), "BucketAlreadyOwnedByYou", 409),
        (core.BucketNotEmpty("b"), "BucketNotEmpty", 409),
    ],
)
def test_codes(error: core.TarryError, code: str, status: int) -> None:
    told = translate(error, {})
    assert told is not None
    assert (told.code, told.status) == (code, status)


def test_other_errors_go_on_to_the_door() -> None:
    assert translate(core.Bug("x"), {}) is None
    assert translate(core.Throttled("x"), {}) is None
    assert translate(core.StorageFull("x"), {}) is None
