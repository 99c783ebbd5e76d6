"""S3 for those who have none: buckets, objects and multipart uploads, durable in the data directory."""
