"""The small cloud for those who have none: buckets and topics, complete and durable."""
