"""Parameters that S3 knows and this store cannot honour: refused with NotImplemented before anything is done.

An object that the caller believes to be encrypted with a key, locked or public, and that is not, is worse than an error.
What the store does anyway (one owner, everything private, AES256 by the disk's owner's choice, STANDARD) may be asked for.
"""

from collections.abc import Mapping

from tarry.aws.call import Params
from tarry.aws.errors import AwsError
from tarry.aws.services.s3.errors import access_denied, invalid_argument, not_implemented

_NO_KMS = "Encryption with KMS keys is not available; name no key."
_NO_CUSTOMER_KEY = "Encryption with customer keys is not available."
_NO_GRANTS = "There is one owner and no ACLs; use private, bucket-owner-full-control, or leave it out."
_NO_LOCK = "Object lock is not available."
_NO_TAGS = "Object tags are not available."

_REFUSED: Mapping[str, tuple[str, str]] = {
    "GrantFullControl": ("x-amz-grant-full-control", _NO_GRANTS),
    "GrantRead": ("x-amz-grant-read", _NO_GRANTS),
    "GrantReadACP": ("x-amz-grant-read-acp", _NO_GRANTS),
    "GrantWrite": ("x-amz-grant-write", _NO_GRANTS),
    "GrantWriteACP": ("x-amz-grant-write-acp", _NO_GRANTS),
    "SSECustomerAlgorithm": ("x-amz-server-side-encryption-customer-algorithm", _NO_CUSTOMER_KEY),
    "SSECustomerKey": ("x-amz-server-side-encryption-customer-key", _NO_CUSTOMER_KEY),
    "SSECustomerKeyMD5": ("x-amz-server-side-encryption-customer-key-MD5", _NO_CUSTOMER_KEY),
    "CopySourceSSECustomerAlgorithm": ("x-amz-copy-source-server-side-encryption-customer-algorithm", _NO_CUSTOMER_KEY),
    "CopySourceSSECustomerKey": ("x-amz-copy-source-server-side-encryption-customer-key", _NO_CUSTOMER_KEY),
    "CopySourceSSECustomerKeyMD5": ("x-amz-copy-source-server-side-encryption-customer-key-MD5", _NO_CUSTOMER_KEY),
    "SSEKMSKeyId": ("x-amz-server-side-encryption-aws-kms-key-id", _NO_KMS),
    "SSEKMSEncryptionContext": ("x-amz-server-side-encryption-context", _NO_KMS),
    "BucketKeyEnabled": ("x-amz-server-side-encryption-bucket-key-enabled", _NO_KMS),
    "WebsiteRedirectLocation": ("x-amz-website-redirect-location", "Buckets are not served as websites."),
    "Tagging": ("x-amz-tagging", _NO_TAGS),
    "ObjectLockMode": ("x-amz-object-lock-mode", _NO_LOCK),
    "ObjectLockRetainUntilDate": ("x-amz-object-lock-retain-until-date", _NO_LOCK),
    "ObjectLockLegalHoldStatus": ("x-amz-object-lock-legal-hold", _NO_LOCK),
    "ObjectLockEventHold": ("x-amz-object-lock-event-hold", _NO_LOCK),
    "ObjectLockEventHoldDurationDays": ("x-amz-object-lock-event-hold-duration-days", _NO_LOCK),
    "ObjectLockEventHoldDurationYears": ("x-amz-object-lock-event-hold-duration-years", _NO_LOCK),
    "ObjectLockEnabledForBucket": ("x-amz-bucket-object-lock-enabled", _NO_LOCK),
    "BypassGovernanceRetention": ("x-amz-bypass-governance-retention", _NO_LOCK),
    "MFA": ("x-amz-mfa", "Multi-factor deletion is not available."),
    "WriteOffsetBytes": ("x-amz-write-offset-bytes", "Appending to objects is not available."),
    "IfMatchLastModifiedTime": ("x-amz-if-match-last-modified-time", "Use If-Match with an ETag."),
    "IfMatchSize": ("x-amz-if-match-size", "Use If-Match with an ETag."),
    "IfMatchInitiatedTime": ("x-amz-if-match-initiated-time", "The upload id alone says which upload is meant."),
}
"""Members that are refused whatever their value, unless it is empty or false: the header, and what to do instead."""

_ALLOWED: Mapping[str, tuple[str, frozenset[str], str]] = {
    "ACL": ("x-amz-acl", frozenset({"private", "bucket-owner-full-control"}), _NO_GRANTS),
    # OURS: aws:kms without a key means the account's own, which is here what AES256 is, and the answer says so. The SageMaker SDK
    # asks for it whenever it uploads a model's code.
    "ServerSideEncryption": ("x-amz-server-side-encryption", frozenset({"AES256", "aws:kms"}), _NO_KMS),
    "StorageClass": ("x-amz-storage-class", frozenset({"STANDARD"}), "The only storage class is STANDARD."),
    "ObjectOwnership": ("x-amz-object-ownership", frozenset({"BucketOwnerEnforced"}), _NO_GRANTS),
    "BucketNamespace": ("x-amz-bucket-namespace", frozenset({"global"}), "There is one namespace of buckets."),
    "TaggingDirective": ("x-amz-tagging-directive", frozenset({"COPY", "REPLACE"}), _NO_TAGS),
    "AnnotationDirective": (
        "x-amz-object-annotation-directive",
        frozenset({"COPY", "EXCLUDE"}),
        "Object annotations are not available.",
    ),
}
"""Members of which only the values that describe what happens anyway are taken."""

_OWNER_HEADERS = ("ExpectedBucketOwner", "ExpectedSourceBucketOwner")


def check_honoured(params: Params) -> None:
    """Refuse what cannot be honoured.

    Raises:
        AwsError: NotImplemented with the header's name; InvalidArgument for a version of an object.
    """
    for member, value in params.items():
        if not value:
            continue
        if refused := _REFUSED.get(member):
            raise not_implemented(*refused)
        if (allowed := _ALLOWED.get(member)) and value not in allowed[1]:
            raise not_implemented(allowed[0], allowed[2])
    # AWS: an object of a bucket without versioning has the one version "null" (S3 user guide, versioning workflows).
    check_version(params.get("VersionId"))


def check_version(version_id: str | None) -> None:
    """Refuse any version but ``null``, which is the one that an object of an unversioned bucket has."""
    if version_id not in {None, "null"}:
        raise invalid_argument("Invalid version id specified", "versionId", version_id)


def check_owner(params: Params, account_id: str) -> None:
    """Compare the account that the caller expects the bucket to belong to.

    Raises:
        AwsError: InvalidBucketOwnerAWSAccountID (not 12 digits), AccessDenied (another account).
    """
    for member in _OWNER_HEADERS:
        expected = params.get(member)
        if expected is None:
            continue
        if not (len(expected) == 12 and expected.isascii() and expected.isdigit()):
            message = f"The value of the expected bucket owner parameter must be an AWS Account ID... [{expected}]"
            raise AwsError(code="InvalidBucketOwnerAWSAccountID", message=message, status=400)
        if expected != account_id:
            raise access_denied()
