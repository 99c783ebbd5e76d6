"""Bytes or text to DMatrix, by the names that the container's scripts use.

# AWS: names and parameters (aws/sagemaker-xgboost-container, encoder.py).
"""

import json

import xgboost
from sagemaker_containers.beta.framework.errors import UnsupportedFormatError
from xgboost_serving import payloads


def csv_to_dmatrix(input, dtype=None):
    """Rows of numbers, without a label."""
    return _rows(input, payloads.CSV)


def libsvm_to_dmatrix(string_like):
    """Rows of ``[label] index:value ...``; the indices are columns as they stand."""
    return _rows(string_like, payloads.LIBSVM)


def recordio_protobuf_to_dmatrix(string_like):
    """Records with features; labels are ignored."""
    return _rows(string_like, payloads.RECORDIO)


def json_to_jsonlines(json_data):
    """The entries of the one list in a JSON object, each on a line."""
    values = json_data if isinstance(json_data, dict) else json.loads(json_data)
    if len(values) != 1:
        raise ValueError(f"JSON Lines are made of an object with one member, got {len(values)}.")
    [entries] = values.values()
    return "".join(json.dumps(entry) + "\n" for entry in entries).encode()


def decode(obj, content_type):
    """The rows of a body. Raises UnsupportedFormatError for a type that is not known."""
    name = content_type.partition(";")[0].strip().lower()
    if name not in payloads.NAMES or "/" not in name or payloads.NAMES[name] == payloads.PARQUET:
        raise UnsupportedFormatError(name)
    return _rows(obj, payloads.NAMES[name])


def _rows(body, content_type) -> xgboost.DMatrix:
    body = body.encode() if isinstance(body, str) else bytes(body)
    return payloads.read(body, content_type).rows
