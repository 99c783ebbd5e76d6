"""S3: buckets, objects and multipart uploads over the embedded bucket store."""

from tarry.aws.services.s3.service import s3_service

__all__ = ["s3_service"]
