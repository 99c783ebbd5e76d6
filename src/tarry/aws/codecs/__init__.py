"""The four AWS protocols, driven by botocore's service descriptions."""
