"""Which names buckets and keys may have."""

import re

from tarry.core.errors import InvalidBucketName, InvalidRequest, KeyTooLong
from tarry.embedded.buckets.values import KEY_BYTES_MAX

# AWS: S3 user guide, "General purpose bucket naming rules".
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]*[a-z0-9]")
_IP_ADDRESS = re.compile(r"\d+\.\d+\.\d+\.\d+")
_PREFIXES = ("xn--", "sthree-", "amzn-s3-demo-")
_SUFFIXES = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


def check_bucket_name(name: str) -> None:
    """Raise InvalidBucketName, with the rule that is broken, unless S3 would take the name."""
    if not 3 <= len(name) <= 63:
        raise InvalidBucketName(name, "a name has 3 to 63 characters.")
    if not _NAME.fullmatch(name):
        raise InvalidBucketName(
            name, "a name has lower-case letters, digits, dots and hyphens, with a letter or digit at both ends."
        )
    if ".." in name:
        raise InvalidBucketName(name, "two dots may not stand side by side.")
    if _IP_ADDRESS.fullmatch(name):
        raise InvalidBucketName(name, "a name may not look like an IP address.")
    if name.startswith(_PREFIXES) or name.endswith(_SUFFIXES):
        raise InvalidBucketName(name, "this beginning or end is reserved by S3.")


def key_bytes(key: str) -> bytes:
    """The key as it is stored. Any text of 1 to 1024 UTF-8 bytes will do: a key never becomes a file name.

    Raises:
        KeyTooLong: more bytes than S3 allows.
        InvalidRequest: empty, or not representable in UTF-8.
    """
    encoded = utf8(key)
    if not encoded:
        raise InvalidRequest("Expected an object key of at least one character, got an empty one.")
    if len(encoded) > KEY_BYTES_MAX:
        raise KeyTooLong(len(encoded), KEY_BYTES_MAX)
    return encoded


def utf8(text: str) -> bytes:
    """The text in UTF-8. InvalidRequest for a lone surrogate."""
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"Expected text that UTF-8 can represent, got {text!r}.") from error
