"""Where buckets keep what they must not lose.

Keys are bytes (UTF-8), not text: their order is then S3's, in any database and under any collation, and a key may hold a
NUL. A body of at most 128 KiB lies in the object's own row; a larger one is a blob file that exactly one row names, in
one of the four columns called ``blob_id``. A file that no row names is garbage, and so is one named by ``garbage_blob``.
"""

from sqlalchemy import JSON, BigInteger, Column, ForeignKey, Index, Integer, LargeBinary, Table, Text

from tarry.backends.database.schema import metadata, sequence

bucket = Table(
    "bucket",
    metadata,
    sequence(),
    Column("name", Text, nullable=False, unique=True),
    Column("created_at_us", BigInteger, nullable=False),
)

stored_object = Table(
    "stored_object",
    metadata,
    sequence(),
    Column("bucket_seq", ForeignKey("bucket.seq"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("modified_at_us", BigInteger, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("checksums", JSON, nullable=False),
    Column("checksum_type", Text),
    Column("part_count", Integer),
    Column("blob_id", Text, unique=True),
    Column("parts", JSON(none_as_null=True)),  # of a multipart object: [number, size, checksums] each
    Column("body", LargeBinary),  # last, so that reading the columns before it does not touch its pages
    Index("uq_stored_object_bucket_seq_key", "bucket_seq", "key", unique=True),
)

upload = Table(
    "upload",
    metadata,
    sequence(),
    Column("id", Text, nullable=False, unique=True),
    Column("bucket_seq", ForeignKey("bucket.seq"), nullable=False),
    Column("key", LargeBinary, nullable=False),
    Column("initiated_at_us", BigInteger, nullable=False),
    Column("headers", JSON, nullable=False),
    Column("checksum_algorithm", Text),
    Column("checksum_type", Text),
    Column("completed_at_us", BigInteger),  # kept for a day, so that a repeated completion can be answered
    Column("completed_parts", JSON(none_as_null=True)),
    Column("completed_object", JSON(none_as_null=True)),
    Index("ix_upload_bucket_seq_key_seq", "bucket_seq", "key", "seq"),
    Index("ix_upload_completed_at_us", "completed_at_us"),
)

upload_part = Table(
    "upload_part",
    metadata,
    sequence(),
    Column("upload_seq", ForeignKey("upload.seq"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("etag", Text, nullable=False),
    Column("modified_at_us", BigInteger, nullable=False),
    Column("checksums", JSON, nullable=False),
    Column("blob_id", Text, nullable=False, unique=True),
    Index("uq_upload_part_upload_seq_number", "upload_seq", "number", unique=True),
)

staged_blob = Table(
    "staged_blob",  # results that are on disk and belong to no object yet
    metadata,
    sequence(),
    Column("blob_id", Text, nullable=False, unique=True),
    Column("size", BigInteger, nullable=False),
    Column("md5", Text, nullable=False),
    Column("staged_at_us", BigInteger, nullable=False),
    Index("ix_staged_blob_staged_at_us", "staged_at_us"),
)

garbage_blob = Table(
    "garbage_blob",  # files to unlink; written by the commit that stopped using them
    metadata,
    sequence(),
    Column("blob_id", Text, nullable=False, unique=True),
)
